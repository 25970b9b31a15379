"""Find the classes of a few packages that Keras imports for a model file by name: KerasHub and its predecessors.

Keras would import any module of theirs that a file names. Here only the package itself is imported, if it is installed,
and a class must be among those that are loaded then.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras

from edgeseg._internal.versions import installed_version
from edgeseg.errors import InputError
from edgeseg.models.keras_files.config import Entry, entries

#: Module to the name that pip knows it by.
_DISTRIBUTIONS: Mapping[str, str] = MappingProxyType(
    {"keras_hub": "keras-hub", "keras_cv": "keras-cv", "keras_nlp": "keras-nlp"}
)


def require_packages(root: dict[str, Any], own: Mapping[str, Any], path: str | Path) -> None:
    """Import the packages whose classes a config has, and refuse classes that they do not have.

    Args:
        root: a model config.
        own: the user's objects; a class among them is not looked for.
        path: the file, for messages.

    Raises:
        InputError: a package is not installed, does not work here, or has no such class.
    """
    needed: dict[str, list[Entry]] = {}
    for entry in entries(root):
        package = str(entry.value.get("module")).partition(".")[0]
        if package in _DISTRIBUTIONS and entry.value.get("registered_name") not in own:
            needed.setdefault(package, []).append(entry)
    for package, found in needed.items():
        _import(package, found[0].class_name, path)
        missing = [entry.class_name for entry in found if not _is_loaded(entry.value)]
        if missing:
            distribution = _DISTRIBUTIONS[package]
            raise InputError(
                f"'{path}' has what {distribution} {installed_version(distribution)} does not: "
                f"{', '.join(dict.fromkeys(missing))}. Install the {distribution} that wrote the file, or give the "
                "code: `custom_objects=...`."
            )


def _import(package: str, class_name: str, path: str | Path) -> None:
    distribution = _DISTRIBUTIONS[package]
    try:
        importlib.import_module(package)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            raise InputError(
                f"'{path}' is made of classes of {distribution} ({class_name}), which is not installed. "
                f"Install it with: pip install {distribution}"
            ) from error
        reason = " ".join(str(error).split())
        raise InputError(f"'{path}' needs {distribution}, which cannot be imported here: {reason}") from error


def _is_loaded(value: Mapping[str, Any]) -> bool:
    """Return whether Keras will find a class without importing more: registered, or in a module that is loaded."""
    name = value.get("registered_name")
    if isinstance(name, str) and keras.saving.get_registered_object(name) is not None:
        return True
    return isinstance(getattr(sys.modules.get(str(value["module"])), str(value["class_name"]), None), type)
