"""``keras2_graph``, ``keras2_layers`` and ``edgeseg.models.weights.names``: models as Keras 2 calls their layers."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeseg.cli._words import in_flags
from edgeseg.errors import InputError
from edgeseg.models.keras_files.custom_objects import KNOWN, load_custom_objects
from edgeseg.models.keras_files.keras2 import rename_layers
from edgeseg.models.keras_files.load import load_keras_file

SHAPE = (8, 12, 3)

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tf_keras") is None, reason="tf-keras (Keras 2 itself) is not installed"
)


class Merge(keras.layers.Layer):
    """The user's own, with a tensor by keyword."""

    def call(self, a: Any, skip: Any = None) -> Any:
        return a + skip


def check(source: Any, path: Path, **custom_objects: Any) -> keras.Model:
    """Save a model of tf-keras with random weights in both forms, load it, and hold the outputs side by side."""
    rng = np.random.default_rng(1)
    source.set_weights([rng.uniform(0.1, 1, w.shape) for w in source.get_weights()])
    x = np.random.default_rng(0).uniform(-1, 1, (2, *SHAPE)).astype(np.float32)
    expected = keras.tree.flatten(source(x, training=False))
    for suffix in (".h5", ".keras"):
        source.save(path / f"x{suffix}")
        model = load_keras_file(path / f"x{suffix}", custom_objects=custom_objects)
        actual = keras.tree.flatten(model(x, training=False))
        for got, wanted in zip(actual, expected, strict=True):
            # Sums of up to 100 float32 products near 1, in another order.
            np.testing.assert_allclose(np.asarray(got), np.asarray(wanted), rtol=1e-5, atol=1e-5, err_msg=suffix)
    return model


def build(name: str) -> Any:
    import tf_keras
    from tf_keras import layers
    from tf_keras.src.applications.convnext import LayerScale, StochasticDepth
    from tf_keras.src.applications.inception_resnet_v2 import CustomScaleLayer

    class FixedDropout(layers.Dropout):  # type: ignore[misc]
        """As in the efficientnet package."""

    class Merge(layers.Layer):  # type: ignore[misc]
        def call(self, a: Any, skip: Any = None) -> Any:
            return a + skip

    x = tf_keras.Input(SHAPE, name="scope/image")
    y = layers.Conv2D(4, 3, padding="same", name="enc/conv1")(x)
    inner_input = tf_keras.Input(SHAPE)
    inner = layers.Conv2D(3, 1, name="block/conv")(layers.BatchNormalization(name="block/bn")(inner_input))
    nested = tf_keras.Model(inner_input, inner, name="enc/inner")
    stem = layers.Conv1D(3, 3, name="wrapped/conv", input_shape=SHAPE[1:])
    sequence = tf_keras.Sequential([stem], name="wrapped/model")
    shared = layers.Conv2D(3, 1)
    outputs: dict[str, Callable[[], Any]] = {
        "slashes": lambda: layers.Conv2D(2, 1, name="dec/head")(y),
        "two names that become one": lambda: layers.Conv2D(2, 1, name="enc_conv1")(y),
        "slashes in a nested model": lambda: layers.Conv2D(2, 1, name="dec/head")(nested(nested(x), training=False)),
        "slashes in a wrapped model": lambda: layers.TimeDistributed(sequence, name="a/b")(x),
        "keyword tensors": lambda: layers.MultiHeadAttention(2, 3, attention_axes=(1, 2))(y, value=y, key=2 * y),
        "keyword tensors of an own layer": lambda: Merge(name="m/erge")(y, skip=2 * y),
        "a shared layer": lambda: shared(x) + shared(shared(x)),
        "names that Keras 3 gives": lambda: layers.Add(name="add")([x + 1, layers.Add(name="add_1")([x, 2 * x])]) + 3,
        "several outputs": lambda: {"a": y, "b": y + 1},
        "LayerScale": lambda: LayerScale(0.3, 4)(y),
        "StochasticDepth": lambda: StochasticDepth(0.3)(y),
        "CustomScaleLayer": lambda: CustomScaleLayer(0.17)([y, y]),
        "FixedDropout": lambda: FixedDropout(0.2, noise_shape=(None, 1, 1, 1))(y),
        "swish": lambda: layers.Activation("swish")(layers.Conv2D(3, 1, activation="swish")(x)),
        "axes": lambda: layers.LayerNormalization(axis=[1, 2, 3])(layers.BatchNormalization(axis=[3])(y)),
    }
    return tf_keras.Model(x, outputs[name]())


@pytest.mark.parametrize(
    "name",
    [
        "slashes",
        "two names that become one",
        "slashes in a nested model",
        "slashes in a wrapped model",
        "keyword tensors",
        "keyword tensors of an own layer",
        "a shared layer",
        "names that Keras 3 gives",
        "several outputs",
        "LayerScale",
        "StochasticDepth",
        "CustomScaleLayer",
        "FixedDropout",
        "swish",
        "axes",
    ],
)
def test_a_model_of_keras2_computes_the_same(tmp_path: Path, name: str) -> None:
    check(build(name), tmp_path, **({"Merge": Merge} if "own layer" in name else {}))


def test_a_layer_of_a_slash_is_named_without(tmp_path: Path) -> None:
    model = check(build("two names that become one"), tmp_path)
    assert [layer.name for layer in model.layers] == ["scope_image", "enc_conv1_", "enc_conv1"]


