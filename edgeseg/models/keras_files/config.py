"""Read the architecture in a model file as the plain JSON it is: nothing here deserializes or runs any of it.

    .keras   a zip archive: config.json, and metadata.json with the version of Keras
    .h5      HDF5: the attributes model_config and keras_version; without the first, a file of weights only

Keras 2 wrote both forms (and HDF5 under the name ``.keras``), so the content says which one a file is.
"""

from __future__ import annotations

import shlex
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgeseg._internal.json import Text, WrongValue, decode, parse
from edgeseg._internal.zip_entries import MAX_JSON, read_entry
from edgeseg.errors import InputError

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_WEIGHTS_GROUPS = ("layers", "_layer_checkpoint_dependencies")  # the first group of Keras 3's and TensorFlow 2.12's
# The errors of zipfile and h5py for a damaged file; they have no error class in common.
_DAMAGE = (OSError, RuntimeError, LookupError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class ModelConfig:
    """What a model file says about its architecture.

    Attributes:
        root: the config of the model: ``class_name``, ``config`` and, in Keras 3's form, ``module``.
        keras_version: of the Keras that wrote it; empty where the file does not say.
        container: whether the file is a zip archive or HDF5.
    """

    root: dict[str, Any]
    keras_version: str
    container: Literal["zip", "hdf5"]

    @property
    def is_keras2(self) -> bool:
        """Whether Keras 2 wrote it; a file that does not say is older than the versions that do."""
        return self.keras_version.split(".")[0] in ("", "1", "2")


@dataclass(frozen=True)
class Entry:
    """One object of a config: a layer, a model, an initializer, a function.

    Attributes:
        layer: name of the layer that it is or belongs to, after that of the nested model it is in.
        key: its key in its parent; empty for the model itself.
        value: the object's own part of the config.
    """

    layer: str
    key: str
    value: dict[str, Any]

    @property
    def class_name(self) -> str:
        """Its class, by the name in the file."""
        return str(self.value["class_name"])


def is_hdf5(path: str | Path) -> bool:
    """Return whether a file begins like HDF5; ``False`` where there is no file."""
    try:
        with open(path, "rb") as file:
            return file.read(len(_HDF5_MAGIC)) == _HDF5_MAGIC
    except OSError:
        return False


def read_config(path: str | Path) -> ModelConfig:
    """Read the architecture in a model file.

    Args:
        path: a ``.keras`` or ``.h5`` file.

    Raises:
        InputError: the file is missing, damaged, no model file, or holds weights only.
        ModuleNotFoundError: it is HDF5 and h5py is not installed.
    """
    if not Path(path).is_file():
        raise InputError(f"model file '{path}' does not exist.")
    try:
        if is_hdf5(path):
            return _read_hdf5(path)
        if not zipfile.is_zipfile(path):
            kind = "an HDF5 file" if Path(path).suffix.lower() == ".h5" else "a .keras archive"
            raise InputError(f"'{path}' is not {kind}; it may be truncated.")
        with zipfile.ZipFile(path) as archive:
            root = parse(read_entry(archive, "config.json", MAX_JSON))
            has_metadata = "metadata.json" in archive.namelist()
            # Keras 3 itself accepts a file without metadata, too.
            metadata = (
                decode(read_entry(archive, "metadata.json", MAX_JSON), _Metadata) if has_metadata else _Metadata()
            )
        return ModelConfig(_checked(root), metadata.keras_version, "zip")
    except WrongValue as error:
        raise InputError(f"Keras cannot load '{path}': of its config, {error}.") from error
    except InputError:
        raise
    except _DAMAGE as error:
        reason = str(error).strip().splitlines() or [repr(error)]
        raise InputError(f"Keras cannot load '{path}': {reason[0]}") from error


def _read_hdf5(path: str | Path) -> ModelConfig:
    import h5py

    with h5py.File(path, "r") as file:
        config = file.attrs.get("model_config")
        if config is None:
            weights = "layer_names" in file.attrs or "layer_names0" in file.attrs
            if weights or any(group in file for group in _WEIGHTS_GROUPS):
                raise InputError(
                    f"'{path}' holds weights only; give the architecture: edgeseg export NAME "
                    f"--weights {shlex.quote(str(path))} ('edgeseg models' lists the names)."
                )
            raise InputError(f"'{path}' is HDF5, but holds no Keras model.")
        version = _text(file.attrs.get("keras_version", ""))
    return ModelConfig(_checked(_plain(parse(_text(config)))), version, "hdf5")


@dataclass(frozen=True, kw_only=True)
class _Metadata:
    """What ``metadata.json`` says of the Keras that wrote the archive."""

    keras_version: Text = "3"


def _checked(root: Any) -> dict[str, Any]:
    if not isinstance(root, dict) or not isinstance(root.get("class_name"), str):
        raise ValueError("its config names no model class")
    return root


def _plain(value: Any) -> Any:
    """Return a config with the JSON values of Keras 2's tuples and shapes."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    value = {key: _plain(item) for key, item in value.items()}
    is_sequence = value.get("class_name") in ("__tuple__", "TensorShape") and "items" in value
    return value["items"] if is_sequence else value


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def entries(root: dict[str, Any], *, compiled: bool = False) -> Iterator[Entry]:
    """Yield every object of a config, the model itself first.

    Args:
        root: the config.
        compiled: whether the model's own part for ``compile`` counts. That of a model inside it always does: Keras
            reads it in any case.

    Raises:
        ValueError: an object has no text for its class.
    """
    return _walk(root, "", (), omitted=None if compiled else "compile_config")


def _walk(node: Any, key: str, inside: tuple[str, ...], omitted: str | None = None) -> Iterator[Entry]:
    if isinstance(node, list | tuple):
        for item in node:
            yield from _walk(item, key, inside)
        return
    if not isinstance(node, dict):
        return
    if "class_name" in node:
        if not isinstance(node["class_name"], str):  # Keras goes on to the other names
            raise ValueError(f"its config has a class_name that is no text, under {key!r}")
        inner = node.get("config")
        name = node.get("name") or (inner.get("name") if isinstance(inner, dict) else None)
        # The model's own name would be before every layer's.
        here = (*inside, name) if isinstance(name, str) and key in ("layers", "layer") else inside
        yield Entry("/".join(here) or str(name), key, node)
        inside = here
    for inner_key, value in node.items():
        if inner_key != omitted:
            yield from _walk(value, inner_key, inside)


def strings(node: Any) -> Iterator[str]:
    """Yield every text in a config, at any depth, but not the keys."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, list | tuple | dict):
        for item in node.values() if isinstance(node, dict) else node:
            yield from strings(item)
