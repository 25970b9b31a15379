"""Functional models of a class of somebody's own, made again by that class."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.models.keras_graph import has_own_class, plain
from edgeseg.models.reconstruction import reconstructed

SHAPE = (16, 24, 3)


class Doubled(keras.Model):
    """As a task of KerasHub: ``predict`` does more than the graph, and the size is in the class' config."""

    def __init__(self, image_shape: Any = SHAPE, **kwargs: Any) -> None:
        self.head = layers.Conv2D(2, 1)  # before the stem, as attributes and not as in the graph
        self.stem = layers.Conv2D(4, 3, strides=2, padding="same")
        image = keras.Input(image_shape)
        flat = layers.Reshape((image_shape[0] * image_shape[1] // 4, 4))(self.stem(image))
        back = layers.Reshape((image_shape[0] // 2, image_shape[1] // 2, 4))(flat)
        super().__init__(image, layers.Resizing(*image_shape[:2])(self.head(back)), **kwargs)
        self.image_shape = image_shape

    def predict_on_batch(self, x: Any) -> Any:
        return super().predict_on_batch(2 * x)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "image_shape": list(self.image_shape)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)


class Around(keras.Model):
    """The size is in the config of the model inside."""

    def __init__(self, inner: Any = None, **kwargs: Any) -> None:
        inner = inner or keras.Sequential([keras.Input(SHAPE), layers.Conv2D(3, 1)])
        super().__init__(inner.inputs[0], inner.outputs[0], **kwargs)
        self.inner = inner

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "inner": keras.saving.serialize_keras_object(self.inner)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**{**config, "inner": keras.saving.deserialize_keras_object(config["inner"])})


class Stubborn(Doubled):
    """Its config does not say its size."""

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}


class Broken(Doubled):
    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "of_another_version": 1}


@pytest.mark.parametrize("made_by", [Doubled, Around])
def test_a_class_makes_its_model_at_another_size(made_by: Any) -> None:
    with keras.saving.custom_object_scope({each.__name__: each for each in (Doubled, Around)}):
        model = made_by(name="own")
        other, same = reconstructed(model, (32, 8)), reconstructed(model)
    assert other is not None and same is not None
    assert (other.input_shape, same.input_shape) == ((None, 32, 8, 3), (None, *SHAPE))
    assert type(other) is made_by and other.name == "own"
    assert other.output_shape[1:3] == (32, 8)
    assert [tuple(v.shape) for v in other.weights] == [tuple(v.shape) for v in model.weights]


@pytest.mark.parametrize("made_by", [Stubborn, Broken])
def test_a_class_that_does_not_say_its_size_is_not_asked(made_by: Any) -> None:
    with keras.saving.custom_object_scope({made_by.__name__: made_by}):
        assert reconstructed(made_by(), (32, 8)) is None
    # Nor is one that Keras does not know, or one of Keras' own.
    assert reconstructed(Doubled(), (32, 8)) is None
    assert reconstructed(keras.Sequential([keras.Input(SHAPE), layers.Conv2D(2, 1)]), (32, 8)) is None


def test_a_plain_model_computes_the_graph_and_no_more() -> None:
    model = Doubled()
    pixels = np.ones((1, *SHAPE), np.float32)
    assert has_own_class(model) and not has_own_class(plain(model))
    assert plain(plain(model)) is not model
    expected = keras.ops.convert_to_numpy(model(pixels))
    assert np.array_equal(plain(model).predict_on_batch(pixels), expected)
    assert not np.allclose(model.predict_on_batch(pixels), expected)
