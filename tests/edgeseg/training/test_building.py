"""``edgeseg.models.keras_graph``: models of one's own as a run takes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.datasets import Classes
from edgeseg.errors import InputError, UnsupportedModel
from edgeseg.models import create
from edgeseg.models.keras_files.load import save_model
from edgeseg.models.keras_graph import select_output
from edgeseg.models.opening import ModelRequest, at_input_size, load_model
from edgeseg.models.zoo.table import find
from edgeseg.spec import ModelSpec, default_class_names, default_palette
from edgeseg.training.building import build_models
from edgeseg.training.config import TrainConfig
from edgeseg.training.distribution import Distribution, _OnTensorFlow
from edgeseg.training.objective.optimizers import make_optimizer
from edgeseg_converters.keras_model.prepare import PreparedModel

SIZE = (16, 16)


def classes(*names: str) -> Classes:
    return Classes(names=names, palette=default_palette(len(names)), ignore_index=255)


def saved(folder: Path, head: Callable[[Any], Any]) -> str:
    """A file, since what Keras reads again differs from what it saved: a Softmax is then called with ``mask``."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    path = folder / "own.keras"
    keras.Model(inputs, head(layers.Conv2D(3, 1, name="scores")(inputs)), name="own").save(path)
    return str(path)


@pytest.mark.parametrize(
    "ending",
    [layers.Softmax(), layers.Activation("softmax"), layers.Activation("sigmoid")],
    ids=["Softmax", "softmax", "sigmoid"],
)
def test_what_makes_probabilities_at_the_end_is_taken_off(tmp_path: Path, ending: Any) -> None:
    path = saved(tmp_path, ending)
    models = build_models(TrainConfig(model=path, data="data"), classes("a", "b", "c"))
    image = np.random.default_rng(0).normal(size=(1, *SIZE, 3)).astype(np.float32)
    whole = keras.models.load_model(path)
    logits = keras.Model(whole.input, whole.get_layer("scores").output)
    for model in (models.exported, models.learning):
        np.testing.assert_allclose(model(image), logits(image), atol=1e-6)


def test_one_channel_tells_two_classes_apart(tmp_path: Path) -> None:
    path = saved(tmp_path, layers.Conv2D(1, 1, activation="sigmoid"))
    models = build_models(TrainConfig(model=path, data="data"), classes("back", "cell"))
    assert models.spec.class_names == ("back", "cell")
    image = np.random.default_rng(0).normal(size=(1, *SIZE, 3)).astype(np.float32)
    expected = keras.models.load_model(path)(image)
    for model in (models.exported, models.learning):
        np.testing.assert_allclose(keras.ops.sigmoid(model(image)), expected, atol=1e-6)
    with pytest.raises(InputError, match=r"one channel of scores, which tells 2 classes apart, the data has 3\."):
        build_models(TrainConfig(model=path, data="data"), classes("a", "b", "c"))


def test_a_softmax_over_one_channel_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, layers.Conv2D(1, 1, activation="softmax"))
    with pytest.raises(UnsupportedModel, match=r"softmax over one channel.*a model of one channel ends in a sigmoid"):
        build_models(TrainConfig(model=path, data="data"), classes("back", "cell"))


FLAT: dict[str, tuple[int, list[layers.Layer]]] = {
    "rows of pixels": (3, [layers.Reshape((-1, 3)), layers.Activation("softmax")]),
    "a softmax before": (3, [layers.Softmax(), layers.Reshape((SIZE[0] * SIZE[1], 3))]),
    "rows of one number": (1, [layers.Reshape((-1, 1)), layers.Activation("sigmoid")]),
    "no axis of the channel": (1, [layers.Reshape(SIZE), layers.Activation("sigmoid")]),
    "one axis": (1, [layers.Flatten(), layers.Activation("sigmoid")]),
}


@pytest.mark.parametrize("layout", FLAT)
def test_a_flattened_map_is_trained_as_the_map(tmp_path: Path, layout: str) -> None:
    """And an export finds the same map."""
    channels, ends = FLAT[layout]
    path = saved(tmp_path, keras.Sequential([layers.Conv2D(channels, 1), *ends]))
    names = ("a", "b", "c")[: max(channels, 2)]
    models = build_models(TrainConfig(model=path, data="data"), classes(*names))
    image = np.random.default_rng(0).normal(size=(2, *SIZE, 3)).astype(np.float32)
    flat = keras.models.load_model(path)
    activation = keras.activations.softmax if channels > 1 else keras.activations.sigmoid
    for model in (models.exported, models.learning):
        scores = model(image)
        assert scores.shape == (2, *SIZE, channels)
        np.testing.assert_allclose(np.reshape(activation(scores), flat(image).shape), flat(image), atol=1e-6)
    assert PreparedModel.of(flat, models.spec).graph.outputs[0].shape[1:] == (*SIZE, channels)


