"""Export of models that converters cannot take as they are: rewritten, converted, proven on the real runtimes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers

from edgeseg.errors import UnsupportedModel
from edgeseg.models import create
from edgeseg.models.layers import MaxPoolingWithArgmax2D, MaxUnpooling2D, ResizeBilinear, UpsampleLike
from edgeseg.models.zoo.table import ZOO
from edgeseg.tflite.litert_internals import op_details
from edgeseg_converters import Recipe, export, export_all
from edgeseg_converters.images import Samples
from edgeseg_converters.keras_model.prepare import PreparedModel
from edgeseg_converters.options import ExportOptions
from edgeseg_converters.recipes import GATES
from edgeseg_converters.verification.comparison import (
    SteadyPixels,
    Verification,
    _failure,
    _failure_where_steady,
    reference,
    verify,
)

FORMATS = [Recipe("tflite", "fp32"), Recipe("onnx", "fp32")]


def tflite_ops(data: bytes) -> list[str]:
    interpreter = Interpreter(model_content=data)
    return [op["op_name"] for op in op_details(interpreter)]


def onnx_ops(data: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(data).graph.node]


def images(size: tuple[int, int], seed: int, count: int) -> np.ndarray:
    """White noise: neighbors differ, so that few windows tie within rounding."""
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), np.uint8)


def calibrated(model: keras.Model, size: tuple[int, int]) -> keras.Model:
    """Let batch normalization see data; else the maps of random weights fade to ties within rounding."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
    model(images(size, 0, 4) / np.float32(255), training=True)
    return model


def test_segnet_exports_to_both_formats(thin: Callable[[keras.Model], keras.Model]) -> None:
    size = (96, 160)
    keras.utils.set_random_seed(0)
    model = calibrated(thin(create("segnet", num_classes=5, input_size=size)), size)
    samples = Samples(tuple(images(size, 1, 2)), "white noise")
    for result in export_all(model, ZOO["segnet"].default_spec(5, size), FORMATS, samples=samples):
        proof = result.verification
        assert proof is not None
        assert proof.passed, proof.reason
        assert proof.argmax_agreement >= 0.999
        assert result.spec.provenance.rewrites == (("MaxUnpoolingToMasks", 5),)
        ops = tflite_ops(result.data) if result.recipe.format == "tflite" else onnx_ops(result.data)
        assert not {"MaxPoolWithArgmax", "SCATTER_ND", "ScatterND", "MaxUnpool"} & set(ops)
        entry = result.to_dict(None)  # type: ignore[arg-type]
        assert entry["rewrites"] == [{"rule": "MaxUnpoolingToMasks", "sites": 5, "max_abs_error": 0.0}]


def test_resizes_become_one_op_each_with_no_shape_arithmetic() -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 24, 3))
    large = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    small = layers.Conv2D(4, 3, strides=4, padding="same")(large)
    x = layers.Add()([large, UpsampleLike()([small, large])])
    model = keras.Model(inputs, ResizeBilinear()([layers.Conv2D(3, 1)(layers.MaxPooling2D(2)(x)), inputs]), name="two")
    tflite, onnx_file = (export(model, format=r.format, options=ExportOptions(output_kind="logits")) for r in FORMATS)
    assert tflite.spec.provenance.rewrites == (("UpsampleLikeToNearestResize", 1), ("ResizeBilinearToFixedSize", 1))
    ops = tflite_ops(tflite.data)
    assert (ops.count("RESIZE_NEAREST_NEIGHBOR"), ops.count("RESIZE_BILINEAR")) == (1, 1)
    assert not {"SHAPE", "PACK", "STRIDED_SLICE", "TILE"} & set(ops)
    resizes = [node for node in onnx.load_from_string(onnx_file.data).graph.node if node.op_type == "Resize"]
    modes = [{a.name: a.s for a in node.attribute} for node in resizes]
    assert [mode["mode"] for mode in modes] == [b"nearest", b"linear"]
    assert modes[1]["coordinate_transformation_mode"] == b"align_corners"


