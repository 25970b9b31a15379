"""``fitting``: a file that was made with other options than the model, through the doors that users take."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.models import create, load_weights
from edgeseg.models.opening import ModelRequest, load_model
from edgeseg.models.zoo import table
from edgeseg.models.zoo.options import ModelOption, WeightShapes
from edgeseg.models.zoo.table import ZOO

SIZE = (64, 96)
CLASSES = 4


def logits(model: keras.Model) -> np.ndarray:
    image = np.random.default_rng(0).uniform(-1, 1, (1, *SIZE, 3)).astype(np.float32)
    return np.asarray(keras.ops.convert_to_numpy(model(image, training=False)))


def open_with(name: str, weights: Path, **said: Any) -> Any:
    return load_model(name, ModelRequest(weights=weights, num_classes=CLASSES, input_size=SIZE, **said))


@pytest.mark.slow
def test_pooling_with_another_padding_is_refused_with_the_option(tmp_path: Path) -> None:
    small: dict[str, Any] = {"num_classes": CLASSES, "input_size": SIZE, "encoder_level": 2, "n_up": 2}
    create("resnet50_segnet", **small, pool_padding="same").save(tmp_path / "theirs.h5")
    model = create("resnet50_segnet", **small)
    before = model.get_weights()
    with pytest.raises(InputError) as caught:
        load_weights(model, tmp_path / "theirs.h5")
    message = str(caught.value)
    assert "\n" not in message
    assert "was made with pool_padding=same: 'max_pooling2d" in message
    assert "has padding 'same' in the file, 'valid' here." in message
    assert "create('resnet50_segnet', ..., pool_padding='same')" in message
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.slow
def test_an_output_stride_that_the_file_has_is_taken_by_a_zoo_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {"output_stride": 8, "alpha": 0.1, "filters": 8}
    theirs = create("deeplabv3plus_mobilenetv2", num_classes=CLASSES, input_size=SIZE, **options)
    theirs.save(tmp_path / "fine.keras")
    opened = open_with("deeplabv3plus_mobilenetv2", tmp_path / "fine.keras")
    np.testing.assert_array_equal(logits(opened.model), logits(theirs))  # the same layers with the same weights
    assert opened.spec.provenance.model_options == options
    assert opened.weights_report.notes == ()
    assert "was made with alpha=0.1, filters=8, output_stride=8; deeplabv3plus_mobilenetv2 is built so" in caplog.text


def test_a_relu_that_only_the_file_has_is_found_and_so_is_an_epsilon(tmp_path: Path) -> None:
    narrow: dict[str, Any] = {"alpha": 0.1, "middle_units": 1, "filters": 8}
    options = {**narrow, "depthwise_relu": True, "bn_epsilon": 1e-3}
    theirs = create("deeplabv3plus_xception", num_classes=CLASSES, input_size=SIZE, **options)
    theirs.save(tmp_path / "theirs.keras")
    opened = open_with("deeplabv3plus_xception", tmp_path / "theirs.keras")
    assert opened.spec.provenance.model_options == options
    np.testing.assert_array_equal(logits(opened.model), logits(theirs))


# --- the same in an architecture of a few layers ---


def tiny(
    *, num_classes: int, input_size: tuple[int, int], padding: str = "valid", rate: int = 1, width: int = 4
) -> keras.Model:
    inputs = keras.Input((*input_size, 3))
    x = keras.layers.Conv2D(width, 3, padding="same", dilation_rate=rate, name="stem")(inputs)
    x = keras.layers.MaxPooling2D(3, strides=2, padding=padding, name="pool")(x)
    return keras.Model(inputs, keras.layers.Conv2D(num_classes, 1, name="head")(x), name="tiny")


def options_in(shapes: WeightShapes) -> dict[str, Any]:
    return {"width": shapes.kernels["stem"][-1]}


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> None:
    """The zoo has ``tiny``, with an option that shows in the tensors and two that do not."""
    module = ModuleType("tiny_zoo")
    module.__dict__.update(tiny=tiny, options_in=options_in)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    declared = (
        ModelOption(name="width", default=4, effect="tensors", meaning="channels"),
        ModelOption(
            name="padding",
            default="valid",
            choices=("valid", "same"),
            effect="result",
            meaning="",
            changes=("padding",),
        ),
        ModelOption(name="rate", default=1, choices=(1, 2, 4), effect="result", meaning="", changes=("dilation_rate",)),
    )
    model = replace(
        ZOO["unet_mini"],
        name="tiny",
        builder="tiny_zoo:tiny",
        options=declared,
        options_in="tiny_zoo:options_in",
    )
    monkeypatch.setattr(table, "ZOO", {"tiny": model})


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A file of ``tiny`` with all options changed, as Keras writes a whole model."""
    path = tmp_path / "theirs.keras"
    tiny(num_classes=CLASSES, input_size=SIZE, padding="same", rate=2, width=6).save(path)
    return path