def test_rows_that_are_no_pixels_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, layers.Reshape((SIZE[0], -1)))
    with pytest.raises(UnsupportedModel, match=r"is \(None, 16, 48\); it must be a map"):
        build_models(TrainConfig(model=path, data="data"), classes("a", "b", "c"))


def test_the_tutorials_flattened_segnet_is_trained_as_the_map() -> None:
    config = TrainConfig(model="resnet50_segnet", data="data", input_size=(32, 32), model_options={"flatten": "true"})
    models = build_models(config, classes("a", "b", "c"))
    for model in (models.learning, models.twin):
        assert model.output_shape == (None, 16, 16, 3)
    assert [weight.shape for weight in models.learning.weights] == [weight.shape for weight in models.twin.weights]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (classes("wall", "cat", "dog"), ("wall", "cat", "dog")),
        (classes(*default_class_names(3)), ("sky", "road", "car")),
    ],
)
def test_what_it_learns_are_the_classes_of_the_data(tmp_path: Path, data: Classes, expected: tuple[str, ...]) -> None:
    inputs = keras.Input((*SIZE, 3))
    spec = ModelSpec(name="own", input_size=SIZE, class_names=("sky", "road", "car"), palette=default_palette(3))
    path = tmp_path / "own.keras"
    save_model(keras.Model(inputs, layers.Conv2D(3, 1)(inputs)), path, spec)
    assert build_models(TrainConfig(model=str(path), data="data"), data).spec.class_names == expected


@pytest.mark.parametrize(
    ("changes", "more"), [({"main_output": "half"}, {}), ({}, {"custom_objects": {"Scale": layers.Layer}})]
)
def test_options_of_files_are_refused_with_a_zoo_name(changes: dict[str, Any], more: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="goes with a model file; 'unet_mini' is an architecture of the zoo"):
        build_models(TrainConfig(model="unet_mini", data="data", input_size=SIZE, **changes), classes("a", "b"), **more)


def test_options_of_a_zoo_model_are_of_both_models_and_in_the_spec() -> None:
    config = TrainConfig(model="unet_mini", data="data", input_size=SIZE, model_options={"dropout": "0.4"})
    models = build_models(config, classes("a", "b"))
    for model in (models.learning, models.twin):
        assert {layer.rate for layer in model.layers if isinstance(layer, layers.Dropout)} == {0.4}
    assert models.spec.provenance.model_options == {"dropout": 0.4}


@pytest.mark.slow
def test_a_weights_file_says_the_options_of_both_models(tmp_path: Path) -> None:
    widths: dict[str, Any] = {"decoder_filters": (8, 8, 8, 8)}
    path = tmp_path / "w.weights.h5"
    create("efficientnet_lite0_unet", num_classes=3, input_size=(32, 32), **widths).save_weights(path)
    config = TrainConfig(model="efficientnet_lite0_unet", data="data", input_size=(32, 32), weights=str(path))
    models = build_models(config, classes("a", "b"))  # the head has another number of classes
    assert models.spec.provenance.model_options == widths
    assert [weight.shape for weight in models.twin.weights] == [weight.shape for weight in models.learning.weights]


def test_a_weights_file_says_how_it_was_fed(tmp_path: Path) -> None:
    """In a run that starts from it and in an export; what is typed wins. A file without a spec says nothing."""
    changes: dict[str, Any] = {"resize": "bicubic-antialias", "letterbox_rounding": "floor", "std": (58.0,) * 3}
    config = TrainConfig(model="unet_mini", data="data", input_size=SIZE, **changes)
    first = build_models(config, classes("a", "b"))
    path, bare = tmp_path / "best.keras", tmp_path / "bare.weights.h5"
    save_model(first.exported, path, first.spec)
    first.exported.save_weights(bare)
    again = replace(config, weights=str(path), resize="area", letterbox_rounding=None, std=None)
    spec = build_models(again, classes("x", "y")).spec
    assert (spec.resize, spec.letterbox_rounding, spec.std, spec.class_names) == (
        "area",
        "floor",
        (58.0,) * 3,
        ("x", "y"),
    )
    for weights, expected in ((path, first.spec), (bare, find("unet_mini").default_spec(2))):
        spec = load_model("unet_mini", ModelRequest(weights=weights, num_classes=2, input_size=SIZE)).spec
        assert all(getattr(spec, name) == getattr(expected, name) for name in changes)


