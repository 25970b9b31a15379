"""Every family of the zoo takes weights that Keras 2 itself wrote, tensor by tensor, and then computes the same.

The families' graphs are built again in tf-keras, layer by layer. What the zoo calls ``conv2d_3`` on purpose is left to
Keras 2 to name there, as the projects that the weights come from left it.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from edgeseg.errors import InputError
from edgeseg.models import create, load_weights
from edgeseg.models.keras_files.load import load_keras_file
from edgeseg.models.zoo.hrnet import hrnetv2

tf_keras = pytest.importorskip("tf_keras", reason="tf-keras (Keras 2 itself) is not installed")

SIZE = (32, 64)
CLASSES = 5
AUTOMATIC = re.compile(r"(conv2d|batch_normalization)(?:_(\d+))?")


@dataclass(frozen=True)
class Family:
    """One family in its smallest form.

    Attributes:
        build: makes it, with random weights.
        automatic: how many of its layers the source of the weights left to Keras 2 to name.
        first_number: where these names begin in the file: 1 in a fresh session of Keras 2.1.5, 0 (``conv2d``) in one
            of tf.keras, and anywhere in a session that had built other models before.
        is_wide: whether a quarter of its filters is taken: fewer weights to write and read.
    """

    build: Callable[[], keras.Model]
    automatic: int
    first_number: int = 1
    is_wide: bool = False


def zoo(name: str, **options: Any) -> Callable[[], keras.Model]:
    return lambda: create(name, num_classes=CLASSES, input_size=SIZE, **options)


FAMILIES = {
    "unet_mini": Family(zoo("unet_mini"), 11),
    "mobilenet_unet": Family(zoo("mobilenet_unet"), 11, first_number=3, is_wide=True),
    "efficientnet_lite0_unet": Family(zoo("efficientnet_lite0_unet", decoder_filters=(16, 12, 8, 8)), 0),
    "unet_vgg16": Family(zoo("unet_vgg16"), 9, is_wide=True),
    "unet_resnet50": Family(zoo("unet_resnet50"), 11, is_wide=True),
    "resnet50_segnet": Family(zoo("resnet50_segnet", encoder_level=2, n_up=2), 7, is_wide=True),
    "segnet": Family(zoo("segnet"), 52, first_number=0, is_wide=True),
    "hrnetv2": Family(lambda: hrnetv2(num_classes=CLASSES, input_size=SIZE, width=4, modules=(2, 2), blocks=1), 3),
    "deeplabv3plus_xception": Family(zoo("deeplabv3plus_xception", alpha=0.25, middle_units=2, filters=16), 1),
    "deeplabv3plus_mobilenetv2": Family(zoo("deeplabv3plus_mobilenetv2", alpha=0.25, filters=16), 1),
}
FEW = ("unet_mini", "segnet")

# --- the families in Keras 2 ---


class UpsampleLike(tf_keras.layers.Layer):
    """As hrnet-keras has it."""

    def call(self, inputs: Any) -> Any:
        return tf.compat.v1.image.resize_nearest_neighbor(inputs[0], tf.shape(inputs[1])[1:3])

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[1][:3], input_shape[0][3])


class BilinearUpsampling(tf_keras.layers.Layer):
    """As keras-deeplab-v3-plus has it; where the projects had a Lambda, the same op."""

    def __init__(self, output_size: tuple[int, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.output_size = tuple(output_size)

    def call(self, inputs: Any) -> Any:
        return tf.compat.v1.image.resize_bilinear(inputs, self.output_size, align_corners=True)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "upsampling": None, "output_size": self.output_size, "data_format": None}


class MaxPoolingWithArgmax2D(tf_keras.layers.Layer):
    """As tf-keras-SegNet has it: the index as a float, and nothing in its config."""

    def call(self, inputs: Any) -> Any:
        values, index = tf.nn.max_pool_with_argmax(inputs, 2, 2, "SAME")
        return [values, tf.cast(index, tf.float32)]


class MaxUnpooling2D(tf_keras.layers.Layer):
    """As tf-keras-SegNet has it: the index taken apart into row, column and channel."""

    def call(self, inputs: Any) -> Any:
        values, index = inputs[0], tf.cast(inputs[1], tf.int32)
        batch, height, width, channels = values.shape
        image = tf.zeros_like(index) + tf.reshape(tf.range(tf.shape(values)[0]), (-1, 1, 1, 1))
        row, column = index // (2 * width * channels), index // channels % (2 * width)
        where = tf.stack([image, row, column, index % channels], axis=-1)
        shape = (tf.shape(values)[0], 2 * height, 2 * width, channels)
        return tf.ensure_shape(tf.scatter_nd(where, values, shape), (batch, 2 * height, 2 * width, channels))


def in_keras2(layer: keras.Layer) -> Any:
    """The same layer of Keras 2, with a name of its own where the zoo's is one that Keras 2 would give."""
    config = {
        key: value
        for key, value in layer.get_config().items()
        if not key.endswith(("_initializer", "_regularizer", "_constraint")) and key not in ("dtype", "autocast")
    }
    if AUTOMATIC.fullmatch(layer.name):
        del config["name"]
    kind = type(layer).__name__
    if kind == "ResizeBilinear":  # to the size of its second input, which the projects wrote as numbers
        assert config["align_corners"]
        resize = BilinearUpsampling(layer.output.shape[1:3], name=layer.name)
        return lambda inputs: resize(inputs[0])
    if kind in FOREIGN:
        return FOREIGN[kind](name=layer.name)
    return getattr(tf_keras.layers, kind).from_config(config)


