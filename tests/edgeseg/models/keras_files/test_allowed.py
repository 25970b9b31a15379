"""What a model file may name: everything that Keras exports, in every place of a file, and what each list is of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import keras
import pytest

from edgeseg.errors import InputError
from edgeseg.models.keras_files.allowed import is_listed_class
from edgeseg.models.keras_files.load import load_keras_file

HOSTILE = Path(__file__).with_name("hostile_files.py")
SWITCH = "keras.src.ops.core"


@pytest.mark.skipif(sys.platform != "linux", reason="watches files that TensorFlow opens with inotify")
def test_nothing_that_keras_exports_has_an_effect_outside(tmp_path: Path) -> None:
    """Of a third of the objects: unlisted ones at every place, listed at a quarter; ``EDGESEG_HOSTILE=all``: all."""
    command = [sys.executable, str(HOSTILE), str(tmp_path), os.environ.get("EDGESEG_HOSTILE", "")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["effects"] == []
    assert report["objects"] > 300
    assert report["tries"] > 10 * report["objects"]
    # What the same watch sees where Keras alone loads such files, with its safe mode.
    settings, network, read = report["seen"]
    assert "settings floatx" in settings
    assert any("os.mkdir" in effect or "socket" in effect or "urllib" in effect for effect in network)
    assert read == ["opened the file that the config names, or made one"]


def file(path: Path, layer: dict[str, Any], **more: Any) -> Path:
    """A model of one layer, of which no more than its config is read."""
    root = {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"layers": [layer]},
        "registered_name": None,
        **more,
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(root))
    return path


def part(module: str | None, class_name: str, registered: str | None = None, **config: Any) -> dict[str, Any]:
    return {"module": module, "class_name": class_name, "config": config, "registered_name": registered}


def dense(**config: Any) -> dict[str, Any]:
    return part("keras.layers", "Dense", name="a", **config)


def function(module: str, name: str) -> dict[str, Any]:
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (part(SWITCH, "Switch", name="a"), r"keras\.src\.ops\.core\.Switch \('a'\)"),
        (part("keras.layers", "TFSMLayer", name="a"), r"TFSMLayer \('a'\)"),
        (part("keras.layers", "TextVectorization", name="a", vocabulary="/etc/passwd"), r"TextVectorization \('a'\)"),
        ({"class_name": "StringLookup", "config": {"name": "a"}}, r"StringLookup \('a'\)"),  # the form of .h5 files
        ({"class_name": "deserialize", "config": {"name": "a"}}, r"deserialize \('a'\)"),
        (
            part("keras.layers", "Dense", name="a", units=part("keras.config", "set_floatx")),
            r"set_floatx \(units of 'a'\)",
        ),
        (
            dense(kernel_initializer=function("keras.datasets.mnist", "load_data")),
            r"keras\.datasets\.mnist\.load_data \(kernel_initializer of 'a'\)",
        ),
        # A class in the place of a function, a name with a path in it, a module that would be imported for it.
        (part("keras.layers", "Activation", name="a", activation=function("keras.layers", "TFSMLayer")), "TFSMLayer"),
        (part("keras", "layers.TFSMLayer", name="a"), r"keras\.layers\.TFSMLayer"),
        (part("keras.src.backend.torch", "Dense", name="a"), r"keras\.src\.backend\.torch\.Dense"),
        (
            part("keras.layers", "Dense", name="a", dtype=part("keras.utils", "FeatureSpace")),
            r"FeatureSpace \(dtype of",
        ),
        # Keras compiles a model inside a model in any case.
        (
            part("keras", "Sequential", name="a") | {"compile_config": {"loss": function("keras.utils", "get_file")}},
            "get_file",
        ),
        (part(None, "__typespec__", name="a"), r"__typespec__ \('a'\)"),
        (part("keras.src.tree", "Lambda", name="a"), r"keras\.src\.tree\.Lambda|Lambda \('a'\)"),
        (part("keras.src.tree", "TFOpLambda", name="a", function="math.add"), r"keras\.src\.tree\.TFOpLambda \('a'\)"),
    ],
)
def test_what_is_not_listed_is_refused_with_its_place(layer: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=named) as caught:
        load_keras_file(file(tmp_path / "m.keras", layer))
    assert "`custom_objects=" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("class_name", [None, 5, ["Dense"], {"a": 1}])
def test_a_class_that_is_no_text_is_not_passed_over(class_name: Any, tmp_path: Path) -> None:
    """Keras imports the module all the same, and looks for the registered name."""
    layer = {**part("keras.src.tree", "Dense", name="a"), "class_name": class_name}
    with pytest.raises(InputError, match="a class_name that is no text, under 'layers'"):
        load_keras_file(file(tmp_path / "m.keras", layer))


def test_the_part_for_compile_counts_where_it_is_read(tmp_path: Path) -> None:
    layer = part("keras.layers", "InputLayer", name="a", batch_shape=[None, 2])
    path = file(tmp_path / "m.keras", layer, compile_config={"loss": function("keras.utils", "get_file")})
    with pytest.raises(InputError, match=r"keras\.utils\.get_file \(loss of "):
        load_keras_file(path, compile=True)
    with pytest.raises(InputError, match=r"^Keras cannot load"):  # it has no weights: all before was read
        load_keras_file(path)


def test_a_registered_object_of_a_package_counts_only_where_it_is_listed(tmp_path: Path) -> None:
    """KerasHub registers its tokenizers, and ``upload_preset``, once it is imported."""

    def upload_preset(*_: Any) -> None:
        raise AssertionError("it was called")

    upload_preset.__module__ = "keras_hub.src.utils"
    with keras.saving.custom_object_scope({"keras_hub>upload_preset": upload_preset}):
        activation = function("builtins", "keras_hub>upload_preset")
        path = file(tmp_path / "m.keras", part("keras.layers", "Activation", name="a", activation=activation))
        with pytest.raises(InputError, match=r"keras_hub>upload_preset \(activation of 'a'\)"):
            load_keras_file(path)


def test_the_users_layer_takes_the_place_of_a_refused_one(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((2, 2, 3)), keras.layers.ReLU(name="a")])
    model.save(tmp_path / "whole.keras")
    with zipfile.ZipFile(tmp_path / "whole.keras") as was, zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        for name in was.namelist():
            content = was.read(name)
            if name == "config.json":
                content = content.replace(b'"ReLU"', b'"TFSMLayer"')
            archive.writestr(name, content)
    loaded = load_keras_file(tmp_path / "m.keras", custom_objects={"a": keras.layers.Softmax()})
    assert isinstance(loaded.get_layer("a"), keras.layers.Softmax)


def test_every_layer_of_keras_is_listed_or_refused_for_a_reason() -> None:
    """A layer that a new Keras brings is added to ``allowed`` once its source is read, or here."""
    bases = {"Layer", "Wrapper", "InputSpec"}
    code = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
    files = {"StringLookup", "IntegerLookup", "TextVectorization"}
    layers = {name for name, value in vars(keras.layers).items() if isinstance(value, type)}
    assert {name for name in layers if not is_listed_class("keras.layers", name)} == bases | code | files
