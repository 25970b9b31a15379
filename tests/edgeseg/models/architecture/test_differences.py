"""``operations`` and ``settings`` too: what two models compute, compared by their configs.

One small model is built. In place of a file there is its config, changed in one place.
"""

from __future__ import annotations

import copy
import re
from typing import Any

import keras
import pytest
from keras import layers

from edgeseg.models.architecture.differences import Comparison, compare
from edgeseg.models.architecture.operations import operations_of_config, operations_of_model
from edgeseg.models.layers import ResizeBilinear


def build() -> keras.Model:
    """A model with one of each kind of layer that the zoo has."""
    inputs = layers.Input((32, 48, 3), name="image")
    x = layers.ZeroPadding2D(1, name="border")(inputs)
    x = layers.Conv2D(4, 3, strides=2, name="conv1")(x)  # 16x24
    x = layers.BatchNormalization(name="bn1")(x)
    x = skip = layers.ReLU(6.0, name="relu6")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="dw")(x)
    x = layers.LeakyReLU(negative_slope=0.1, name="leaky")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool")(x)  # 7x11
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv2")(x)
    x = layers.Dropout(0.3, name="dropout")(x)
    x = ResizeBilinear(name="resize")([x, skip])
    x = layers.Add(name="add")([x, skip])
    x = layers.Conv2D(4, 1, name="conv3")(x)
    x = layers.MaxPooling2D(2, name="pool2")(x)  # 8x12: its windows fit
    x = layers.UpSampling2D(2, interpolation="bilinear", name="up")(x)
    x = layers.Concatenate(name="concat")([x, skip])
    return keras.Model(inputs, layers.Conv2D(5, 1, name="logits")(x), name="small")


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return build()


def config_of(model: keras.Model) -> dict[str, Any]:
    """The config as a file has it: plain JSON."""
    return {"class_name": type(model).__name__, "config": copy.deepcopy(model.get_config())}


def layer_of(root: dict[str, Any], name: str) -> dict[str, Any]:
    layer: dict[str, Any] = next(each for each in root["config"]["layers"] if each["config"]["name"] == name)
    return layer


def compared(root: dict[str, Any], model: keras.Model) -> Comparison:
    """Compare, the layers that have weights paired by name."""
    file, own = operations_of_config(root), operations_of_model(model)
    assert file is not None and own is not None
    partners = {op.name: op.name for op in file.all if op.name in own.weighted}
    file = type(file)(all=file.all, outputs=file.outputs, weighted=frozenset(partners))
    return compare(file, own, partners)


def compared_models(file: keras.Model, model: keras.Model) -> Comparison:
    return compared(config_of(file), model)


def assert_same(comparison: Comparison) -> None:
    assert [difference.text for difference in comparison.differences] == []
    assert comparison.unread == ()


def test_a_model_is_what_its_config_says(model: keras.Model) -> None:
    assert_same(compared(config_of(model), model))


