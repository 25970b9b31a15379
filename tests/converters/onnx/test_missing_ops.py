from __future__ import annotations

from typing import Any

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from keras import layers

from edgeseg.choices import Layout
from edgeseg.models.opening import assumed_spec
from edgeseg_converters import Recipe, export_all
from edgeseg_converters.images import Samples
from edgeseg_converters.options import ExportOptions

SIZE = (8, 12)
SPEC = assumed_spec("own", SIZE, 3)
IMAGES = Samples((np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8),), "white noise")


class ThreeOps(layers.Layer):  # type: ignore[misc]
    def call(self, x: tf.Tensor) -> tf.Tensor:
        red, green, blue = tf.unstack(x, axis=-1)
        return tf.stack([tf.math.erfc(red), tf.math.expm1(green), tf.math.log1p(tf.exp(blue))], axis=-1)


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_the_ops_are_those_of_tensorflow(layout: Layout) -> None:
    inputs = keras.Input((*SIZE, 3))
    model = keras.Model(inputs, ThreeOps()(inputs))
    (result,) = export_all(
        model, SPEC, [Recipe("onnx", "fp32")], options=ExportOptions(output_kind="logits", layout=layout)
    )
    x = np.random.default_rng(0).uniform(-6, 6, (1, *SIZE, 3)).astype(np.float32)
    session = onnxruntime.InferenceSession(result.data)
    fed, order = (x, (0, 1, 2, 3)) if layout == "nhwc" else (x.transpose(0, 3, 1, 2), (0, 2, 3, 1))
    (got,) = session.run(None, {session.get_inputs()[0].name: fed})
    # Results near 0 are differences of numbers near 1, rounded by 6e-8; two libraries' erf and exp add some ulp.
    np.testing.assert_allclose(got.transpose(order), model(x), rtol=2e-6, atol=5e-7)


@pytest.mark.parametrize("activation", ["gelu", "celu", lambda x: keras.ops.celu(x, alpha=0.5)])
def test_activations_of_keras_are_proven(activation: Any) -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    x = layers.Conv2D(6, 3, padding="same")(inputs)
    model = keras.Model(inputs, layers.Conv2D(3, 1)(layers.Activation(activation)(x)))
    results = export_all(
        model, SPEC, [Recipe("onnx", "fp32"), Recipe("onnx", "fp16")], samples=IMAGES, options=ExportOptions(opset=13)
    )
    for result in results:
        assert result.verification is not None
        assert result.verification.passed, result.verification.reason


def test_a_convolution_with_groups_is_proven() -> None:
    """Keras compiles it by XLA, of which tf2onnx knows nothing."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    x = layers.Conv2D(8, 3, padding="same", groups=4)(layers.Conv2D(8, 3, padding="same")(inputs))
    (result,) = export_all(keras.Model(inputs, layers.Conv2D(3, 1)(x)), SPEC, [Recipe("onnx", "fp32")], samples=IMAGES)
    assert result.verification is not None
    assert result.verification.passed, result.verification.reason
