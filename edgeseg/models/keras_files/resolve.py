"""Resolve the code that a model config refers to before any of it is deserialized: refuse Lambdas, find classes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras

from edgeseg.errors import InputError
from edgeseg.models.keras_files.config import Entry, entries
from edgeseg.models.keras_files.custom_objects import KNOWN, reading_of
from edgeseg.models.keras_files.packages import require_packages

_log = logging.getLogger(__name__)

_LAMBDAS = ("Lambda", "__lambda__")
_LAYER_KEYS = ("", "layers", "layer")
_MODELS = ("Functional", "Model", "Sequential")
_PACKAGES = ("keras", "keras_hub", "keras_cv", "keras_nlp")  # Keras itself searches these and no others
_TENSORFLOW_OPS = ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "ClassMethod", "InstanceProperty")
_SHOWN = 3  # names in a warning, the rest is a count; an error names all


def settle_lambdas(root: dict[str, Any], own: Mapping[str, Any], path: str | Path) -> dict[str, Any]:
    """Replace Lambda layers by the user's classes, and refuse those that are left.

    Args:
        root: a model config; changed in place where a Lambda is replaced.
        own: the user's objects; a layer class under a Lambda layer's name replaces it, and is made with the
            layer's ``name``, ``trainable`` and ``dtype``.
        path: the file, for messages.

    Returns:
        The inserted classes, by the name that the config now has for them.

    Raises:
        InputError: there is a Lambda, or another serialized function.
    """
    replaced: dict[str, Any] = {}
    for entry in list(entries(root)):
        name = entry.layer.rpartition("/")[2]
        if entry.class_name == "Lambda" and isinstance(own.get(name), type):
            config = entry.value.get("config")
            base = {key: config[key] for key in ("name", "trainable", "dtype") if key in config} if config else {}
            entry.value.update(class_name=name, config=base)
            _drop_defaults(entry.value.get("inbound_nodes"))
            if "module" in entry.value:
                entry.value.update(module=None, registered_name=name, build_config=None)
            replaced[name] = own[name]
    left = [entry.layer for entry in entries(root) if entry.class_name in _LAMBDAS]
    if left:
        instead = f"CUSTOM_OBJECTS = {{{left[0].rpartition('/')[2]!r}: YourLayer}} in --custom-objects FILE.py"
        raise InputError(
            f"'{path}' has Lambda layers, Python bytecode that edgeseg never runs: {_all(left)}. Name the zoo "
            f"architecture and load weights only: edgeseg export ZOO_NAME --weights {path}; or put Keras layer classes "
            f"in their place: {instead}."
        )
    return replaced


def _drop_defaults(nodes: Any) -> None:
    """Drop the arguments of a layer's calls that are ``None``: a Lambda has ``mask=None``, others have no mask."""
    if isinstance(nodes, list):
        for node in nodes:
            _drop_defaults(node)
    elif isinstance(nodes, dict):  # of Keras 3: {"args", "kwargs"}; of Keras 2: the arguments themselves
        arguments = nodes.get("kwargs", nodes)
        for name in [name for name, value in arguments.items() if value is None]:
            del arguments[name]


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
        ops = [name for name in unknown if name in _TENSORFLOW_OPS]
        hint = f" {ops[0]} is TensorFlow outside of any layer, which only Keras 2 reads back." if ops else ""
        raise InputError(
            f"'{path}' has what Keras does not know: {listed}.{hint} Give the code: --custom-objects FILE.py; or name "
            f"the zoo architecture and load weights only: edgeseg export ZOO_NAME --weights {path}."
        )
    for name, layers in known.items():
        _log.warning(
            "'%s': %s is read as %s; give --custom-objects FILE.py if yours is another",
            path,
            _some(layers),
            reading_of(KNOWN[name]),
        )
    return objects


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