@pytest.mark.parametrize(
    ("layer", "changes", "text"),
    [
        ("bn1", {"epsilon": 1e-5}, "'bn1' has epsilon 1e-05 in the file, 0.001 here"),
        ("bn1", {"axis": 1}, "'bn1' has axis 1 in the file, -1 here"),
        ("relu6", {"max_value": None}, "'relu6' has the activation 'relu' in the file, 'relu6' here"),
        ("leaky", {"negative_slope": 0.3}, "'leaky' has negative_slope 0.3 in the file, 0.1 here"),
        ("dw", {"dilation_rate": [2, 2]}, "'dw' has dilation_rate (2, 2) in the file, (1, 1) here"),
        ("conv1", {"strides": [1, 1]}, "'conv1' has strides (1, 1) in the file, (2, 2) here"),
        ("conv1", {"data_format": "channels_first"}, "'conv1' has data_format 'channels_first' in the file"),
        ("conv1", {"padding": "same"}, "'conv1' has padding 'same' after a border of ((1, 1), (1, 1)) in the file"),
        ("border", {"padding": [[0, 1], [0, 1]]}, "'conv1' has padding 'valid' after a border of ((0, 1), (0, 1))"),
        ("conv2", {"padding": "valid"}, "'conv2' has padding 'valid' in the file, 'same' here"),
        ("conv2", {"activation": "elu"}, "'conv2' has the activation 'elu' in the file, 'relu' here"),
        ("pool", {"padding": "same"}, "'pool' has padding 'same' in the file, 'valid' here"),
        ("pool", {"pool_size": [2, 2]}, "'pool' has pool_size (2, 2) in the file, (3, 3) here"),
        ("pool", {"strides": [1, 1]}, "'pool' has strides (1, 1) in the file, (2, 2) here"),
        ("up", {"interpolation": "nearest"}, "'up' has interpolation 'nearest' in the file, 'bilinear' here"),
        ("up", {"size": [4, 4]}, "'up' has factor (4, 4) in the file, (2, 2) here"),
        ("resize", {"align_corners": False}, "'resize' has align_corners False in the file, True here"),
        ("concat", {"axis": 2}, "'concat' has axis 2 in the file, -1 here"),
    ],
)
def test_each_setting_that_changes_the_result_is_named(
    model: keras.Model, layer: str, changes: dict[str, Any], text: str
) -> None:
    root = config_of(model)
    layer_of(root, layer)["config"].update(changes)
    (difference,) = compared(root, model).differences
    assert difference.text.startswith(text)


@pytest.mark.parametrize(
    ("layer", "changes"),
    [
        ("image", {"batch_shape": [None, 64, 64, 3]}),
        ("bn1", {"momentum": 0.5, "axis": [3], "epsilon": 0.0010000000474974513, "renorm": True, "trainable": False}),
        (
            "conv1",
            {"kernel_initializer": "he_normal", "kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.1}}},
        ),
        ("conv1", {"dtype": {"class_name": "Policy", "config": {"name": "mixed_float16"}}, "data_format": None}),
        ("conv2", {"strides": 1, "dilation_rate": 1, "kernel_size": 3}),
        ("conv3", {"padding": "same"}),  # of one pixel: there is no border to see
        ("pool2", {"padding": "same"}),  # its windows fit
        ("relu6", {"max_value": 6, "threshold": 0.0}),
        ("dropout", {"rate": 0.9}),
        ("concat", {"axis": 3}),
    ],
)
def test_what_changes_no_result_is_no_difference(model: keras.Model, layer: str, changes: dict[str, Any]) -> None:
    root = config_of(model)
    layer_of(root, layer)["config"].update(changes)
    assert_same(compared(root, model))


def test_a_setting_that_an_older_keras_did_not_have_is_its_default(model: keras.Model) -> None:
    root = config_of(model)
    del layer_of(root, "up")["config"]["interpolation"]
    del layer_of(root, "conv1")["config"]["groups"]
    (difference,) = compared(root, model).differences
    assert difference.text == "'up' has interpolation 'nearest' in the file, 'bilinear' here"
    layer_of(root, "leaky")["config"]["alpha"] = layer_of(root, "leaky")["config"].pop("negative_slope")  # as Keras 2
    assert compared(root, model).differences == (difference,)


def test_batch_normalization_that_a_file_calls_in_training_mode(model: keras.Model) -> None:
    root = config_of(model)
    layer_of(root, "bn1")["inbound_nodes"][0]["kwargs"] = {"training": True}
    (difference,) = compared(root, model).differences
    assert difference.text == "'bn1' has training True in the file, None here"


# --- the same in other layers ---


def chain(*parts: Any, name: str = "chain") -> keras.Model:
    inputs = layers.Input((16, 16, 3))
    x = inputs
    for part in parts:
        x = part(x)
    return keras.Model(inputs, x, name=name)


def conv(name: str, kernel: int = 3, **options: Any) -> layers.Layer:
    return layers.Conv2D(3, kernel, name=name, **options)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda: [conv("a", activation="relu")], lambda: [conv("a"), layers.ReLU()]),
        (lambda: [conv("a"), layers.Activation("relu6")], lambda: [conv("a"), layers.ReLU(6.0)]),
        (lambda: [conv("a", activation="swish")], lambda: [conv("a"), layers.Activation("silu")]),
        (lambda: [conv("a", activation="leaky_relu")], lambda: [conv("a"), layers.LeakyReLU(negative_slope=0.2)]),
        (lambda: [layers.ZeroPadding2D(1), conv("a")], lambda: [conv("a", padding="same")]),
        (lambda: [conv("a"), layers.Softmax()], lambda: [conv("a")]),
        (lambda: [conv("a", activation="softmax")], lambda: [conv("a"), layers.Reshape((-1, 3))]),
        (lambda: [conv("a"), layers.SpatialDropout2D(0.5), conv("b")], lambda: [conv("a"), conv("b")]),
        (lambda: [conv("a"), layers.Activation("linear"), conv("b")], lambda: [conv("a"), conv("b")]),
        (
            lambda: [conv("a"), layers.GlobalAveragePooling2D(), layers.Reshape((1, 1, 3)), conv("b", 1)],
            lambda: [conv("a"), layers.GlobalAveragePooling2D(keepdims=True), conv("b", 1)],
        ),
        (
            lambda: [conv("a"), layers.GlobalAveragePooling2D(keepdims=True), layers.UpSampling2D(4), conv("b", 1)],
            lambda: [
                conv("a"),
                layers.GlobalAveragePooling2D(keepdims=True),
                layers.UpSampling2D(4, interpolation="bilinear"),  # of one pixel
                conv("b", 1),
            ],
        ),
    ],
)
def test_the_same_in_other_layers_is_no_difference(one: Any, other: Any) -> None:
    assert_same(compared_models(chain(*one()), chain(*other())))
    assert_same(compared_models(chain(*other()), chain(*one())))


