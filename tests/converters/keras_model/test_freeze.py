from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from edgeseg.errors import InputError, UnsupportedModel
from edgeseg.spec import ModelSpec, default_class_names, default_palette
from edgeseg_converters.keras_model.freeze import freeze


def small_model(channels: int = 4, activation: str | None = None, size: tuple[int, int] = (16, 24)) -> keras.Model:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((*size, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(inputs, keras.layers.Conv2D(channels, 1, activation=activation)(x), name="small")


def spec_for(model: keras.Model, output_kind: str = "argmax") -> ModelSpec:
    count = max(model.output_shape[-1], 2)
    return ModelSpec(
        name="small",
        input_size=model.input_shape[1:3],
        class_names=default_class_names(count),
        palette=default_palette(count),
        output_kind=output_kind,
    )


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1, 16, 24, 3)).astype(np.float32)


def test_batch_and_size_are_static_and_no_variable_is_left(image: np.ndarray) -> None:
    model = small_model()
    frozen = freeze(model, spec_for(model))
    assert frozen.inputs[0].shape == (1, 16, 24, 3)
    assert frozen.outputs[0].shape == (1, 16, 24)
    assert not frozen.graph.captures
    assert not [op.name for op in frozen.graph.get_operations() if op.type in ("VarHandleOp", "ReadVariableOp")]


def test_a_filter_that_is_computed_becomes_a_constant(image: np.ndarray) -> None:
    inputs = keras.Input((16, 24, 3))
    x = keras.ops.image.extract_patches(inputs, 8)  # a convolution with an identity matrix, 147 kB
    model = keras.Model(inputs, keras.layers.Conv2D(4, 1)(x))
    frozen = freeze(model, spec_for(model, "logits"))
    patches = next(op for op in frozen.graph.get_operations() if op.type == "Conv2D" and op.inputs[1].shape[-1] == 192)
    assert patches.inputs[1].op.type == "Const"
    with tf.compat.v1.Session(graph=frozen.graph) as session:
        got = session.run(frozen.outputs[0].name, {frozen.inputs[0].name: image})
    # 192 products in another order.
    np.testing.assert_allclose(got, model.predict_on_batch(image), atol=1e-5)


def test_argmax_is_the_models(image: np.ndarray) -> None:
    model = small_model()
    (got,) = freeze(model, spec_for(model))(tf.constant(image))
    np.testing.assert_array_equal(got, model.predict_on_batch(image).argmax(-1))
    assert got.dtype == np.uint8


def test_softmax_is_added_to_logits_and_not_added_twice(image: np.ndarray) -> None:
    logits, probabilities = small_model(), small_model(activation="softmax")
    expected = probabilities.predict_on_batch(image)  # the same weights, by the same seed
    for model in (logits, probabilities):
        (got,) = freeze(model, spec_for(model, "softmax"))(tf.constant(image))
        # One softmax in float32 against the same in float32: a few ulp of values below 1.
        np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_binary_model_with_one_channel_becomes_two_classes(image: np.ndarray, activation: str | None) -> None:
    model = small_model(channels=1, activation=activation)
    raw = model.predict_on_batch(image)[..., 0]
    foreground = raw > (0.5 if activation else 0.0)
    (class_map,) = freeze(model, spec_for(model))(tf.constant(image))
    np.testing.assert_array_equal(class_map, foreground)
    (scores,) = freeze(model, spec_for(model, "softmax"))(tf.constant(image))
    probability = raw if activation else 1 / (1 + np.exp(-raw))
    np.testing.assert_allclose(scores[..., 1], probability, atol=1e-6)


@pytest.mark.parametrize("hidden", ["variable", "function"])
def test_weights_that_keras_does_not_see_are_frozen_too(hidden: str) -> None:
    held = [tf.Variable([1.0, 2.0, 3.0])] if hidden == "variable" else []

    class Hidden(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: tf.Tensor) -> tf.Tensor:
            return x * held[0] if held else tf.function(lambda value: value * [1.0, 2.0, 3.0])(x)

    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, Hidden()(inputs))
    frozen = freeze(model, spec_for(model, "logits"))
    kinds = {op.type for op in frozen.graph.get_operations()}
    assert not kinds & {"VarHandleOp", "ReadVariableOp", "PartitionedCall", "StatefulPartitionedCall"}
    (got,) = frozen(tf.ones((1, 4, 4, 3)))
    np.testing.assert_array_equal(got[0, 0, 0], [1, 2, 3])


def test_softmax_of_independent_sigmoids_is_refused() -> None:
    model = small_model(activation="sigmoid")
    with pytest.raises(UnsupportedModel, match="has no softmax; ask for argmax or logits"):
        freeze(model, spec_for(model, "softmax"))


def test_flattened_output_is_refused_with_the_way_out() -> None:
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Reshape((32, 8))(keras.layers.Conv2D(4, 1)(inputs)))
    with pytest.raises(UnsupportedModel, match="remove the final Reshape"):
        freeze(
            model,
            ModelSpec(name="m", input_size=(8, 8), class_names=default_class_names(4), palette=default_palette(4)),
        )


def test_two_outputs_are_refused_by_name() -> None:
    inputs = keras.Input((8, 8, 3))
    outputs = [keras.layers.Conv2D(2, 1, name=name)(inputs) for name in ("main", "aux")]
    model = keras.Model(inputs, outputs)
    with pytest.raises(UnsupportedModel, match="2 outputs"):
        freeze(
            model,
            ModelSpec(name="m", input_size=(8, 8), class_names=default_class_names(2), palette=default_palette(2)),
        )


def test_wrong_number_of_class_names_is_refused() -> None:
    model = small_model(channels=4)
    spec = ModelSpec(name="m", input_size=(16, 24), class_names=default_class_names(5), palette=default_palette(5))
    with pytest.raises(InputError, match="4 output channels, but 5 class names"):
        freeze(model, spec)
