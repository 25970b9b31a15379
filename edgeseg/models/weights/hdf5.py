"""Read the tensors of a Keras weights file, layer by layer: ``.keras``, ``.weights.h5`` and the ``.h5`` of Keras 2.

Only datasets and the names beside them are read; no model config is deserialized and no link is followed.

    .keras                       a zip; its ``model.weights.h5`` is a file of the next kind
    .weights.h5 (Keras 3)        layers/<class>[_<n>]/.../vars/<i>, n counting the layers of a class;
                                 newer versions keep the layer's name as an attribute of ``vars``
    .weights.h5 (own class)      the same below the attributes of the model: block1/layers/conv2d_1/vars/<i>
    .h5 weights-only (Keras 2)   attribute layer_names; <layer>/<weight> as listed in the layer's weight_names
    .h5 full model (Keras 2)     the same inside the group model_weights
"""

from __future__ import annotations

import io
import itertools
import re
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.zip_entries import read_entry
from edgeseg.errors import InputError

_ARCHIVE_ENTRY = "model.weights.h5"
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")  # the second is TensorFlow 2.12's name for the first
_NOT_WEIGHTS = ("optimizer", "metrics")  # beside the layers in a training checkpoint
_ACCEPTED = "accepted: .keras, .weights.h5 (Keras 3), .h5 (Keras 2)"
_MAX_PACKED = 100  # times the size of the archive; Keras does not compress, and weights hardly get smaller
# Groups and datasets of a file: reading one takes 0.3 ms, and a model of 1,000 layers has 10,000 with its optimizer.
_MAX_ITEMS = 20_000
_MAX_EXPANSION = 2000  # deflate reaches 1032; a file that claims more would only fill the memory
# What h5py and zipfile raise on a damaged file; h5py has no error class of its own.
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file.

    Attributes:
        name: its name in the file, for people and patterns (``conv2d_1/kernel:0``; ``stem/vars/0``, or
            ``layers/conv2d/vars/0`` where the file does not keep the layer's name).
        key: its address inside its layer (``kernel``, ``vars/0``).
        values: its values, in the dtype in which they are stored.
    """

    name: str
    key: str
    values: NDArray[Any] = field(repr=False, compare=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor."""
        return self.values.shape


@dataclass(frozen=True)
class FileLayer:
    """The tensors of one layer of a file, in the file's order.

    Attributes:
        name: the layer's name; ``None`` where the file does not keep it.
        kind: class of the layer in snake case; ``None`` where the file does not keep it.
        tensors: the tensors of the layer, never empty.
    """

    name: str | None
    kind: str | None
    tensors: tuple[Tensor, ...]


def read_weights(path: str | Path, *, flat: bool = False) -> list[FileLayer]:
    """Read a weights file.

    Args:
        path: a ``.keras``, ``.weights.h5`` or ``.h5`` file; recognized by content, not by suffix.
        flat: whether a nested model is replaced by its layers, under their own names; otherwise it is one layer.

    Returns:
        The layers that have tensors. Those of one class are in the order of the saved model; Keras 3 does not keep the
        place of a nested model among the other layers: its layers come first, as those of a trunk do.

    Raises:
        InputError: the file is missing, truncated, of no known format, or points outside itself.
    """
    if not Path(path).is_file():
        raise InputError(f"weights file '{path}' does not exist; {_ACCEPTED}.")
    try:
        source: Path | io.BytesIO = Path(path)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if _ARCHIVE_ENTRY not in archive.namelist():
                    raise InputError(f"it is a zip archive without '{_ARCHIVE_ENTRY}'; {_ACCEPTED}")
                limit = max(_MAX_PACKED * Path(path).stat().st_size, 2**20)
                source = io.BytesIO(read_entry(archive, _ARCHIVE_ENTRY, limit))
        elif not h5py.is_hdf5(path):
            raise InputError(f"it is neither HDF5 nor a whole .keras archive; {_ACCEPTED}")
        with h5py.File(source, "r") as file:
            return _layers_of(file, flat)
    except InputError as error:
        raise InputError(f"'{path}' cannot be used as weights: {error}.") from error
    except _DAMAGE as error:
        reason = str(error).strip().splitlines() or [repr(error)]
        raise InputError(f"'{path}' cannot be read, it may be damaged: {reason[0].rstrip('.')}.") from error


def inner_layers(layer: FileLayer) -> list[FileLayer]:
    """Return the layers of a nested model, which Keras 2 writes as one layer."""
    parts: dict[str, list[Tensor]] = {}
    for tensor in layer.tensors:
        name, _, key = tensor.key.partition("/")
        parts.setdefault(name, []).append(Tensor(tensor.name, key, tensor.values))
    return [FileLayer(name, None, tuple(tensors)) for name, tensors in parts.items()]


def _is_nested(layer: FileLayer) -> bool:
    return layer.name is not None and all("/" in tensor.key for tensor in layer.tensors)


def _layers_of(file: h5py.File, flat: bool) -> list[FileLayer]:
    root = _group(file, "model_weights") or file
    if {"layer_names", "layer_names0"} & set(root.attrs):
        layers = _keras2_layers(root)
        return [part for layer in layers for part in (inner_layers(layer) if flat and _is_nested(layer) else [layer])]
    for container in _CONTAINERS:
        if _group(file, container) is not None:
            return _keras3_layers(file, container, flat)
    if layers := _attribute_layers(file):
        return layers
    raise InputError(f"it is HDF5, but neither Keras 2 nor Keras 3 wrote it; {_ACCEPTED}")


def _keras3_layers(file: h5py.File, container: str, flat: bool) -> list[FileLayer]:
    """Group the tensors by the path of their layer; any outside the container are layers of no class."""
    groups: dict[str, list[tuple[str, NDArray[Any]]]] = {}
    kinds: dict[str, tuple[str, int, tuple[int, ...]]] = {}  # class, nested first, number in its model
    for path, values in _datasets(file, without=_NOT_WEIGHTS).items():
        parts = path.split("/")
        if "seed_generator" in parts:  # the state of a Dropout's random numbers
            continue
        inside = parts[0] == container and len(parts) > 2
        depth = 2 if inside else len(parts) - 1
        while flat and inside and parts[depth] in _CONTAINERS and len(parts) > depth + 2:
            depth += 2
        prefix = "/".join(parts[:depth])
        classes = [split_number(part) for part in parts[1:depth:2]] if inside else []
        kinds[prefix] = (classes[-1][0] if inside else "", -len(classes), tuple(number or 0 for _, number in classes))
        key = "/".join("layers" if part in _CONTAINERS else part for part in parts[depth:])
        groups.setdefault(prefix, []).append((key, values))
    layers = []
    for prefix, tensors in sorted(groups.items(), key=lambda group: (kinds[group[0]], group[0])):
        kind, depth, _ = kinds[prefix]
        parts = prefix.split("/")
        places = ["/".join(parts[: 2 * level]) for level in range(1, 1 - depth)] or [prefix]
        names = [_layer_name(file, place) for place in places]
        # People know a layer by its name, not by its place among the layers of its class.
        address = "/".join(name or "/".join(place.split("/")[-2:]) for name, place in zip(names, places, strict=True))
        named = tuple(Tensor(f"{address}/{key}", key, values) for key, values in tensors)
        layers.append(FileLayer(names[-1], kind or None, named))
    return layers


def _attribute_layers(file: h5py.File) -> list[FileLayer]:
    """Return the layers that are attributes of a model's class, at any depth, by their own names or their paths."""
    groups: dict[str, list[tuple[str, NDArray[Any]]]] = {}
    for path, values in _datasets(file, without=_NOT_WEIGHTS).items():
        parent, _, index = path.rpartition("/")
        if not (parent.endswith("/vars") and index.isdigit()) or "seed_generator" in parent.split("/"):
            continue
        groups.setdefault(parent.removesuffix("/vars"), []).append((f"vars/{index}", values))
    layers = []
    for prefix, tensors in groups.items():
        name = _layer_name(file, prefix) or "/".join(part for part in prefix.split("/") if part not in _CONTAINERS)
        layers.append(FileLayer(name, None, tuple(Tensor(f"{name}/{key}", key, values) for key, values in tensors)))
    return layers


def _layer_name(file: h5py.File, prefix: str) -> str | None:
    """Return the name of the layer whose tensors are below a path, where Keras has kept it."""
    own = _group(file, f"{prefix}/vars")
    return _text(own.attrs["name"]) if own is not None and "name" in own.attrs else None


def _keras2_layers(root: h5py.Group) -> list[FileLayer]:
    datasets = _datasets(root)
    layers = []
    for layer in _names(root, "layer_names"):
        tensors = []
        group = _group(root, layer)
        for weight in [] if group is None else _names(group, "weight_names"):
            name = weight if weight.startswith(f"{layer}/") else f"{layer}/{weight}"
            values = datasets.pop(f"{layer}/{weight}", None)
            if values is None:
                raise InputError(f"it lists the tensor '{name}' but does not hold it")
            tensors.append(Tensor(name, name[len(layer) + 1 :].removesuffix(":0"), values))
        if tensors:
            layers.append(FileLayer(layer, None, tuple(tensors)))
    # No list names these: nothing can take them, and that must not go unreported.
    return layers + [FileLayer(None, None, (Tensor(name, name, values),)) for name, values in datasets.items()]


def split_number(name: str) -> tuple[str, int | None]:
    """Split ``conv2d_12`` into ``("conv2d", 12)``, and ``conv2d`` into ``("conv2d", None)``."""
    match = re.fullmatch(r"(.+)_(\d+)", name)
    return (match[1], int(match[2])) if match else (name, None)


def _datasets(root: h5py.Group, without: tuple[str, ...] = ()) -> dict[str, NDArray[Any]]:
    """Return every tensor that lies in the file itself, by path; ``visititems`` follows no soft or external link."""
    datasets: dict[str, NDArray[Any]] = {}
    numbers = itertools.count(1)

    def visit(path: str, item: h5py.Group | h5py.Dataset) -> None:
        if next(numbers) > _MAX_ITEMS:
            raise InputError(f"it has more than {_MAX_ITEMS} tensors and groups")
        if not isinstance(item, h5py.Dataset) or path.split("/")[0] in without:
            return
        if item.external or item.is_virtual:
            raise InputError(f"its tensor '{path}' lies in another file")
        if item.dtype.kind not in "fiu":
            raise InputError(f"its tensor '{path}' holds {item.dtype}, not numbers")
        if item.nbytes > max(_MAX_EXPANSION * item.id.get_storage_size(), 2**20):
            raise InputError(f"its tensor '{path}' claims {item.nbytes} bytes but holds next to none")
        datasets[path] = np.asarray(item[()])

    root.visititems(visit)
    return datasets


def _group(parent: h5py.Group, path: str) -> h5py.Group | None:
    """Return the group at a path, if it lies in the file itself."""
    group: Any = parent
    for part in path.split("/"):
        if not isinstance(group, h5py.Group) or not isinstance(group.get(part, getlink=True), h5py.HardLink):
            return None
        group = group[part]
    return group if isinstance(group, h5py.Group) else None


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """Return a list of names, which Keras splits over ``<attribute>0``, ``<attribute>1``, ... where it is long."""
    if attribute in group.attrs:
        return [_text(name) for name in group.attrs[attribute]]
    names: list[str] = []
    part = 0
    while f"{attribute}{part}" in group.attrs:
        names += [_text(name) for name in group.attrs[f"{attribute}{part}"]]
        part += 1
    return names


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
