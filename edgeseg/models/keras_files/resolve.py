"""Find the classes and functions that a model config refers to before any of it is deserialized."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras

from edgeseg.errors import InputError
from edgeseg.models.keras_files import tensorflow_ops
from edgeseg.models.keras_files.config import Entry, entries
from edgeseg.models.keras_files.custom_objects import KNOWN, reading_of
from edgeseg.models.keras_files.packages import require_packages
from edgeseg.models.weights.variables import kind_of

_log = logging.getLogger(__name__)

_LAYER_KEYS = ("", "layers", "layer")
_MODELS = ("Functional", "Model", "Sequential")
_PACKAGES = ("keras", "keras_hub", "keras_cv", "keras_nlp")  # Keras itself searches these and no others
_TENSORFLOW_ONLY = ("TensorFlowOpLayer", "ClassMethod", "InstanceProperty", "InstanceMethod")
_SHOWN = 3  # names in a warning, the rest is a count; an error names all


def refuse_operations(root: dict[str, Any], own: Mapping[str, Any], path: str | Path) -> None:
    """Refuse an ``.h5`` of Keras 3 with calls of ``keras.ops`` between layers, which it does not keep whole.

    Args:
        root: its config.
        own: the user's objects.
        path: the file, for messages.

    Raises:
        InputError: there is such a call.
    """
    calls = [entry.layer for entry in entries(root) if entry.class_name not in own and _is_operation(entry)]
    if calls:
        raise InputError(
            f"'{path}' calls keras.ops between its layers ({_all(calls)}), which the .h5 format does not keep; save it "
            f"in the other format where the model was made: model.save('{Path(path).stem}.keras')."
        )


def _is_operation(entry: Entry) -> bool:
    config = entry.value.get("config")
    # Every layer writes these two; a function that is called has its name, and its class is called like a layer's.
    if entry.key != "layers" or not isinstance(config, dict) or {"trainable", "dtype", "layers"} & set(config):
        return False
    kind = kind_of(entry.class_name)
    return kind == "get_item" or any(hasattr(module, kind) for module in (keras.ops, keras.ops.image))


def resolve(root: dict[str, Any], own: Mapping[str, Any], path: str | Path) -> dict[str, Any]:
    """Find the class or function for every name in a config that Keras itself does not have.

    Args:
        root: a model config without Lambdas.
        own: the user's objects; they have priority over ``KNOWN``.
        path: the file, for messages.

    Returns:
        The ``custom_objects`` that Keras needs.

    Raises:
        InputError: a name is unknown; the text lists all of them. Or a package is not installed, see
            ``require_packages``.
    """
    require_packages(root, own, path)
    objects: dict[str, Any] = dict(own)
    known: dict[str, list[str]] = {}
    unknown: dict[str, list[str]] = {}
    for entry in entries(root):
        if entry.class_name in tensorflow_ops.CLASSES and entry.class_name not in own:
            symbol = str(entry.value["config"].get("function"))
            if tensorflow_ops.counterpart(symbol) is None:
                unknown.setdefault(f"tf.{symbol}", []).append(entry.layer)
            continue
        for name in _foreign_names(entry):
            bare = name.rpartition(">")[2]
            value = own.get(name) or keras.saving.get_registered_object(name) or own.get(bare)
            if value is None and bare in KNOWN:
                value = KNOWN[bare]
                if isinstance(value, type):
                    known.setdefault(bare, []).append(entry.layer)
            if value is None:
                unknown.setdefault(name, []).append(entry.layer)
            else:
                objects[name] = value
    if unknown:
        listed = ", ".join(f"{name} ({_all(layers)})" for name, layers in unknown.items())
        raise InputError(
            f"'{path}' has what Keras does not know: {listed}.{_hint(unknown)} Give the code: --custom-objects FILE.py"
            f"; or name the zoo architecture and load weights only: edgeseg export ZOO_NAME --weights {path}."
        )
    for name, layers in known.items():
        _log.warning(
            "'%s': %s is read as %s; give --custom-objects FILE.py if yours is another",
            path,
            _some(layers),
            reading_of(KNOWN[name]),
        )
    return objects


def _hint(unknown: Iterable[str]) -> str:
    """Return what to type for functions of TensorFlow between layers; for other names nothing."""
    functions = [name for name in unknown if name.startswith("tf.")]
    if functions:
        given = ", ".join(f"{name!r}: {name}" for name in functions)
        return (
            " They are functions of TensorFlow that edgeseg does not read; where FILE.py has the two lines "
            f"`import tensorflow as tf` and `CUSTOM_OBJECTS = {{{given}}}`, they are called."
        )
    only = [name for name in unknown if name in _TENSORFLOW_ONLY]
    return f" {only[0]} is TensorFlow outside of any layer, which only Keras 2 reads back." if only else ""


def _foreign_names(entry: Entry) -> Iterable[str]:
    """Yield the names in one object of a config under which Keras would look for code that is not its own."""
    value, name = entry.value, entry.class_name
    if name == "function":
        function = str(value.get("config"))
        if str(value.get("module")).split(".")[0] not in _PACKAGES and not _is_keras_function(function):
            yield function
        return
    if "module" in value or "registered_name" in value:  # Keras 3's form
        if str(value.get("module")).split(".")[0] not in _PACKAGES and not name.startswith("__"):
            yield str(value.get("registered_name") or name)
        return
    if entry.key in _LAYER_KEYS:
        if name not in _MODELS and not hasattr(keras.layers, name):
            yield name
        config = value.get("config")
        activation = config.get("activation") if isinstance(config, dict) else None
        if isinstance(activation, str) and not _is_keras_function(activation):
            yield activation


def _is_keras_function(name: str) -> bool:
    """Return whether a name in a config is one of Keras' own functions, nearly always an activation."""
    modules = (keras.activations, keras.initializers, keras.regularizers, keras.constraints)
    return name in ("swish", "hard_swish") or any(hasattr(module, name) for module in modules)


def _all(names: Iterable[str]) -> str:
    """Return ``'a', 'b', 'c'``; a layer that is named twice counts once."""
    return ", ".join(map(repr, dict.fromkeys(names)))


def _some(names: Iterable[str]) -> str:
    """Return ``'a', 'b', 'c' and 4 more``; a layer that is named twice counts once."""
    names = list(dict.fromkeys(names))
    more = len(names) - _SHOWN
    return ", ".join(map(repr, names[:_SHOWN])) + (f" and {more} more" if more > 0 else "")
