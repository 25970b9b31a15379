"""Full models of Keras 2: what Keras 3 reads by itself, what it refuses, and what it would misread."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.models.keras_files.keras2 import keras2_hard_sigmoid, to_keras3
from edgeseg.models.keras_files.load import load_keras_file, read_spec

DATA = Path(__file__).parents[3] / "data"
SHAPE = (8, 8, 3)

keras2 = pytest.mark.skipif(
    importlib.util.find_spec("tf_keras") is None, reason="tf-keras (Keras 2 itself) is not installed"
)


def random_image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def predict(model: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(model(x, training=False))


@pytest.mark.parametrize("name", ["plain", "rebuilt", "nested", "separable"])
@pytest.mark.parametrize("suffix", [".h5", ".keras"])  # before TensorFlow 2.12, Keras 2 wrote HDF5 under both names
def test_a_full_model_of_keras2(tmp_path: Path, name: str, suffix: str) -> None:
    path = Path(shutil.copy(DATA / f"legacy_{name}_full.h5", tmp_path / f"x{suffix}"))
    model = load_keras_file(path)
    assert read_spec(path) is None
    with np.load(DATA / "legacy_outputs.npz") as arrays:
        # Sums of up to 100 float32 products near 1, in another order.
        np.testing.assert_allclose(
            predict(model, arrays[f"{name}_input"]), arrays[f"{name}_output"], rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("name", ["rebuilt", "separable"])
def test_a_full_model_as_keras_2_1_5_wrote_it(tmp_path: Path, name: str) -> None:
    """No modules, other names, fewer arguments, an initializer that is two today, and every attribute in bytes."""
    newer = ("dtype", "groups", "optional", "ragged", "keepdims", "virtual_batch_size", "renorm", "registered_name")

    def older(value: Any) -> Any:
        if isinstance(value, list):
            return [older(item) for item in value]
        if not isinstance(value, dict):
            return value
        value = {key: older(item) for key, item in value.items() if key not in (*newer, "module", "build_config")}
        if value.get("class_name") == "GlorotUniform":
            scaling = {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform", "seed": None}
            value.update(class_name="VarianceScaling", config=scaling)
        if value.get("class_name") == "Functional":
            value["class_name"] = "Model"
        if value.get("class_name") == "BatchNormalization":
            value["config"]["axis"] = -1
        return value

    path = Path(shutil.copy(DATA / f"legacy_{name}_full.h5", tmp_path))
    with h5py.File(path, "r+") as file:
        config = older(json.loads(file.attrs["model_config"]))
        file.attrs["model_config"] = np.bytes_(json.dumps(config))
        file.attrs["keras_version"] = np.bytes_("2.1.5")
        weights = file["model_weights"]
        for group in (weights, *weights.values()):
            for key in ("layer_names", "weight_names"):
                if key in group.attrs:
                    group.attrs[key] = [str(text).encode() for text in group.attrs[key]]
    model = load_keras_file(path)
    with np.load(DATA / "legacy_outputs.npz") as arrays:
        output = predict(model, arrays[f"{name}_input"])
        np.testing.assert_allclose(output, arrays[f"{name}_output"], rtol=1e-5, atol=1e-5)  # as above


def legacy_layers(tf_keras: Any) -> dict[str, Callable[[Any], Any]]:
    """What Keras 3 by itself refuses, misreads or reads in another form."""
    keras2_layers = tf_keras.layers
    return {
        "depthwise": keras2_layers.DepthwiseConv2D(3, depth_multiplier=2),
        "transpose": keras2_layers.Conv2DTranspose(4, 2, strides=2),
        "separable": keras2_layers.SeparableConv2D(4, 3, kernel_regularizer="l2"),
        "spatial dropout": keras2_layers.SpatialDropout2D(0.1),
        "hard_sigmoid": keras2_layers.Activation("hard_sigmoid"),
        "hard_sigmoid in a layer": keras2_layers.Conv2D(4, 3, activation="hard_sigmoid"),
        "sync": keras2_layers.experimental.SyncBatchNormalization(),
        "relu6": keras2_layers.ReLU(6.0),
        "leaky": keras2_layers.LeakyReLU(0.1),
        "layer as activation": keras2_layers.Conv2D(4, 3, activation=keras2_layers.PReLU()),
        "augmentation": keras2_layers.RandomFlip(),
        "wrapped": keras2_layers.TimeDistributed(keras2_layers.DepthwiseConv1D(3, activation="hard_sigmoid")),
        "normalization": keras2_layers.Normalization(mean=[0.0, 1, 2], variance=[1.0, 2, 3]),
        "half precision": keras2_layers.Conv2D(4, 3, dtype=tf_keras.mixed_precision.Policy("mixed_float16")),
    }


@keras2
def test_layers_that_keras3_itself_does_not_read(tmp_path: Path) -> None:
    import tf_keras

    x = random_image(2, *SHAPE)
    for name, layer in legacy_layers(tf_keras).items():
        inputs = tf_keras.Input(SHAPE)
        source = tf_keras.Model(inputs, layer(inputs))
        rng = np.random.default_rng(1)
        if name != "normalization":
            source.set_weights([rng.uniform(0.1, 1, w.shape) for w in source.get_weights()])
        # The .keras format addresses weights by class, and Keras 3 has no synchronized class.
        for suffix in (".h5", ".keras") if name != "sync" else (".h5",):
            path = tmp_path / f"x{suffix}"
            source.save(path)
            model = load_keras_file(path)
            assert model.count_params() == source.count_params(), name
            # The same ops of TensorFlow, in float32 and half precision.
            np.testing.assert_allclose(
                predict(model, x), source(x, training=False), rtol=1e-6, atol=1e-6, err_msg=f"{name} {suffix}"
            )


@keras2
@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_nested_models_of_keras2(tmp_path: Path, suffix: str) -> None:
    """As in TensorFlow's tutorial: an encoder with five outputs, frozen, and Sequentials that upsample."""
    import tf_keras
    from tf_keras import layers as keras2_layers

    def upsample(filters: int) -> Any:
        block = tf_keras.Sequential()
        block.add(keras2_layers.Conv2DTranspose(filters, 3, strides=2, padding="same", use_bias=False))
        block.add(keras2_layers.BatchNormalization())
        block.add(keras2_layers.ReLU())
        return block

    inner = tf_keras.Input((16, 16, 3))
    levels = [inner]
    for filters in (4, 6, 8):
        levels.append(keras2_layers.DepthwiseConv2D(3, 2, "same")(keras2_layers.Conv2D(filters, 1)(levels[-1])))
    encoder = tf_keras.Model(inner, levels[1:])
    encoder.trainable = False
    inputs = tf_keras.Input((16, 16, 3))
    *skips, x = encoder(inputs)
    for filters, skip in zip((6, 4), reversed(skips), strict=True):
        x = keras2_layers.Concatenate()([upsample(filters)(x), skip])
    source = tf_keras.Model(inputs, upsample(3)(x))
    rng = np.random.default_rng(1)
    source.set_weights([rng.uniform(0.1, 1, w.shape) for w in source.get_weights()])
    source.save(tmp_path / f"x{suffix}")
    model = load_keras_file(tmp_path / f"x{suffix}")
    image = random_image(1, 16, 16, 3)
    expected = source(image, training=False)
    # Sums of up to 100 float32 products, in another order.
    np.testing.assert_allclose(predict(model, image), expected, rtol=1e-5, atol=1e-5)


