"""``ops.base``: op rewrites in an export: inside anybody's layers, proven at their place, named by their layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from keras import layers, ops

from edgeseg.choices import Format
from edgeseg.errors import UnsupportedModel
from edgeseg.imaging import encode_image
from edgeseg.models.opening import assumed_spec
from edgeseg_converters import export
from edgeseg_converters.rewrites import Applied
from edgeseg_converters.rewrites.ops.base import OpRewrite, OpSite, Trace, rewrite_ops

SIZE = (16, 24)


class Encoder(layers.Layer):  # type: ignore[misc]
    """A convolution, a pooling with indices, and a vote for the largest channel, all in one layer."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(4, 3, padding="same", activation="relu")

    def call(self, x: Any) -> Any:
        x = self.conv(x)
        x = x + ops.one_hot(ops.argmax(x, axis=-1), 4)
        return tf.nn.max_pool_with_argmax(x, 2, 2, "SAME", include_batch_in_index=True)


class Decoder(layers.Layer):  # type: ignore[misc]
    """An unpooling and a convolution in one layer."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(4, 3, padding="same")

    def call(self, x: Any, index: Any) -> Any:
        batch, height, width, channels = tf.unstack(tf.shape(x))
        size = batch * height * 2 * width * 2 * channels
        flat = tf.math.unsorted_segment_sum(tf.reshape(x, (-1,)), tf.reshape(index, (-1,)), size)
        return self.conv(tf.reshape(flat, (-1, *SIZE, 4)))

    def compute_output_shape(self, x: Any, index: Any) -> Any:
        return (x[0], *SIZE, 4)


class Patches(layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        return tf.image.extract_patches(x, [1, 3, 3, 1], [1, 2, 2, 1], [1, 1, 1, 1], "SAME")


class Whole(keras.Model):  # type: ignore[misc]
    """A subclassed model, which has no graph."""

    def __init__(self) -> None:
        super().__init__(name="whole")
        self.encoder, self.decoder = Encoder(name="encoder"), Decoder(name="decoder")
        self.patches = Patches(name="patches")
        self.up = layers.UpSampling2D(2, interpolation="lanczos3")
        self.short = layers.Conv2DTranspose(4, 1, strides=2)
        self.head = layers.Conv2D(3, 1)

    def call(self, x: Any) -> Any:
        pooled, index = self.encoder(x)
        y = self.decoder(ops.tanh(pooled), index)
        y = y + self.up(self.patches(y)[..., :4]) + self.short(pooled)
        return self.head(ops.image.resize(y, SIZE, interpolation="bicubic", antialias=True))


RULES = {
    "NegativeZeroToZero": 1,
    "ResizeToProducts": 2,
    "PatchesToCopies": 1,
    "MaxUnpoolingToMasks": 1,
}


def answer(data: bytes, image: Any) -> Any:
    """A file's class map on its bare runtime."""
    if data[4:8] == b"TFL3":
        interpreter = Interpreter(model_content=data)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    session = onnxruntime.InferenceSession(data)
    return session.run(None, {session.get_inputs()[0].name: image})[0]


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_a_model_without_a_graph_that_has_all_of_them(file_format: Format) -> None:
    keras.utils.set_random_seed(0)
    model = Whole()
    image = np.random.default_rng(0).uniform(-1, 1, (1, *SIZE, 3)).astype(np.float32)
    expected = model(image)
    result = export(model, format=file_format, spec=assumed_spec("whole", SIZE, 3))
    assert result.verification is not None
    # Exact but for rounding: the largest of five sums of a few hundred products, six digits after the first.
    assert result.verification.max_relative_error < 1e-5
    assert dict(result.rewrites.counts()) == RULES | ({"ShortKernelToPadded": 1} if file_format == "onnx" else {})
    assert {applied.site for applied in result.rewrites.applied} >= {"whole/encoder+whole/decoder", "whole/patches"}
    np.testing.assert_array_equal(answer(result.data, image), np.argmax(expected, -1))


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_the_products_keep_their_accuracy_in_integers(file_format: Format, tmp_path: Path) -> None:
    """A constant on the left of the product would be lost by the quantizer: half of the pixels."""
    keras.utils.set_random_seed(0)
    for seed in range(8):
        noise = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8).repeat(4, 0).repeat(4, 1)
        (tmp_path / f"{seed}.png").write_bytes(encode_image(noise))
    inputs = keras.Input((*SIZE, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(inputs)
    model = keras.Model(inputs, layers.Conv2D(3, 1)(layers.UpSampling2D(2, interpolation="bicubic")(x)))
    result = export(model, format=file_format, precision="int8", data=tmp_path)
    assert result.verification is not None
    # 98 % here; the cubic Resize of ONNX Runtime in integers had 88, and a quantizer that loses a matrix 49.
    assert result.verification.argmax_agreement > 0.95


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_what_only_xla_runs_is_proven_by_xla(file_format: Format) -> None:
    """A dilated transposed convolution, for which TensorFlow has no kernel on a CPU."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    model = keras.Model(inputs, layers.Conv2DTranspose(3, 3, dilation_rate=2, padding="same")(inputs))
    result = export(model, format=file_format)
    assert result.verification is not None
    assert result.verification.max_relative_error < 1e-5  # the same products, summed in another order
    assert dict(result.rewrites.counts()) == {"DilatedTransposedToConvolution": 1}


def test_a_refusal_names_the_layer() -> None:
    inputs = keras.Input((*SIZE, 3))
    pool = layers.Lambda(lambda x: tf.nn.max_pool_with_argmax(x, 3, 2, "SAME")[0], name="their_pool")
    model = keras.Model(inputs, layers.UpSampling2D(2)(pool(inputs)))
    sentence = r"'their_pool' could not be replaced: it has ksize \(3, 3\); only 2x2 with stride 2 holds"
    with pytest.raises(UnsupportedModel, match=sentence):
        export(model, verify=False)


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_numbers_that_no_format_has_are_refused(file_format: Format) -> None:
    inputs = keras.Input((*SIZE, 3))
    dense = layers.Dense(3, name="small_floats")
    model = keras.Model(inputs, dense(inputs), name="theirs")
    dense.quantize("float8")
    with pytest.raises(
        UnsupportedModel, match=r"'small_floats' of 'theirs' computes in float8.* before model.quantize"
    ):
        export(model, format=file_format)


def test_integers_of_keras_own_quantization_are_exported() -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    dense = layers.Dense(3)
    model = keras.Model(inputs, dense(inputs))
    dense.quantize("int8")
    result = export(model)
    assert dict(result.rewrites.counts()) == {"IntegerProductToFloat": 1}


class Doubled(OpRewrite):
    """A rule that is wrong."""

    types = ("Relu",)
    atol = 1e-6

    def match(self, trace: Trace, op: tf.Operation) -> OpSite:
        return OpSite(op, (op.inputs[0],), (op.outputs[0],))

    def replacement(self, trace: Trace, site: OpSite, inputs: Any) -> Any:
        return [2.0 * tf.nn.relu(inputs[0])]


class Failing(Doubled):
    """A rule that has a mistake."""

    def replacement(self, trace: Trace, site: OpSite, inputs: Any) -> Any:
        raise KeyError("never mind")


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (Doubled(), "the replacement differs by"),
        (Failing(), "the rule failed: KeyError: 'never mind'"),
    ],
)
def test_a_wrong_rule_changes_nothing(rule: OpRewrite, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    function = tf.function(lambda x: tf.nn.relu(x), autograph=False).get_concrete_function(tf.TensorSpec((1, 8, 8, 3)))
    before = [op.type for op in Trace(function).ops]
    applied, (refused,) = rewrite_ops(function, [rule], keras.Sequential([keras.Input((1,))]))
    assert applied == ()
    assert reason in refused.reason
    assert [op.type for op in Trace(function).ops] == before


def test_old_and_new_are_compared_on_the_same_input() -> None:
    class Same(Doubled):
        def replacement(self, trace: Trace, site: OpSite, inputs: Any) -> Any:
            return [tf.maximum(inputs[0], 0.0)]

    function = tf.function(lambda x: tf.nn.relu(x), autograph=False).get_concrete_function(tf.TensorSpec((1, 8, 8, 3)))
    applied, _ = rewrite_ops(function, [Same()], keras.Sequential([keras.Input((1,))]))
    assert applied == (Applied("Same", "Relu", 0.0),)
    assert [op.type for op in Trace(function).ops][-1] == "Identity"
    assert "Maximum" in {op.type for op in Trace(function).ops}
