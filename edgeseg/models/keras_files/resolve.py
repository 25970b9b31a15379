"""Find the classes and functions that a model config refers to before any of it is deserialized."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras

from edgeseg.errors import InputError
from edgeseg.models.keras_files import tensorflow_ops
from edgeseg.models.keras_files.allowed import (
    FUNCTIONS,
    VALUES,
    is_keras_name,
    is_listed_class,
    is_listed_function,
    is_listed_name,
    is_listed_object,
)
from edgeseg.models.keras_files.config import Entry, entries, strings
from edgeseg.models.keras_files.custom_objects import KNOWN, reading_of
from edgeseg.models.keras_files.lambdas import LAMBDAS, OWN
from edgeseg.models.keras_files.packages import require_packages
from edgeseg.models.weights.variables import kind_of

_log = logging.getLogger(__name__)

_LAYER_KEYS = ("", "layers", "layer")
_PACKAGES = ("keras", "keras_hub", "keras_cv", "keras_nlp")  # Keras itself searches these and no others
_LAMBDA_MODULES = (None, "builtins", "keras.layers")  # another one would be imported for it
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


def resolve(
    root: dict[str, Any], own: Mapping[str, Any], path: str | Path, *, compiled: bool = False
) -> dict[str, Any]:
    """Check every name in a config, and find the class or function for those that Keras itself does not have.

    A name is one that ``allowed`` lists, one of the user's objects, one of ``KNOWN``, or one that the program itself
    has registered with Keras.

    Args:
        root: a model config, of which nothing has been deserialized. Lambdas in it are left to ``refuse_lambdas``.
        own: the user's objects; they have priority over ``KNOWN``.
        path: the file, for messages.
        compiled: whether its part for ``compile`` will be read.

    Returns:
        The ``custom_objects`` that Keras needs.

    Raises:
        InputError: a name is not allowed, or unknown; the text lists all of them. Or a package is not installed, see
            ``require_packages``.
    """
    require_packages(root, own, path)
    objects: dict[str, Any] = dict(own)
    known: dict[str, list[str]] = {}
    unknown: dict[str, list[str]] = {}
    refused: dict[str, list[str]] = {}
    for entry in entries(root, compiled=compiled):
        if entry.class_name in tensorflow_ops.CLASSES and entry.class_name not in own and "module" not in entry.value:
            symbol = str(_config_of(entry).get("function"))
            if tensorflow_ops.counterpart(symbol) is None:
                unknown.setdefault(f"tf.{symbol}", []).append(entry.layer)
            continue
        if entry.class_name in LAMBDAS and entry.value.get("module") in _LAMBDA_MODULES:
            continue
        for name in _refused(entry, own):
            refused.setdefault(name, []).append(_place(entry))
        for name in _foreign_names(entry, own):
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
    for text in _refused_texts(root, own, compiled=compiled):
        refused.setdefault(text.removeprefix(OWN), ["an argument"])
    if refused:
        listed = ", ".join(f"{name} ({', '.join(dict.fromkeys(places))})" for name, places in refused.items())
        raise InputError(
            f"'{path}' names what edgeseg never calls from a file: {listed}. For a layer, give one of yours by its "
            "name: `custom_objects={'its name': YourLayer}`; or name the zoo "
            f"architecture and load weights only: edgeseg export ZOO_NAME --weights {shlex.quote(str(path))}."
        )
    if unknown:
        listed = ", ".join(f"{name} ({_all(layers)})" for name, layers in unknown.items())
        raise InputError(
            f"'{path}' has what Keras does not know: {listed}.{_hint(unknown)} Give the code: `custom_objects=...`"
            "; or name the zoo architecture and load weights only: "
            f"edgeseg export ZOO_NAME --weights {shlex.quote(str(path))}."
        )
    for name, layers in known.items():
        _log.warning(
            "'%s': %s is read as %s; give `custom_objects=...` if yours is another",
            path,
            _some(layers),
            reading_of(KNOWN[name]),
        )
    return objects


def _config_of(entry: Entry) -> dict[str, Any]:
    config = entry.value.get("config")
    return config if isinstance(config, dict) else {}


def _place(entry: Entry) -> str:
    if not entry.key:
        return "the model itself"
    return repr(entry.layer) if entry.key in _LAYER_KEYS else f"{entry.key} of {entry.layer!r}"


def _hint(unknown: Iterable[str]) -> str:
    """Return what to type for functions of TensorFlow between layers; for other names nothing."""
    functions = [name for name in unknown if name.startswith("tf.")]
    if functions:
        given = ", ".join(f"{name!r}: {name}" for name in functions)
        return (
            " They are functions of TensorFlow that edgeseg does not read; with "
            f"`custom_objects={{{given}}}`, after `import tensorflow as tf`, they are called."
        )
    only = [name for name in unknown if name in _TENSORFLOW_ONLY]
    return f" {only[0]} is TensorFlow outside of any layer, which only Keras 2 reads back." if only else ""


def _refused(entry: Entry, own: Mapping[str, Any]) -> Iterable[str]:
    """Yield what Keras would find for one object of a config, in any of its ways, and a file may not name."""
    value, name, module = entry.value, entry.class_name, entry.value.get("module")
    registered = value.get("registered_name", name)  # Keras looks there first
    if name in VALUES:
        return
    if name.startswith("__"):
        yield name
        return
    if name == "function":
        names = _function_names(entry)
        if _is_package(module) and not all(
            each in own or _is_registered(each) or is_listed_function(str(module), each) for each in names
        ):
            yield f"{module}.{names[0]}"
        yield from (each for each in names if each not in own and _is_refused_registered(each))
        return
    yield from (each for each in (name, registered) if each not in own and _is_refused_registered(each))
    is_own = name in own or ("module" in value and registered in own)
    if not is_own and is_keras_name(name) and not is_listed_name(name):
        yield name
    elif _is_package(module) and not (
        registered in own or _is_registered(registered) or is_listed_class(str(module), name)
    ):
        yield f"{module}.{name}"


def _foreign_names(entry: Entry, own: Mapping[str, Any]) -> Iterable[str]:
    """Yield the names in one object of a config under which Keras would look for code that is not its own."""
    value, name, module = entry.value, entry.class_name, entry.value.get("module")
    if name.startswith("__"):
        return
    if name == "function":
        if not _is_package(module):
            yield from (each for each in _function_names(entry) if each not in FUNCTIONS)
        return
    if ("module" in value or "registered_name" in value) and not _is_package(module):  # Keras 3's form
        yield str(value.get("registered_name") or name)
    if "module" not in value:  # the form of .h5 files, in which the name of the class alone counts
        if name in own or not is_listed_name(name):
            yield name
        activation = _config_of(entry).get("activation")
        if entry.key in _LAYER_KEYS and isinstance(activation, str) and activation not in FUNCTIONS:
            yield activation


def _function_names(entry: Entry) -> list[str]:
    """Return the names by which Keras looks for a function."""
    names = (entry.value.get("config"), entry.value.get("registered_name"))
    return list(dict.fromkeys(str(name) for name in names if name not in (None, "function"))) or ["None"]


def _is_package(module: Any) -> bool:
    return isinstance(module, str) and module.partition(".")[0] in _PACKAGES


def _is_registered(name: Any) -> bool:
    return isinstance(name, str) and keras.saving.get_registered_object(name) is not None


def _is_refused_registered(name: Any) -> bool:
    return _is_registered(name) and not is_listed_object(keras.saving.get_registered_object(name))


def _refused_texts(root: dict[str, Any], own: Mapping[str, Any], *, compiled: bool) -> Iterable[str]:
    """Yield the texts in a config for which Keras would put a registered object that a file may not name."""
    registered = keras.saving.get_custom_objects().items()
    refused = {name for name, value in registered if name not in own and not is_listed_object(value)}
    if refused:
        texts = strings(root if compiled else {**root, "compile_config": None})
        yield from dict.fromkeys(text for text in texts if text.removeprefix(OWN) in refused)


def _all(names: Iterable[str]) -> str:
    """Return ``'a', 'b', 'c'``; a layer that is named twice counts once."""
    return ", ".join(map(repr, dict.fromkeys(names)))


def _some(names: Iterable[str]) -> str:
    """Return ``'a', 'b', 'c' and 4 more``; a layer that is named twice counts once."""
    names = list(dict.fromkeys(names))
    more = len(names) - _SHOWN
    return ", ".join(map(repr, names[:_SHOWN])) + (f" and {more} more" if more > 0 else "")
