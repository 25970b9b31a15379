"""Model files made of KerasHub's classes: what of the package a file may name, and what is said where it is missing."""

from __future__ import annotations

import json
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import keras
import pytest

from edgeseg.errors import InputError
from edgeseg.models.keras_files.load import load_keras_file
from edgeseg.models.keras_files.packages import require_packages


def part(class_name: str, module: str, registered_name: str | None = None) -> dict[str, Any]:
    return {"class_name": class_name, "module": module, "registered_name": registered_name, "config": {"name": "part"}}


def archive(path: Path, root: dict[str, Any]) -> Path:
    """A file that is read no further than its config."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("config.json", json.dumps(root))
    return path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Stands for KerasHub: a package with a layer that is registered too."""
    package = types.ModuleType("keras_hub")
    package.Loaded = type("Loaded", (keras.layers.Layer,), {"__module__": "keras_hub"})
    monkeypatch.setitem(sys.modules, "keras_hub", package)
    with keras.saving.custom_object_scope({"keras_hub>Registered": package.Loaded}):
        yield package


@pytest.mark.parametrize(
    ("module", "class_name", "pip_name"),
    [
        ("keras_hub.src.models.deeplab_v3.deeplab_v3_segmenter", "DeepLabV3ImageSegmenter", "keras-hub"),
        ("keras_hub", "SegFormerImageSegmenter", "keras-hub"),
        ("keras_cv.src.models", "DeepLabV3Plus", "keras-cv"),
        ("keras_nlp.models", "Backbone", "keras-nlp"),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_its_command(
    module: str, class_name: str, pip_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module.partition(".")[0], None)  # as if it were not there
    path = archive(tmp_path / "m.keras", part(class_name, module, f"keras_hub>{class_name}"))
    message = rf"m.keras' is made of classes of {pip_name} \({class_name}\).* not installed.*pip install {pip_name}$"
    with pytest.raises(InputError, match=message):
        load_keras_file(path)


def test_a_package_that_cannot_be_imported_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "keras_hub"
    folder.mkdir()
    (folder / "__init__.py").write_text("from keras import something_newer")
    monkeypatch.delitem(sys.modules, "keras_hub", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=r"needs keras-hub, which cannot be imported here: .*something_newer"):
        require_packages(part("A", "keras_hub.models", "keras_hub>A"), {}, "m.keras")


@pytest.mark.usefixtures("hub")
def test_only_what_the_package_itself_has_loaded_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_packages(part("Registered", "keras_hub.src.gone", "keras_hub>Registered"), {}, "m.keras")
    require_packages(part("Loaded", "keras_hub"), {}, "m.keras")
    require_packages(part("Own", "keras_hub.own", "keras_hub>Own"), {"keras_hub>Own": object}, "m.keras")
    # Keras would import a module that the file names.
    imported: list[str] = []
    monkeypatch.setattr("importlib.import_module", lambda name, *_: imported.append(name))
    inside = part("Sequential", "keras", None)
    inside["config"] = {"layers": [part("Other", "keras_hub.elsewhere.other", "keras_hub>Other")]}
    with pytest.raises(InputError, match=r"has what keras-hub .*does not: Other\. Install the keras-hub that wrote"):
        load_keras_file(archive(tmp_path / "m.keras", inside))
    assert imported == ["keras_hub"]


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("name", ["run", "sys"])
def test_a_function_or_module_of_the_package_is_no_class(name: str, hub: types.ModuleType) -> None:
    hub.run, hub.sys = print, sys
    with pytest.raises(InputError, match=f"does not: {name}"):
        require_packages(part(name, "keras_hub"), {}, "m.keras")