def test_names_without_a_slash_stay() -> None:
    root = {"class_name": "Functional", "config": {"name": "m", "layers": [{"config": {"name": "a_b"}, "name": "a_b"}]}}
    assert rename_layers(root) == {}
    assert root["config"]["layers"][0]["config"]["name"] == "a_b"  # type: ignore[index]


@pytest.mark.parametrize("name", ["LayerScale", "CustomScaleLayer", "FixedDropout", "StochasticDepth"])
def test_another_layer_of_a_known_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"the {name} 'x' is another than edgeseg knows: it has 'groups'"):
        KNOWN[name].from_config({"name": "x", "groups": 2})


def with_function(tmp_path: Path) -> tuple[Any, Path]:
    import tensorflow as tf
    import tf_keras

    inputs = tf_keras.Input(SHAPE)
    outputs = tf.math.bessel_i0e(inputs) + tf.math.bessel_i0e(2 * inputs)
    source = tf_keras.Model(inputs, tf_keras.layers.Conv2D(2, 1)(outputs))
    source.save(tmp_path / "x.h5")
    return source, tmp_path / "x.h5"


def test_a_function_that_is_not_read_is_named_with_the_two_lines_that_call_it(tmp_path: Path) -> None:
    source, path = with_function(tmp_path)
    with pytest.raises(InputError) as caught:
        load_keras_file(path)
    message = str(caught.value)
    assert "tf.math.bessel_i0e ('tf.math.bessel_i0e', 'tf.math.bessel_i0e_1')" in message and "\n" not in message
    # What the command line makes of it is typed: a file, its dict, and the import that comes before it.
    typed = in_flags(message).partition("--custom-objects FILE.py with ")[2].split("`")[1::2]
    assert typed == ["CUSTOM_OBJECTS = {'tf.math.bessel_i0e': tf.math.bessel_i0e}", "import tensorflow as tf"]
    (tmp_path / "own.py").write_text("\n".join(reversed(typed)))
    own = load_custom_objects(tmp_path / "own.py")
    model = check(source, tmp_path, **own)
    # It is saved by its name, and asks for its code again.
    model.save(tmp_path / "again.keras")
    with pytest.raises(InputError, match=r"`custom_objects=\{'tf.math.bessel_i0e': your_function\}`") as caught:
        load_keras_file(tmp_path / "again.keras")
    line = "--custom-objects FILE.py with `CUSTOM_OBJECTS = {'tf.math.bessel_i0e': your_function}`"
    assert line in in_flags(str(caught.value))
    again = load_keras_file(tmp_path / "again.keras", custom_objects=own)
    x = np.ones((1, *SHAPE), np.float32)
    np.testing.assert_array_equal(np.asarray(again(x)), np.asarray(model(x)))


def test_a_class_of_the_user_calls_all_functions_of_tensorflow(tmp_path: Path) -> None:
    import tensorflow as tf

    called = []

    class TFOpLambda(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self, function: str, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.function = function

        def call(self, x: Any, **kwargs: Any) -> Any:
            called.append(self.function)
            own = {"math.bessel_i0e": tf.math.bessel_i0e, "math.multiply": tf.multiply, "__operators__.add": tf.add}
            return own[self.function](x, **{k: v for k, v in kwargs.items() if k != "name"})

    source, _ = with_function(tmp_path)
    check(source, tmp_path, TFOpLambda=TFOpLambda)
    assert set(called) == {"math.bessel_i0e", "math.multiply", "__operators__.add"}


def test_a_function_that_is_read_only_in_part_is_refused_by_name(tmp_path: Path) -> None:
    import tensorflow as tf
    import tf_keras

    for function, reason in (
        (lambda x: tf.image.resize(x, (4, 4), antialias=True), "antialias=True"),
        (lambda x: tf.image.resize(x, (4, 4), method="area"), "method='area'"),
        (lambda x: tf.compat.v1.image.resize_images(x, (4, 4), method=2), "method='bicubic'"),
        (lambda x: tf.nn.conv2d(x, np.ones((3, 3, 3, 2), np.float32), 1, "SAME", dilations=2), "dilations=2"),
        (lambda x: tf.gather(x, [[0], [1]], axis=1, batch_dims=1), "batch_dims=1"),
    ):
        inputs = tf_keras.Input(SHAPE, batch_size=2)
        tf_keras.Model(inputs, function(inputs)).save(tmp_path / "x.h5")
        with pytest.raises(InputError, match=r"calls tf.*in a way that edgeseg does not read") as caught:
            load_keras_file(tmp_path / "x.h5")
        assert reason in str(caught.value)


def test_a_record_of_calls_that_does_not_close_is_one_line(tmp_path: Path) -> None:
    from edgeseg.models.keras_files.keras2_graph import build_model

    layers = [
        {
            "class_name": "InputLayer",
            "name": "i",
            "config": {"name": "i", "batch_input_shape": [None, 4, 4, 3]},
            "inbound_nodes": [],
        },
        {
            "class_name": "Activation",
            "name": "a",
            "config": {"name": "a", "activation": "relu"},
            "inbound_nodes": [[["a", 0, 0, {}]]],
        },
    ]
    config = {"name": "m", "layers": layers, "input_layers": [["i", 0, 0]], "output_layers": [["a", 0, 0]]}
    with pytest.raises(ValueError, match="its layers are not connected: 'a' waits"):
        build_model({"class_name": "Functional", "config": config}, {})