FOREIGN = {kind.__name__: kind for kind in (UpsampleLike, MaxPoolingWithArgmax2D, MaxUnpooling2D)}


def rebuild_in_keras2(model: keras.Model, first_number: int) -> Any:
    """The same graph in Keras 2, its automatic names beginning at ``first_number``."""
    tf_keras.backend.clear_session()
    for _ in range(first_number):  # each takes a number; the first has none in its name
        tf_keras.layers.Conv2D(1, 1), tf_keras.layers.BatchNormalization()
    tensors: dict[int, Any] = {}
    for layer in model.layers:
        (node,) = layer._inbound_nodes
        if isinstance(layer, keras.layers.InputLayer):
            outputs = tf_keras.Input(layer.batch_shape[1:], name=layer.name)
        else:
            inputs = [tensors[id(tensor)] for tensor in node.input_tensors]
            outputs = in_keras2(layer)(inputs[0] if len(inputs) == 1 else inputs)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        tensors.update(zip(map(id, node.output_tensors), outputs, strict=True))
    return tf_keras.Model(tensors[id(model.inputs[0])], tensors[id(model.outputs[0])])


def random_weights(model: Any) -> None:
    """Weights and moving statistics unlike those of a new model, under which activations keep their size."""
    rng = np.random.default_rng(7)
    values = []
    for weight in model.weights:
        shape, kind = tuple(weight.shape), weight.name.rpartition("/")[2].removesuffix(":0")
        if kind in ("gamma", "moving_variance"):
            value = rng.uniform(0.6, 1.4, shape)
        elif kind in ("beta", "moving_mean", "bias"):
            value = rng.normal(0, 0.2, shape)
        else:
            fan_in = np.prod(shape[:2]) * (1 if kind == "depthwise_kernel" else shape[2])
            value = rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / fan_in))
        values.append(value)
    model.set_weights(values)


@dataclass(frozen=True)
class Legacy:
    """What Keras 2 wrote of a family, and what it computes."""

    family: Family
    weights: Path
    full: Path
    image: np.ndarray
    output: np.ndarray


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=[] if name in FEW else pytest.mark.slow) for name in FAMILIES]
)
def legacy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, thin: Callable[[keras.Model], keras.Model]
) -> Iterator[Legacy]:
    family, folder = FAMILIES[request.param], tmp_path_factory.mktemp("legacy")
    if family.is_wide:
        family = dataclasses.replace(family, build=lambda wide=family.build: thin(wide()))
    source = rebuild_in_keras2(family.build(), family.first_number)
    random_weights(source)
    image = np.random.default_rng(3).uniform(-1, 1, (1, *SIZE, 3)).astype(np.float32)
    source.save_weights(folder / "weights.h5")
    source.save(folder / "full.h5", include_optimizer=False)
    output = source(image, training=False).numpy()
    yield Legacy(family, folder / "weights.h5", folder / "full.h5", image, output)
    shutil.rmtree(folder)  # up to 360 MB


two_families = pytest.mark.parametrize(
    "legacy", ["unet_mini", pytest.param("hrnetv2", marks=pytest.mark.slow)], indirect=True
)


def file_layer(name: str, first_number: int) -> str:
    """What a layer of the zoo is called in the file."""
    automatic = AUTOMATIC.fullmatch(name)
    if automatic is None:
        return name
    number = int(automatic[2]) + first_number - 1
    return f"{automatic[1]}_{number}" if number else automatic[1]


