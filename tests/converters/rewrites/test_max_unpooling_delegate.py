"""``edgeseg_converters.tflite.delegate_pooling``: unpooling with indices, by the ops of the GPU delegate."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from edgeseg.coverage import coverage
from edgeseg.errors import UnsupportedModel, VerificationFailed
from edgeseg.imaging import preprocess
from edgeseg.models.layers import MaxPoolingWithArgmax2D, MaxUnpooling2D
from edgeseg.runtime.litert import LiteRTBackend
from edgeseg.tflite.graph import read_graph
from edgeseg_converters import Recipe, export, export_all
from edgeseg_converters.images import Samples
from edgeseg_converters.keras_model.prepare import PreparedModel
from edgeseg_converters.options import ExportOptions
from edgeseg_converters.rewrites import MaxUnpoolingToDelegateOps, rewrite
from edgeseg_converters.verification.comparison import reference, verify

RULE = MaxUnpoolingToDelegateOps()
GONE = ["MaxPoolingWithArgmax2D", "MaxUnpooling2D"]

# padding VALID, stride, window, no activation, and the kernel's own: TfLitePoolParams, 40 bytes.
OPTIONS = np.array([2, 2, 2, 2, 2, 0, 0, 0, 0, 0], "<i4").tobytes()


@pytest.mark.parametrize("convention", [{}, {"include_batch_in_index": True}])
def test_a_pair_is_replaced_exactly_on_ties(convention: dict[str, Any], assert_replaced: Callable[..., None]) -> None:
    inputs = keras.Input((6, 8, 5))
    pooled, index = MaxPoolingWithArgmax2D(2, 2, name="pool", **convention)(inputs)
    outputs = [MaxUnpooling2D(2, name=name, **convention)([pooled + 1.0, index]) for name in ("a", "b")]
    result = assert_replaced(keras.Model(inputs, outputs), RULE, 1, GONE)
    assert {"pool", "a", "b"} < {operation.name for operation in result.model.operations}


def test_a_pooling_whose_index_nobody_reads_becomes_a_pooling(assert_replaced: Callable[..., None]) -> None:
    inputs = keras.Input((4, 4, 3))
    result = assert_replaced(keras.Model(inputs, MaxPoolingWithArgmax2D(name="pool")(inputs)[0]), RULE, 1, GONE)
    assert isinstance(result.model.get_layer("pool"), layers.MaxPooling2D)


def half(x: Any) -> Any:
    return MaxUnpooling2D(dtype="float16")(MaxPoolingWithArgmax2D(dtype="float16")(ops.cast(x, "float16")))


def index_elsewhere(x: Any) -> Any:
    pooled, index = MaxPoolingWithArgmax2D()(x)
    return MaxUnpooling2D()([pooled, index]), ops.cast(index, "float32")


def overlapping(x: Any) -> Any:
    return MaxUnpooling2D(2)(MaxPoolingWithArgmax2D(3, 2, name="pool")(x))


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (half, "the pooled map is float16; the delegates' op is float32. Export with target generic"),
        (index_elsewhere, "its index is read by cast"),
        (overlapping, r"'pool' has pool_size \(3, 3\); only 2x2 with stride 2 holds"),
    ],
)
def test_refused_with_a_sentence(build: Callable[[Any], Any], reason: str) -> None:
    inputs = keras.Input((6, 8, 4))
    model = keras.Model(inputs, build(inputs))
    result = rewrite(model, [RULE])
    assert result.model is model
    assert re.search(reason, result.refused[0].reason)


def small(size: int = 8) -> keras.Model:
    """Pool and put back, with a channel that stays the input's."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((size, size, 3))
    pooled, index = MaxPoolingWithArgmax2D()(inputs)
    decoded = MaxUnpooling2D()([layers.ReLU()(pooled), index])
    return keras.Model(inputs, layers.Conv2D(3, 1)(decoded), name="small")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_artifact_has_the_delegates_ops_and_xnnpack_takes_them(precision: Any) -> None:
    result = export(
        small(), precision=precision, verify=False, options=ExportOptions(target="xnnpack", output_kind="logits")
    )
    graph = read_graph(result.data)
    custom = [node for node in graph.nodes if node.op.startswith("Max")]
    assert [node.op for node in custom] == ["MaxPoolingWithArgmax2D", "MaxUnpooling2D"]
    operators = graph.model.subgraphs[0].operators
    assert {bytes(operators[node.index].customOptions) for node in custom} == {OPTIONS}
    pool, unpool = custom
    assert unpool.inputs[1] == pool.outputs[1]
    assert len(unpool.inputs) == 2
    assert graph.tensors[pool.outputs[1]].dtype == "FLOAT32"
    found = coverage(result.data, "xnnpack")
    assert (found.delegated, found.partitions) == (found.total, 1)


