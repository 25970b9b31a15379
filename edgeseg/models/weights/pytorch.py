"""Read the tensors of a legacy PyTorch ``.pth`` file with numpy alone, through an unpickler with a whitelist.

The legacy format (before the zip format of PyTorch 1.6) is five pickles - magic number, protocol version,
system info, the object, the storage keys - followed by each storage as a little-endian int64 count and raw values.
"""

from __future__ import annotations

import math
import pickle
import pickletools
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import InputError

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_STORAGE_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}

# How many times the size of the file its tensors may be: they may share storages.
_MOST_SHARED = 4

# The errors of the unpickler and numpy for damaged files; the last two where a length in the file is absurd.
_DAMAGED = (
    OSError,
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    MemoryError,
    OverflowError,
)


class _Storage:
    """A flat buffer that tensors are views of; its values come after the pickles."""

    def __init__(self, dtype: np.dtype[Any], size: int) -> None:
        self.dtype, self.size = dtype, size
        self.values: NDArray[Any] = np.empty(0, dtype)


class _View:
    """A tensor: offset, size and strides into a storage."""

    def __init__(self, storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> None:
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    def read(self) -> NDArray[Any]:
        # Tensors need not be contiguous (the EfficientNet-Lite0 file's are not), so the stored strides are used.
        itemsize = self.storage.dtype.itemsize
        last = self.offset + sum((n - 1) * s for n, s in zip(self.size, self.stride, strict=True))
        if min((self.offset, *self.stride)) < 0 or last >= self.storage.values.size:
            raise InputError("a tensor reaches beyond its storage")
        if math.prod(self.size) > self.storage.values.size:  # strides of 0 repeat values without end
            raise InputError("a tensor has more values than its storage")
        view = np.lib.stride_tricks.as_strided(
            self.storage.values[self.offset :], self.size, [s * itemsize for s in self.stride], writeable=False
        )
        return view.copy()  # contiguous; ascontiguousarray would give a scalar an axis


class _WhitelistUnpickler(pickle.Unpickler):
    """Accepts four names and refuses every other, so that no code of the file can run."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _View
        if module == "torch" and name in _STORAGE_DTYPES:
            return _STORAGE_DTYPES[name]
        raise InputError(f"it holds a {module}.{name}, which is not a plain tensor")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _location, size, view = pid
        if kind != "storage" or view is not None:
            raise InputError(f"it holds a '{kind}' that is not a plain storage")
        return self.storages.setdefault(key, _Storage(dtype, size))


def _unpickled(file: BinaryIO, unpickler: _WhitelistUnpickler | None = None) -> Any:
    """Load the pickle at the file's position, after a look at the places that it takes in the unpickler's memory.

    The unpickler makes room up to the largest of them, so that four bytes of a file may claim 64 GB.
    """
    start = file.tell()
    for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and isinstance(argument, int) and argument > number:
            raise InputError("it is damaged")
    file.seek(start)
    return (unpickler or _WhitelistUnpickler(file)).load()


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Read every tensor of a legacy ``.pth`` state dict.

    Args:
        path: the file.

    Returns:
        Name to array, in the file's order and shapes (convolutions are OIHW).

    Raises:
        InputError: the file is missing, truncated, not of the legacy format, or holds more than plain tensors.
    """
    try:
        with open(path, "rb") as file:
            header = [_unpickled(file) for _ in range(3)]
            if header[0] != _MAGIC_NUMBER or header[2].get("little_endian") is not True:
                raise InputError("it is not a little-endian legacy PyTorch file")
            unpickler = _WhitelistUnpickler(file)
            views = _unpickled(file, unpickler)
            for key in _unpickled(file):
                storage = unpickler.storages[key]
                (count,) = np.fromfile(file, "<i8", 1)
                if count != storage.size:  # checked before the values: a damaged count may be larger than any memory
                    raise InputError("it is truncated or damaged")
                storage.values = np.fromfile(file, storage.dtype, count)
                if storage.values.size != count:
                    raise InputError("it is truncated")
            size = sum(max(math.prod(view.size), 0) * view.storage.dtype.itemsize for view in views.values())
            if size > _MOST_SHARED * file.tell():
                raise InputError("its tensors claim more values than it holds")
            return {name: view.read() for name, view in views.items()}
    except _DAMAGED as error:
        raise InputError(f"'{path}' cannot be read as a PyTorch weights file: {error}.") from error
