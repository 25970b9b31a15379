"""What takes the place of a Lambda, which is never run: the code in the message works as it is."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from edgeseg.cli._words import in_flags
from edgeseg.errors import InputError
from edgeseg.models.keras_files.custom_objects import load_custom_objects
from edgeseg.models.keras_files.load import load_keras_file
from edgeseg.models.opening import at_input_size

SHAPE = (16, 24, 3)

keras2 = pytest.mark.skipif(
    importlib.util.find_spec("tf_keras") is None, reason="tf-keras (Keras 2 itself) is not installed"
)
forms = pytest.mark.parametrize(
    ("version", "suffix"),
    [
        pytest.param(version, suffix, marks=keras2 if version == 2 else ())
        for version in (2, 3)
        for suffix in (".h5", ".keras")
    ],
)


def framework(version: int) -> Any:
    if version == 3:
        return keras
    import tf_keras

    return tf_keras


def lambda_layer(k: Any, function: Any, name: str, shape: tuple[int, ...]) -> Any:
    # Keras 2 finds the shape out by itself, and writes none.
    return k.layers.Lambda(function, name=name, **({"output_shape": shape} if k is keras else {}))


def pyramid(k: Any) -> Any:
    """PSPNet's head as its ports write it: maps of several sizes, brought to one by Lambdas."""
    image = k.Input(SHAPE)
    features = k.layers.Conv2D(4, 3, strides=4, padding="same", activation="relu")(image)
    levels = [features]
    for number, window in enumerate(((4, 6), (2, 3), (1, 2))):
        pooled = k.layers.Conv2D(2, 1)(k.layers.AveragePooling2D(window)(features))
        levels.append(lambda_layer(k, lambda t: tf.image.resize(t, (4, 6)), f"interp_{number}", (4, 6, 2))(pooled))
    x = k.layers.Conv2D(3, 1)(k.layers.Concatenate()(levels))
    x = lambda_layer(k, lambda t: tf.image.resize(t, (16, 24)), "out", (16, 24, 3))(x)
    return k.Model(image, k.layers.Activation("softmax")(x))


def resize_like(k: Any) -> Any:
    image = k.Input(SHAPE)
    features = k.layers.Conv2D(4, 3, strides=4, padding="same")(image)
    resize = lambda_layer(k, lambda t: tf.image.resize(t[0], tf.shape(t[1])[1:3]), "like", (16, 24, 4))
    return k.Model(image, k.layers.Conv2D(2, 1)(k.layers.Concatenate()([resize([features, image]), image])))


def scaling(k: Any) -> Any:
    image = k.Input(SHAPE)
    return k.Model(image, k.layers.Conv2D(2, 1)(lambda_layer(k, lambda t: t / 127.5 - 1, "scale", SHAPE)(image)))


def mean(k: Any) -> Any:
    image = k.Input(SHAPE)
    x = k.layers.Conv2D(4, 1)(image)
    pooled = lambda_layer(k, lambda t: tf.reduce_mean(t, [1, 2], keepdims=True), "pool", (1, 1, 4))(x)
    return k.Model(image, k.layers.Multiply()([x, pooled]))


@forms
@pytest.mark.parametrize("model", [pyramid, resize_like, scaling])
def test_the_code_of_the_message_replaces_the_lambda(tmp_path: Path, version: int, suffix: str, model: Any) -> None:
    source, path = model(framework(version)), tmp_path / f"x{suffix}"
    source.save(path)
    with pytest.raises(InputError, match="Lambda layers, Python bytecode that edgeseg never runs") as caught:
        load_keras_file(path)
    assert "\n" not in str(caught.value)
    objects, imports = str(caught.value).split("`")[1::2]
    # In Python as an argument, and as the lines of a file for the command line.
    lines = in_flags(str(caught.value)).split("`")[1::2]
    assert lines == [objects.replace("custom_objects={", "CUSTOM_OBJECTS = {"), imports]
    (tmp_path / "own.py").write_text("\n".join(reversed(lines)))
    own = load_custom_objects(tmp_path / "own.py")
    loaded = load_keras_file(path, custom_objects=own)
    x = np.random.default_rng(0).uniform(0, 255, (1, *SHAPE)).astype(np.float32)
    # float32 sums of up to 27 products of values below 255, in another order.
    np.testing.assert_allclose(np.asarray(loaded(x)), np.asarray(source(x)), rtol=1e-4, atol=1e-4)
    loaded.save(tmp_path / "again.keras")
    np.testing.assert_array_equal(np.asarray(load_keras_file(tmp_path / "again.keras")(x)), np.asarray(loaded(x)))


def test_shapes_that_say_it_name_the_mean_and_the_reshape(tmp_path: Path) -> None:
    mean(keras).save(tmp_path / "x.keras")
    with pytest.raises(InputError, match=r"where that is a mean over the map.*GlobalAveragePooling2D\(keepdims=True\)"):
        load_keras_file(tmp_path / "x.keras")
    image = keras.Input(SHAPE)
    flat = lambda_layer(keras, lambda t: keras.ops.reshape(t, (-1, 384, 3)), "flat", (384, 3))(image)
    keras.Model(image, keras.layers.Dense(2)(flat)).save(tmp_path / "x.keras")
    with pytest.raises(InputError, match=r"where that is a reshape.*'flat': keras.layers.Reshape\(\(384, 3\)\)"):
        load_keras_file(tmp_path / "x.keras")


def formula(k: Any) -> Any:
    image = k.Input(SHAPE)
    x = k.layers.Conv2D(4, 1)(image)
    return k.Model(image, k.layers.Conv2D(2, 1)(lambda_layer(k, lambda t: t * 3, "times", (16, 24, 4))(x)))


def triple(x: Any) -> Any:
    return 3 * x


class Tripling(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return 3 * x


@forms
@pytest.mark.parametrize("own", [triple, Tripling, keras.layers.Rescaling(3.0)], ids=["function", "class", "layer"])
def test_shapes_that_do_not_say_it_leave_it_to_the_user(tmp_path: Path, version: int, suffix: str, own: Any) -> None:
    source, path = formula(framework(version)), tmp_path / f"x{suffix}"
    source.save(path)
    with pytest.raises(InputError, match=r"`custom_objects=\{'times': YourLayer\}`, a layer or a function"):
        load_keras_file(path)
    loaded = load_keras_file(path, custom_objects={"times": own})
    x = np.random.default_rng(0).uniform(-1, 1, (1, *SHAPE)).astype(np.float32)
    # float32 sums of a few products near 1
    np.testing.assert_allclose(np.asarray(loaded(x)), np.asarray(source(x)), rtol=1e-5, atol=1e-5)
    resized = at_input_size(loaded, (32, 48), custom_objects={"times": own, "Tripling": Tripling})
    assert resized.output_shape == (None, 32, 48, 2)


def test_what_is_neither_a_layer_nor_a_function_is_refused(tmp_path: Path) -> None:
    formula(keras).save(tmp_path / "x.keras")
    with pytest.raises(InputError, match="CUSTOM_OBJECTS has 3 for 'times'; accepted: a Keras layer, its class or a"):
        load_keras_file(tmp_path / "x.keras", custom_objects={"times": 3})