def assert_same(model: keras.Model, legacy: Legacy) -> None:
    output = np.asarray(keras.ops.convert_to_numpy(model(legacy.image, training=False)))
    assert output.shape == legacy.output.shape
    largest = np.abs(legacy.output).max()
    # Not all of one class and not all zeros, or equality would mean nothing.
    assert np.isfinite(largest) and legacy.output.std() > 0.05 * largest
    assert len(np.unique(legacy.output.argmax(-1))) > 1
    # The same ops of TensorFlow, summed in an order that only their fusing may change.
    np.testing.assert_allclose(output, legacy.output, rtol=0, atol=1e-5 * largest)


# --- the tests ---


def test_weights_of_keras2(legacy: Legacy) -> None:
    model = legacy.family.build()
    report = load_weights(model, legacy.weights)
    assert (report.left_over, report.missing) == ((), ())
    assert len(report.matched) == len({variable for _, variable, _ in report.matched}) == len(model.weights)
    with h5py.File(legacy.weights) as file:
        found: set[str] = set()
        file.visititems(lambda path, item: found.add(path) if isinstance(item, h5py.Dataset) else None)
    taken = {tensor.partition("/")[0] + "/" + tensor for tensor, _, _ in report.matched}
    assert taken == found
    for tensor, variable, _ in report.matched:
        in_file, in_model = tensor.split("/")[0], variable.split("/")[0]
        assert in_file == file_layer(in_model, legacy.family.first_number)
    assert_same(model, legacy)
    # Keras 2 writes configs in another way, and its projects have layers of their own: nothing of it is a difference.
    assert load_weights(model, legacy.full).notes == ()


def test_full_models_of_keras2(legacy: Legacy) -> None:
    """The same from the architecture in the file: layers by well-known names, and those that Keras 3 refuses."""
    assert_same(load_keras_file(legacy.full), legacy)


def test_the_files_begin_where_the_families_say(legacy: Legacy) -> None:
    with h5py.File(legacy.weights) as file:
        names = [match for match in map(AUTOMATIC.fullmatch, file.attrs["layer_names"]) if match]
    assert len(names) == legacy.family.automatic
    for kind in ("conv2d", "batch_normalization"):
        numbers = [int(match[2] or 0) for match in names if match[1] == kind]
        first = legacy.family.first_number
        assert sorted(numbers) == list(range(first, first + len(numbers)))


@two_families
def test_one_tensor_too_few_or_too_many_or_of_another_shape(legacy: Legacy, tmp_path: Path) -> None:
    model = legacy.family.build()
    layer, variable = {"unet_mini": ("conv2d_7", "bias:0"), "hrnetv2": ("stage3.1.fuse_layers.2.0.0.1", "beta:0")}[
        model.name
    ]
    path = Path(shutil.copy(legacy.weights, tmp_path))
    before = [np.array(value) for value in model.get_weights()]

    def refused(*texts: str) -> None:
        with pytest.raises(InputError) as caught:
            load_weights(model, path)
        message = str(caught.value)
        assert "\n" not in message
        for text in texts:
            assert text in message
        assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))

    with h5py.File(path, "r+") as file:
        group, names = file[layer], list(file[layer].attrs["weight_names"])
        values = group[f"{layer}/{variable}"][()]
        del group[f"{layer}/{variable}"]
        group.attrs["weight_names"] = [name for name in names if name != f"{layer}/{variable}"]
    refused(f"nothing in the file fills '{layer}/{variable[:-2]}'")
    with h5py.File(path, "r+") as file:
        file[layer][f"{layer}/{variable}"] = np.append(values, values[:1])
        file[layer].attrs["weight_names"] = names
    refused(f"'{layer}/{variable}' is ({len(values) + 1},)", f"'{layer}/{variable[:-2]}' needs ({len(values)},)")
    with h5py.File(path, "r+") as file:
        del file[layer][f"{layer}/{variable}"]
        file[layer][f"{layer}/{variable}"] = values
        file[layer][f"{layer}/extra:0"] = values
        file[layer].attrs["weight_names"] = [*names, f"{layer}/extra:0"]
    refused(f"nothing in the model takes '{layer}/extra:0'")
    with h5py.File(path, "r+") as file:
        del file[layer][f"{layer}/extra:0"]
        file[layer].attrs["weight_names"] = names
    load_weights(model, path)  # whole again