def test_hard_sigmoid_of_keras2_is_saved_as_what_it_is(tmp_path: Path) -> None:
    config = {"class_name": "Activation", "config": {"name": "a", "activation": "hard_sigmoid"}, "name": "a"}
    translated = to_keras3({"class_name": "Sequential", "config": {"name": "s", "layers": [config]}})
    model = keras.Sequential.from_config(translated["config"])
    x = np.linspace(-4, 4, 33, dtype=np.float32)[None]
    np.testing.assert_allclose(predict(model, x), np.clip(0.2 * x + 0.5, 0, 1), atol=1e-6)  # float32 rounding
    model.save(tmp_path / "x.keras")
    again = load_keras_file(tmp_path / "x.keras")
    np.testing.assert_array_equal(predict(again, x), predict(model, x))


def test_translation_leaves_the_users_names_and_its_argument_alone() -> None:
    layer = {"class_name": "DepthwiseConv2D", "config": {"name": "d", "groups": 1, "activation": "hard_sigmoid"}}
    root = {"class_name": "Sequential", "config": {"name": "s", "layers": [layer]}}
    before = json.dumps(root)
    own = to_keras3(root, own=("DepthwiseConv2D", "hard_sigmoid"))
    assert json.dumps(root) == before == json.dumps(own)
    (translated,) = to_keras3(root)["config"]["layers"]
    assert "groups" not in translated["config"]
    assert translated["config"]["activation"]["config"] == keras.saving.get_registered_name(keras2_hard_sigmoid)
    layer["config"]["groups"] = 3  # not what Keras 2 computes with: left for Keras to refuse
    assert to_keras3(root)["config"]["layers"][0]["config"]["groups"] == 3


def test_a_sequential_before_keras_2_2_3() -> None:
    config = [{"class_name": "Dense", "config": {"name": "d", "units": 2, "batch_input_shape": [None, 3]}}]
    translated = to_keras3({"class_name": "Sequential", "config": config})
    assert keras.Sequential.from_config(translated["config"]).output_shape == (None, 2)


def test_a_full_model_is_not_filled_by_order_alone(tmp_path: Path) -> None:
    path = Path(shutil.copy(DATA / "legacy_rebuilt_full.h5", tmp_path))
    with h5py.File(path, "r+") as file:
        group = file["model_weights"]
        group.attrs["layer_names"] = [name for name in group.attrs["layer_names"] if name != "stem.bn"]
    with pytest.raises(InputError, match=r"does not fit the model: .*takes 'stem\.bn/stem\.bn/beta:0'"):
        load_keras_file(path)