# Every window is (0, v; v, 0) for a v of its own: the second pixel and the third are equal and the largest.
def diagonals(size: int) -> np.ndarray:
    values = np.random.default_rng(0).integers(128, 256, (size // 2, size // 2, 3), np.uint8)
    image = np.zeros((size, size, 3), np.uint8)
    image[0::2, 1::2] = image[1::2, 0::2] = values
    return image


def test_of_the_second_and_the_third_xnnpack_takes_the_other_and_the_report_says_so() -> None:
    model = small()
    samples = Samples((diagonals(8),), "diagonals")
    spec = PreparedModel.of(model).spec.replace(output_kind="logits")
    recipe = Recipe("tflite", "fp32")
    expected = reference(PreparedModel.of(model, spec, samples=samples), samples)
    artifacts = {
        target: next(export_all(model, spec, [recipe], options=ExportOptions(target=target, output_kind="logits"))).data
        for target in ("generic", "xnnpack")
    }
    exact = verify(expected, artifacts["generic"], recipe)
    assert (exact.passed, exact.other_ties) == (True, None)
    assert exact.max_relative_error < 1e-6
    other = verify(expected, artifacts["xnnpack"], recipe)
    assert other.other_ties == 1.0
    assert not other.passed
    assert "took another of equal maxima in 100.00% of the pooling windows, target generic takes" in other.reason
    # The same values one pixel further: each window is turned.
    backend = LiteRTBackend(artifacts["xnnpack"])
    got = backend.run(preprocess(samples.images[0], spec)[0])
    np.testing.assert_allclose(got[:, 1::2, 0::2], expected.scores[0][:, 0::2, 1::2], atol=1e-5)
    backend.close()


def test_other_windows_have_no_tie_that_counts() -> None:
    """All equal, two in a row, two in a column, the other diagonal: the first is the same in both orders."""
    windows = [[9, 9, 9, 9], [9, 9, 0, 0], [0, 0, 9, 9], [9, 0, 9, 0], [0, 9, 0, 9], [9, 0, 0, 9], [0, 9, 9, 9]]
    image = np.zeros((2, 14, 3), np.uint8)
    for index, window in enumerate(windows):
        image[:, 2 * index : 2 * index + 2] = np.reshape(window, (2, 2, 1))
    inputs = keras.Input((2, 14, 3))
    pooled = MaxPoolingWithArgmax2D()(inputs)
    model = keras.Model(inputs, MaxUnpooling2D()(pooled), name="ties")
    spec = PreparedModel.of(model).spec
    samples = Samples((image,), "ties")
    (result,) = export_all(
        model, spec, [Recipe("tflite", "fp32")], samples=samples, options=ExportOptions(target="xnnpack")
    )
    assert result.verification is not None
    # The last window alone: without its first pixel it is a tie of the second and the third.
    assert result.verification.other_ties == pytest.approx(1 / 7)


def test_export_fails_where_the_ties_matter(tmp_path: Any) -> None:
    from edgeseg.imaging import encode_image

    (tmp_path / "diagonals.png").write_bytes(encode_image(diagonals(8)))
    with pytest.raises(VerificationFailed, match="took another of equal maxima"):
        export(small(), data=tmp_path, options=ExportOptions(target="xnnpack", output_kind="logits"))


@keras.saving.register_keras_serializable(package="test_max_unpooling_delegate")
class Foreign(layers.Layer):  # type: ignore[misc]
    def __init__(self, op: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.op = op

    def call(self, x: Any) -> Any:
        import tensorflow as tf

        if self.op == "MaxPoolWithArgmax":
            return tf.cast(tf.nn.max_pool_with_argmax(x, 2, 1, "SAME").argmax, tf.float32)
        return tf.raw_ops.Digamma(x=x)


@pytest.mark.parametrize("op", ["MaxPoolWithArgmax", "Digamma"])
def test_another_op_without_a_builtin_is_still_refused(op: str) -> None:
    model = small()
    foreign = keras.Model(model.inputs, Foreign(op)(model.outputs[0]))
    with pytest.raises(UnsupportedModel, match=f"TFLite has no builtin for: {op}"):
        export(foreign, verify=False, options=ExportOptions(target="xnnpack"))