@pytest.mark.parametrize(
    ("one", "other", "text"),
    [
        (
            lambda: [conv("a"), layers.MaxPooling2D(2, name="pool"), conv("b")],
            lambda: [conv("a"), conv("b")],
            "'b' reads 'pool' (MaxPooling2D) in the file, which is not here",
        ),
        (
            lambda: [conv("a"), conv("b")],
            lambda: [conv("a"), layers.ReLU(name="relu"), conv("b")],
            "'b' reads 'relu' (Activation relu) here, which is not in the file",
        ),
        (
            lambda: [layers.Rescaling(1 / 255, name="rescaling"), conv("a")],
            lambda: [conv("a")],
            "'a' reads 'rescaling' (Rescaling) in the file, which is not here",
        ),
        (
            lambda: [conv("a"), layers.AveragePooling2D(2, name="mean"), conv("b")],
            lambda: [conv("a"), layers.MaxPooling2D(2, name="max"), conv("b")],
            "'b' reads 'mean' (AveragePooling2D) in the file, 'max' (MaxPooling2D) here",
        ),
        (lambda: [conv("a"), conv("b")], lambda: [conv("b"), conv("a")], "'a' reads the input in the file, 'b'"),
        (
            lambda: [conv("a"), layers.Softmax(name="s"), conv("b")],  # not at the end
            lambda: [conv("a"), conv("b")],
            "'b' reads 's' (Activation softmax) in the file, which is not here",
        ),
    ],
)
def test_a_layer_that_only_one_has_is_named(one: Any, other: Any, text: str) -> None:
    found = [difference.text for difference in compared_models(chain(*one()), chain(*other())).differences]
    assert any(each.startswith(text) for each in found), found


def joined(join: Any, *, turned: bool = False) -> keras.Model:
    inputs = layers.Input((8, 8, 3))
    sides = [conv("left")(inputs), conv("right")(inputs)]
    return keras.Model(inputs, conv("head", 1)(join(sides[::-1] if turned else sides)))


def test_a_sum_has_no_order_and_a_concatenation_has_one() -> None:
    assert_same(compared_models(joined(layers.Add(), turned=True), joined(layers.Add())))
    found = compared_models(joined(layers.Concatenate(name="cat"), turned=True), joined(layers.Concatenate(name="cat")))
    assert [difference.text for difference in found.differences] == [
        "'cat' reads 'right' (Conv2D) in the file, 'left' (Conv2D) here",
        "'cat' reads 'left' (Conv2D) in the file, 'right' (Conv2D) here",
    ]


