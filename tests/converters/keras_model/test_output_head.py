from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from edgeseg.models.opening import assumed_spec
from edgeseg_converters.keras_model.prepare import PreparedModel

SPEC = assumed_spec("own", (4, 6), 3)
Ending = Callable[[keras.KerasTensor], keras.KerasTensor]


def nested(x: keras.KerasTensor) -> keras.KerasTensor:
    inner = keras.Input(x.shape[1:])
    return keras.Model(inner, keras.layers.Conv2D(3, 1, activation="softmax")(inner))(x)


def cooler(x: keras.KerasTensor) -> keras.KerasTensor:
    return keras.ops.softmax(2 * x)


class SoftmaxHead(keras.layers.Layer):  # type: ignore[misc]
    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(x)


ENDINGS: dict[str, tuple[Ending, str]] = {
    "conv with activation": (lambda x: keras.layers.Conv2D(3, 1, activation="softmax")(x), "softmax"),
    "activation layer": (lambda x: keras.layers.Activation("softmax")(keras.layers.Conv2D(3, 1)(x)), "softmax"),
    "softmax layer": (lambda x: keras.layers.Softmax()(keras.layers.Conv2D(3, 1)(x)), "softmax"),
    "sigmoid": (lambda x: keras.layers.Conv2D(3, 1, activation="sigmoid")(x), "sigmoid"),
    "nested model": (nested, "softmax"),
    "TensorFlow's function": (lambda x: keras.layers.Conv2D(3, 1, activation=tf.nn.softmax)(x), "softmax"),
    "of another temperature": (lambda x: keras.layers.Conv2D(3, 1, activation=cooler)(x), "softmax"),
    "a layer of one's own": (lambda x: SoftmaxHead()(keras.layers.Conv2D(3, 1)(x)), "softmax"),
    "operation": (lambda x: keras.ops.softmax(keras.layers.Conv2D(3, 1)(x)), "softmax"),
    "logarithm": (lambda x: keras.layers.Conv2D(3, 1, activation="log_softmax")(x), "log_softmax"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_activation_is_found_and_taken_off(ending: str) -> None:
    build, activation = ENDINGS[ending]
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 6, 3))
    model = keras.Model(inputs, build(keras.layers.Conv2D(8, 3, padding="same")(inputs)))
    head = PreparedModel.of(model, SPEC).head
    assert head.activation == activation
    assert PreparedModel.of(head.model, SPEC).head.activation is None
    image = np.random.default_rng(0).normal(size=(1, 4, 6, 3)).astype(np.float32)
    logits, probabilities = head.model.predict_on_batch(image), model.predict_on_batch(image)
    expected = getattr(keras.activations, activation)(keras.ops.convert_to_tensor(logits))
    # The same activation of the same float32 numbers: a few ulp of values below 1.
    np.testing.assert_allclose(expected, probabilities, atol=1e-6)


def test_a_model_of_logits_is_left_alone() -> None:
    inputs = keras.Input((4, 6, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs))
    head = PreparedModel.of(model, SPEC).head
    assert head.activation is None
    assert head.model is model