@pytest.mark.usefixtures("zoo")
def test_options_are_found_together(theirs: Path, caplog: pytest.LogCaptureFixture) -> None:
    opened = open_with("tiny", theirs)
    assert opened.spec.provenance.model_options == {"width": 6, "padding": "same", "rate": 2}
    assert "was made with width=6, padding=same, rate=2; tiny is built so" in caplog.text
    caplog.clear()
    opened = open_with("tiny", theirs, model_options={"width": "6", "padding": "same"})
    assert opened.spec.provenance.model_options == {"width": 6, "padding": "same", "rate": 2}
    assert "was made with rate=2; tiny is built so" in caplog.text  # what was typed needs no word


@pytest.mark.usefixtures("zoo")
def test_what_the_user_typed_is_not_changed(theirs: Path) -> None:
    with pytest.raises(
        InputError, match=r"made with rate=2: 'stem' has dilation_rate.* Omit `model_options=\{'rate': 1\}`,"
    ):
        open_with("tiny", theirs, model_options={"rate": "1"})
    with pytest.raises(
        InputError, match=r"Its tensors say width=6: Omit `model_options=\{'width': 5\}`, or give other weights"
    ):
        open_with("tiny", theirs, model_options={"width": "5"})


@pytest.mark.usefixtures("zoo")
def test_a_model_in_hand_is_refused_with_the_call_that_builds_the_other(theirs: Path) -> None:
    with pytest.raises(
        InputError, match=r"fit the model: .* Its tensors say width=6: create\('tiny', \.\.\., width=6\)\."
    ):
        load_weights(create("tiny", num_classes=CLASSES, input_size=SIZE), theirs)
    with pytest.raises(InputError, match=r"made with rate=2: .* create\('tiny', \.\.\., rate=2\)"):
        load_weights(create("tiny", num_classes=CLASSES, input_size=SIZE, width=6, padding="same"), theirs)
    whole = create("tiny", num_classes=CLASSES, input_size=SIZE, width=6, padding="same", rate=2)
    assert load_weights(whole, theirs).notes == ()


@pytest.mark.usefixtures("zoo")
def test_weights_alone_do_not_say_it_and_the_report_does(tmp_path: Path) -> None:
    tiny(num_classes=CLASSES, input_size=SIZE, padding="same", width=6).save_weights(tmp_path / "w.weights.h5")
    opened = open_with("tiny", tmp_path / "w.weights.h5", model_options={"padding": "same"})
    assert opened.spec.provenance.model_options == {"width": 6, "padding": "same"}
    (note,) = opened.weights_report.notes
    assert "holds weights only, which fit tiny with any padding (valid or same); rate (1, 2 or 4)" in note
    assert opened.weights_report.table().endswith(note)


@pytest.mark.usefixtures("zoo")
def test_a_file_of_another_architecture_is_refused_without_options_of_this_one(tmp_path: Path) -> None:
    inputs = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(9, 5, name="stem")(inputs)
    keras.Model(inputs, keras.layers.Conv2D(CLASSES, 1, name="head")(x)).save(tmp_path / "other.keras")
    with pytest.raises(InputError, match=r"is \(5, 5, 3, 9\) but 'stem/kernel' needs \(3, 3, 3, 4\)") as caught:
        open_with("tiny", tmp_path / "other.keras")
    assert "width" not in str(caught.value)


# --- what no option of ours makes the same ---