def test_the_model_that_was_given_is_the_reference_and_stays_as_it_was() -> None:
    inputs = keras.Input((8, 8, 3))
    x = MaxUnpooling2D()(MaxPoolingWithArgmax2D()(layers.Conv2D(4, 1)(inputs)))
    model = keras.Model(inputs, layers.Conv2D(2, 1, activation="softmax")(x), name="tiny")
    before = [layer.name for layer in model.layers]
    result = export(model, options=ExportOptions(output_kind="softmax"))
    assert [layer.name for layer in model.layers] == before
    assert result.verification is not None


def test_a_refused_swap_is_named_when_the_conversion_fails_on_it() -> None:
    inputs = keras.Input((10, 10, 3))
    pooled = MaxPoolingWithArgmax2D(3, 2, "valid", name="pool")(inputs)
    model = keras.Model(inputs, MaxUnpooling2D(name="unpool")(pooled), name="tiny")
    with pytest.raises(
        UnsupportedModel, match=r"no builtin.*'pool' could not be replaced: its windows are \(3, 3\) with strides"
    ):
        export(model, verify=False)


@pytest.mark.parametrize(
    ("steady", "reason"),
    [
        (None, "only 98.000% of the pixels have the class"),
        ({}, ""),
        ({"unsteady_share": 0.76}, "nothing is proven and the file may be right: the class of 76.0% of the pixels"),
        ({"argmax_agreement": 0.998}, "only 99.800% of the pixels that are steady in Keras have the class"),
        ({"beyond": 0.002}, "0.2% of the pixels whose logits are steady in Keras have one that differs by more"),
    ],
    ids=["continuous", "steady", "mostly chance", "other classes", "other logits"],
)
def test_only_steady_pixels_count_in_a_model_that_is_itself_unsteady(
    steady: dict[str, float] | None, reason: str
) -> None:
    proof = Verification(
        images="noise",
        num_images=1,
        argmax_agreement=0.98,
        max_abs_error=0.2,
        max_relative_error=2e-2,
        passed=False,
        reason="",
    )
    gate = GATES["fp32"]
    failure = _failure(proof, gate)
    if steady is not None:
        measured = {"keras_changed": 0.02, "unsteady_share": 0.05, "argmax_agreement": 0.9999, "keras_movement": 0.3}
        rest = {"max_relative_error": 1e-4, "beyond": 0.0, "unsteady_scores": 0.3}
        proof = dataclasses.replace(proof, steady=SteadyPixels(**{**measured, **rest, **steady}))
        failure = _failure_where_steady(proof, gate)
    assert failure.startswith(reason)
    assert bool(failure) == bool(reason)


def test_a_nan_in_the_artifact_fails_the_proof() -> None:
    keras.utils.set_random_seed(0)
    good, bad = (create("unet_mini", num_classes=3, input_size=(16, 16)) for _ in range(2))
    bad.layers[-1].set_weights([np.full_like(w, np.nan) for w in bad.layers[-1].get_weights()])
    spec = ZOO["unet_mini"].default_spec(3, (16, 16)).replace(output_kind="argmax")
    (artifact,) = export_all(bad, spec, FORMATS[:1], options=ExportOptions(optimize=False))
    samples = Samples(tuple(images((16, 16), 0, 1)), "white noise")
    expected = reference(PreparedModel.of(good, spec, samples=samples), samples)
    assert verify(expected, artifact.data, FORMATS[0]).reason == "the logits are not finite"


def test_speed_ups_are_applied_unless_refused_by_the_caller() -> None:
    keras.utils.set_random_seed(0)
    model = create("unet_mini", num_classes=3, input_size=(32, 32))
    fast, plain = (export(model, options=ExportOptions(optimize=optimize)) for optimize in (True, False))
    assert fast.spec.provenance.rewrites == (("UpsampleConvToDifferences", 2),)
    assert plain.spec.provenance.rewrites == (("UpsamplingToNearestResize", 2),)
    assert "DEPTH_TO_SPACE" in tflite_ops(fast.data)
    assert fast.verification is not None
    assert fast.verification.max_relative_error < 1e-4