def test_one_of_several_outputs_takes_what_the_model_took(recwarn: pytest.WarningsRecorder) -> None:
    inputs = keras.Input((*SIZE, 3), name="image")
    model = keras.Model(inputs, [layers.Conv2D(2, 1, name=name)(inputs) for name in ("main", "half")])
    select_output(model, "main")(np.zeros((1, *SIZE, 3), np.float32))
    assert not [str(warning.message) for warning in recwarn if "structure" in str(warning.message)]


def test_a_normalization_keeps_its_statistics(tmp_path: Path) -> None:
    path, normal = tmp_path / "own.keras", layers.Normalization()
    normal.adapt(np.random.default_rng(1).uniform(0, 255, (4, 8, 8, 3)).astype(np.float32))
    inputs = keras.Input((*SIZE, 3))
    model = keras.Model(inputs, layers.Conv2D(3, 1)(normal(inputs)), name="own")
    model.save(path)
    models = build_models(TrainConfig(model=str(path), data="data"), classes("a", "b", "c"))
    image = np.random.default_rng(0).uniform(0, 255, (1, *SIZE, 3)).astype(np.float32)
    for made in (models.exported, models.learning):
        # The same sums of the same float32 numbers, which are below 10; forgotten statistics are off by hundreds.
        np.testing.assert_allclose(made(image), model(image), atol=1e-4)


def test_no_mean_is_assumed_where_one_is_given(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = saved(tmp_path, layers.Conv2D(3, 1))
    given = TrainConfig(model=path, data="data", mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0))
    spec = build_models(given, classes("a", "b", "c")).spec
    assert (spec.mean, spec.std) == (given.mean, given.std)
    assert "127.5" not in caplog.text
    build_models(TrainConfig(model=path, data="data"), classes("a", "b", "c"))
    assert "127.5" in caplog.text


@pytest.mark.parametrize("wrap", [lambda tensor: [tensor], lambda tensor: {"map": tensor}], ids=["list", "dict"])
def test_one_input_and_output_in_a_list_or_dict(tmp_path: Path, wrap: Any) -> None:
    """At another size for training, which Keras rebuilds from a tensor alone."""
    inputs = keras.Input((*SIZE, 3), name="image")
    path = tmp_path / "own.keras"
    keras.Model(wrap(inputs), wrap(layers.Conv2D(3, 1)(inputs)), name="own").save(path)
    models = build_models(TrainConfig(model=str(path), data="data", crop_size=(32, 32)), classes("a", "b", "c"))
    (scores,) = keras.tree.flatten(models.learning(np.zeros((1, 32, 32, 3), np.float32)))
    assert scores.shape == (1, 32, 32, 3)
    assert models.exported(np.zeros((1, *SIZE, 3), np.float32)).shape == (1, *SIZE, 3)


@pytest.mark.parametrize(
    ("changes", "distribution", "within"),
    [
        ({}, Distribution(), 1e-5),
        ({"crop_size": (8, 8)}, Distribution(), 1e-5),
        ({"input_size": (24, 32)}, Distribution(), 1e-5),
        ({"mixed_precision": "float16"}, Distribution(), 1e-2),
        ({}, _OnTensorFlow(["CPU:0"]), 1e-5),
    ],
    ids=["as it is", "crops", "another size", "mixed precision", "distributed"],
)
def test_a_subclass_with_layers_in_another_order_learns_and_is_saved_in_its_own_order(
    permuted_class: type, changes: dict[str, Any], distribution: Distribution, within: float
) -> None:
    config = TrainConfig(model="own", data="data", **changes)
    model = permuted_class(activation="softmax")
    models = build_models(config, classes("a", "b", "c"), model=model, distribution=distribution)

    def differs(expected: keras.Model) -> float:
        image = np.random.default_rng(0).normal(size=(1, *models.learning.input_shape[1:])).astype(np.float32)
        wanted = np.asarray(expected(image))
        return float(np.abs(np.asarray(models.learning(image)) - wanted).max() / np.abs(wanted).max())

    with distribution.making():
        # float16 has 11 bits, and a handful of roundings on the way; swapped weights differ by the size of the logits.
        assert differs(permuted_class(models.learning.input_shape[1:])) < within
        for number, weight in enumerate(models.learning.weights):
            weight.assign(np.random.default_rng(number).uniform(0.1, 1, weight.shape))
        models.learning.compile(make_optimizer(config, 0.1), keras.losses.MeanSquaredError())
        models.update_twin()
    assert models.twin.input_shape[1:3] == changes.get("input_size", (16, 24))
    with distribution.making():
        assert differs(at_input_size(models.twin, models.learning.input_shape[1:3])) < within
