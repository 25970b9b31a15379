from __future__ import annotations

import re
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.errors import InputError, UnsupportedModel
from edgeseg.models.clone import Changes, clone, copy_weights, paired_layers, resized
from edgeseg.models.opening import assumed_spec, at_input_size
from edgeseg_converters import export

SIZE, LARGER = (16, 24), (32, 40)


def noise(size: tuple[int, int] = SIZE) -> Any:
    return np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)


def answer(model: keras.Model, size: tuple[int, int] = SIZE) -> Any:
    return keras.ops.convert_to_numpy(model(noise(size), training=False)).astype(np.float32)


def around(inner: keras.Model, size: tuple[int, int] = SIZE) -> keras.Model:
    """A model that calls another, between layers of its own."""
    inputs = keras.Input((*size, 3))
    return keras.Model(inputs, layers.Rescaling(0.5)(inner(layers.Rescaling(2.0)(inputs))), name="outer")


@pytest.mark.parametrize("says_size", [True, False], ids=["its config has the size", "its config has no size"])
@pytest.mark.parametrize("is_nested", [False, True], ids=["alone", "nested"])
def test_a_subclass_with_layers_in_another_order_is_itself_at_another_size(
    permuted_class: type, says_size: bool, is_nested: bool
) -> None:
    model = permuted_class(says_size=says_size)
    expected = permuted_class((*LARGER, 3))
    if is_nested:
        model, expected = around(model), around(expected, LARGER)
    got = at_input_size(model, LARGER)
    assert got.output_shape == (None, *LARGER, 3)
    # The same layers on the same float32 numbers; weights that are swapped differ by the size of the logits.
    np.testing.assert_allclose(answer(got, LARGER), answer(expected, LARGER), atol=1e-4)


@pytest.mark.parametrize("is_nested", [False, True], ids=["alone", "nested"])
@pytest.mark.parametrize(("policy", "within"), [(None, 1e-5), ("mixed_float16", 1e-2)])
def test_a_clone_has_variables_of_its_own_and_gives_the_same(
    permuted_class: type, is_nested: bool, policy: str | None, within: float
) -> None:
    model = around(permuted_class()) if is_nested else permuted_class()
    made = clone(model, Changes(policy=policy))
    expected = answer(model)
    # float16 has 11 bits, and a handful of roundings on the way.
    np.testing.assert_allclose(answer(made), expected, atol=within * np.abs(expected).max())
    assert not {id(weight) for weight in made.weights} & {id(weight) for weight in model.weights}
    made.weights[0].assign(np.zeros(made.weights[0].shape))
    np.testing.assert_array_equal(answer(model), expected)


def test_layers_are_paired_by_their_places_whatever_the_order_of_the_weights(permuted_class: type) -> None:
    model = permuted_class()
    made = clone(model)
    assert [weight.path for weight in made.weights] != [weight.path for weight in model.weights]
    assert all(one.name == two.name for one, two in paired_layers(model, made) if isinstance(one, keras.Layer))
    for weight in made.weights:
        weight.assign(np.ones(weight.shape))
    copy_weights(model, made)
    np.testing.assert_allclose(answer(made), answer(model), atol=1e-5)


def test_a_layer_that_only_its_model_can_make_is_made_by_the_model(permuted_class: type) -> None:
    class Halved(layers.Rescaling):  # type: ignore[misc]
        def get_config(self) -> dict[str, Any]:
            return {"name": self.name, "half": True}  # which its __init__ does not take

    @keras.saving.register_keras_serializable(package="tests")
    class Around(keras.Model):  # type: ignore[misc]
        def __init__(self, image_shape: Any, **kwargs: Any) -> None:
            image = keras.Input(image_shape)
            small = layers.Resizing(image.shape[1] // 2, image.shape[2] // 2)(
                layers.Conv2D(3, 3, padding="same")(image)
            )
            super().__init__(image, layers.Resizing(*image.shape[1:3])(Halved(0.5)(small)), **kwargs)
            self.image_shape = image_shape

        def get_config(self) -> dict[str, Any]:
            return {"image_shape": self.image_shape}

        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            return cls(**config)

    model = Around((*SIZE, 3))
    np.testing.assert_array_equal(answer(clone(model)), answer(model))
    expected = Around((*LARGER, 3))
    expected.set_weights(model.get_weights())
    np.testing.assert_array_equal(answer(resized(model, LARGER), LARGER), answer(expected, LARGER))
    with pytest.raises(UnsupportedModel, match=r"\(Halved\) cannot be rebuilt from its config"):
        clone(model, Changes(policy="mixed_float16"))


class Widened(layers.Layer):  # type: ignore[misc]
    """Its config omits the width."""

    def __init__(self, width: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner = layers.Conv2D(width, 1, name="inner")

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}

    def call(self, x: Any) -> Any:
        return self.inner(x)


class Scaled(layers.Layer):  # type: ignore[misc]
    """Its config omits the factor, and it has no weight."""

    def __init__(self, factor: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}

    def call(self, x: Any) -> Any:
        return x * self.factor


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        (Widened(5, name="wide"), UnsupportedModel, r"'wide' \(Widened\) has the weights kernel \(1, 1, 3, 5\), bias"),
        (Scaled(2.0), InputError, r"'own' rebuilt from its config at 16,24 \(H,W\) gives something else"),
    ],
)
def test_a_layer_that_its_config_does_not_describe_is_refused(layer: Any, error: type, message: str) -> None:
    inputs = keras.Input((*SIZE, 3))
    with pytest.raises(error, match=message) as caught:
        at_input_size(keras.Model(inputs, layer(inputs), name="own"), LARGER)
    assert "\n" not in str(caught.value)


def test_a_layer_that_fits_its_own_size_only_is_refused() -> None:
    inputs = keras.Input((*SIZE, 3))
    model = keras.Model(inputs, layers.Concatenate()([inputs, layers.Resizing(*SIZE)(inputs)]))
    with pytest.raises(InputError, match=re.escape("cannot be rebuilt at 32,40 (H,W)")):
        at_input_size(model, LARGER)


def test_pixels_that_are_counted_for_another_size_are_refused() -> None:
    inputs = keras.Input((*SIZE, 3))
    rows = keras.ops.reshape(inputs, (-1, SIZE[0] * SIZE[1], 3))
    model = keras.Model(inputs, keras.ops.reshape(rows, (-1, *SIZE, 3)), name="own")
    with pytest.raises(InputError, match=r"'own' gives several maps for one image at 32,24 \(H,W\)"):
        at_input_size(model, (32, 24))
    with pytest.raises(UnsupportedModel, match=r"gives 2 maps for one image of 32,24 \(H,W\)"):
        export(model, spec=assumed_spec("own", (32, 24), 3), verify=False)


def test_a_model_that_draws_random_numbers_is_not_refused() -> None:
    class Noisy(layers.Layer):  # type: ignore[misc]
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.noise = layers.GaussianNoise(1.0)

        def call(self, x: Any) -> Any:
            return self.noise(x, training=True)

    inputs = keras.Input((*SIZE, 3))
    assert at_input_size(keras.Model(inputs, Noisy()(inputs)), LARGER).input_shape == (None, *LARGER, 3)


@pytest.mark.parametrize("size", [(None, None), (16, None), SIZE])
def test_a_model_that_takes_the_size_is_returned_as_it_is(size: Any) -> None:
    inputs = keras.Input((*size, 3))
    model = keras.Model(inputs, layers.Conv2D(2, 1)(inputs))
    assert at_input_size(model, SIZE) is model
