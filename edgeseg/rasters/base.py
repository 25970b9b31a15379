"""Define a raster: bands of numbers on a grid, of which parts are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import InputError
from edgeseg.polygons.georeference import Georeference

#: Pixels of the longest side that is read.
MAX_SIDE = 1_000_000
#: Bytes of the largest block of a file: it is decoded as a whole, however small the part is that is asked for.
MAX_BLOCK_BYTES = 1 << 28
#: What a band may consist of.
DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")


class Raster(Protocol):
    """An open raster.

    Attributes:
        name: for messages.
        size_hw: ``(H, W)`` in pixels.
        num_bands: number of bands that are no mask and no alpha channel.
        dtype: numpy's name of their dtype, one of ``DTYPES``.
        georeference: where on Earth the grid is; ``None`` where the file does not say it.
        has_gaps: some pixels may be without a value.
    """

    name: str
    size_hw: tuple[int, int]
    num_bands: int
    dtype: str
    georeference: Georeference | None
    has_gaps: bool

    def read(self, bands: Sequence[int], top: int, left: int, height: int, width: int) -> NDArray[Any]:
        """Return a part of some bands, ``(height, width, len(bands))`` in ``dtype``; bands count from 1.

        Raises:
            InputError: the file is damaged there.
        """
        ...

    def valid(self, bands: Sequence[int], top: int, left: int, height: int, width: int) -> NDArray[np.bool_]:
        """Return where at least one of some bands has a value, ``(height, width)`` bool.

        Raises:
            InputError: the file is damaged there.
        """
        ...

    def close(self) -> None:
        """Close the file; may be called twice."""
        ...


def require_bounds(name: str, size_hw: tuple[int, int], dtype: str, block_bytes: int) -> None:
    """Refuse a raster whose header claims what would fill the memory, or of values that are no plain numbers.

    Args:
        name: of the file.
        size_hw: ``(H, W)`` in pixels.
        dtype: numpy's name of it.
        block_bytes: of the largest block that has to be decoded as a whole.

    Raises:
        InputError: it is one.
    """
    if not 1 <= min(size_hw) <= max(size_hw) <= MAX_SIDE:
        raise InputError(f"'{name}' claims {size_hw[1]} x {size_hw[0]} pixels; accepted: 1 to {MAX_SIDE} a side.")
    if dtype not in DTYPES:
        raise InputError(f"'{name}' has values of {dtype}; accepted: {', '.join(DTYPES)}.")
    if block_bytes > MAX_BLOCK_BYTES:
        raise InputError(
            f"'{name}' has blocks of {block_bytes} bytes, which cannot be read in parts; accepted: {MAX_BLOCK_BYTES}. "
            "Make a tiled copy, such as with gdal_translate -of COG."
        )