def chain(**changes: Any) -> keras.Model:
    """A small model, or one that differs in a layer."""
    options = {"epsilon": 1e-3, "activation": "relu", "classes": CLASSES, **changes}
    inputs = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(3, 3, name="conv")(inputs)
    x = keras.layers.BatchNormalization(epsilon=options["epsilon"], name="bn")(x)
    x = keras.layers.Activation(options["activation"], name="act")(x)
    return keras.Model(inputs, keras.layers.Conv2D(options["classes"], 1, name="head")(x))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_other_differences_are_refused_with_layer_and_values(tmp_path: Path, suffix: str) -> None:
    chain(epsilon=1e-5, activation="relu6").save(tmp_path / f"m{suffix}")
    message = (
        "fills the model, but computes something else with the same weights: 'bn' has epsilon 1e-05 in the file, 0.001 "
        "here; 'act' has the activation 'relu6' in the file, 'relu' here."
    )
    with pytest.raises(InputError, match=message):
        load_weights(chain(), tmp_path / f"m{suffix}")
    model = chain(epsilon=1e-5, activation="relu6")
    assert load_weights(model, tmp_path / f"m{suffix}").notes == ()


def test_a_model_that_has_to_be_trained_in_any_case_is_filled_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chain(epsilon=1e-5, activation="relu6", classes=7).save(tmp_path / "m.keras")
    report = load_weights(chain(), tmp_path / "m.keras", allow_missing=("head",))
    assert report.missing == ("head/kernel", "head/bias")
    assert (
        "which training has to make up for: 'bn' has epsilon 1e-05 in the file, 0.001 here; 'act' has the activation "
        "'relu6' in the file, 'relu' here" in caplog.text  # what the head reads, which is not filled itself
    )


def test_layers_that_the_user_leaves_out_are_not_compared(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    inputs = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(3, 3, name="conv")(inputs)
    classifier = keras.layers.Dense(10, name="fc")(keras.layers.GlobalAveragePooling2D()(x))
    keras.Model(inputs, classifier).save(tmp_path / "m.keras")
    load_weights(chain(), tmp_path / "m.keras", allow_missing=("bn", "head", "fc"))
    assert "make up for" not in caplog.text


def test_a_file_of_several_outputs_is_compared_too(tmp_path: Path) -> None:
    inputs = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(3, 3, strides=2, name="conv")(inputs)
    ends = [keras.layers.Conv2D(3, 1, name=name)(x) for name in ("main", "auxiliary")]
    keras.Model(inputs, ends).save(tmp_path / "m.keras")
    x = keras.layers.Conv2D(3, 3, name="conv")(inputs)
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1, name="main")(x))
    with pytest.raises(InputError, match=r"'conv' has strides \(2, 2\) in the file, \(1, 1\) here"):
        load_weights(model, tmp_path / "m.keras", allow_missing=("auxiliary",))


def rewrite_config(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    root = json.loads(entries["config.json"])
    change(root)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**entries, "config.json": json.dumps(root).encode()}.items():
            archive.writestr(name, data)


def test_a_config_that_is_none_of_keras_is_one_line(tmp_path: Path) -> None:
    chain().save(tmp_path / "m.keras")
    nowhere = [{"args": [{"class_name": "__keras_tensor__"}]}]
    rewrite_config(tmp_path / "m.keras", lambda root: root["config"]["layers"][1].update(inbound_nodes=nowhere))
    with pytest.raises(InputError, match=r"m\.keras' describes its model in a form that is not Keras': KeyError"):
        load_weights(chain(), tmp_path / "m.keras")


def test_a_model_that_is_no_graph_of_layers_is_said_to_be_not_compared(tmp_path: Path) -> None:
    chain().save(tmp_path / "m.keras")
    rewrite_config(tmp_path / "m.keras", lambda root: root.update(class_name="Own", config={"width": 3}))
    (note,) = load_weights(chain(), tmp_path / "m.keras").notes
    assert note.endswith("has a model that is no graph of layers; what it computes was not compared.")


@pytest.mark.parametrize(
    ("model_options", "message"),
    [
        ({"output_strid": "8"}, "has no option 'output_strid'. Did you mean 'output_stride'"),
        ({"output_stride": "4"}, "output_stride must be 16 or 8, got 4"),
    ],
)
def test_an_unknown_option_is_refused_before_the_file_is_read(model_options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_with("deeplabv3plus_mobilenetv2", Path("nowhere.h5"), model_options=model_options)
    with pytest.raises(InputError, match="`model_options` goes with a zoo name"):
        load_model("nowhere.h5", ModelRequest(model_options=model_options))