def test_a_layer_that_is_called_twice() -> None:
    inputs = layers.Input((8, 8, 3))
    shared = conv("shared", padding="same")
    twice = keras.Model(inputs, shared(shared(inputs)))
    found = compared_models(twice, chain(conv("shared", padding="same")))
    assert found.differences[0].text == "'shared' is called 2 times in the file, 1 time here"
    assert_same(compared_models(twice, twice))


# --- models in models, and what a file does not say ---


@pytest.mark.parametrize("kind", ["functional", "sequential"])
def test_a_nested_model_is_compared_layer_by_layer(kind: str) -> None:
    def nested(epsilon: float) -> keras.Model:
        parts = [layers.Input((8, 8, 3)), conv("conv"), layers.BatchNormalization(epsilon=epsilon, name="bn")]
        if kind == "sequential":
            encoder: keras.Model = keras.Sequential(parts, name="encoder")
        else:
            encoder = keras.Model(parts[0], parts[2](parts[1](parts[0])), name="encoder")
        return chain(layers.Resizing(8, 8), encoder, conv("head", 1))

    assert_same(compared_models(nested(1e-3), nested(1e-3)))
    (difference,) = compared_models(nested(1e-5), nested(1e-3)).differences
    assert difference.text == "'encoder/bn' has epsilon 1e-05 in the file, 0.001 here"


def test_a_lambda_is_not_run_and_named_as_unread() -> None:
    ours = chain(conv("a"), ResizeBilinear((16, 16), name="resize"), conv("b"))
    root = config_of(ours)
    resize = layer_of(root, "resize")
    resize.update(class_name="Lambda", config={"name": "resize", "function": {"class_name": "__lambda__"}})
    found = compared(root, ours)
    assert (found.differences, found.unread) == ((), ("'resize' (Lambda)",))
    layer_of(root, "a")["config"]["strides"] = [2, 2]  # behind it the comparison goes on
    (difference,) = compared(root, ours).differences
    assert re.match("'a' has strides", difference.text)


def test_lambdas_in_a_row_are_in_the_place_of_one_layer_or_of_none() -> None:
    """The ports of DeepLab give the mean of a map its axes back by two of them, where the zoo's layer keeps them."""
    places = [layers.Activation("tanh", name=name) for name in ("one", "two")]
    root = config_of(chain(conv("a"), layers.GlobalAveragePooling2D(name="mean"), *places))
    for name in ("one", "two"):
        layer_of(root, name).update(class_name="Lambda", config={"name": name, "function": {}})
    ours = chain(conv("a"), layers.GlobalAveragePooling2D(keepdims=True, name="mean"))
    found = compared(root, ours)
    assert (found.differences, found.unread) == ((), ("'two' (Lambda)", "'one' (Lambda)"))
    layer_of(root, "mean").update(class_name="GlobalMaxPooling2D")
    (difference,) = compared(root, ours).differences
    assert "'mean' (GlobalMaxPooling2D) in the file, which is not here" in difference.text


def test_layers_of_projects_are_read_as_their_files_are_opened() -> None:
    ours = chain(conv("a"), ResizeBilinear((28, 28), name="resize"), conv("b"))
    root = config_of(ours)
    layer_of(root, "resize").update(
        class_name="BilinearUpsampling", config={"name": "resize", "upsampling": [2, 2], "data_format": None}
    )
    assert_same(compared(root, ours))
    layer_of(root, "resize")["config"]["upsampling"] = [4, 4]
    (difference,) = compared(root, ours).differences
    assert difference.text == "'resize' has factor (4, 4) in the file, (2, 2) here"


def test_a_config_that_is_no_graph_of_layers_is_not_compared() -> None:
    assert operations_of_config({"class_name": "Own", "config": {"width": 3}}) is None
    broken = config_of(chain(conv("a"), conv("b")))
    broken["config"]["layers"] = broken["config"]["layers"][1:]  # they refer to an input that is not there
    assert operations_of_config(broken) is None
