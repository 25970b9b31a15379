"""Make the RGB image that a model takes of the bands of a raster, part by part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import InputError
from edgeseg.rasters.base import Raster
from edgeseg.spec import ModelSpec, check_bands

# Side of the part in the middle whose values are told where nobody said how they are scaled.
_SAMPLE = 512


@dataclass(frozen=True)
class Bands:
    """Which bands are red, green and blue, and how their values become 0 to 255.

    Attributes:
        bands: three numbers, counted from 1; when ``None`` those of the ModelSpec, else the three of a raster that has
            three.
        band_range: ``(low, high)``, which become 0 and 255, or three such pairs in one tuple, in the order of
            ``bands``; what is beyond is cut off. When ``None`` that of the ModelSpec, else bytes are taken as they are.
    """

    bands: tuple[int, ...] | None = None
    band_range: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        check_bands(self.bands, self.band_range)

    def of(self, raster: Raster, spec: ModelSpec) -> Bands:
        """Return the bands and ranges that a raster is read with.

        Three bands of bytes are an image as they are where nothing is said here and the ModelSpec cannot mean them.

        Args:
            raster: the raster.
            spec: says what is not said here, where it says it.

        Raises:
            InputError: it has no such band, or cannot have such values; or it is not RGB of bytes, and nothing says
                what to take.
        """
        bands, limits = self.bands or spec.bands, self.band_range or spec.band_range
        if self == Bands() and _is_rgb(raster) and (max(bands or (0,)) > 3 or max(limits or (0.0,)) > 255):
            # It cannot be what the ModelSpec means, and is what a model was trained on: an image made of such bands.
            return Bands((1, 2, 3))
        if bands is None and raster.num_bands == 3:
            bands = (1, 2, 3)
        if bands is not None and max(bands) > raster.num_bands:
            asked = "" if self.bands else f", which the ModelSpec of '{spec.name}' asks for"
            remedy = "" if self.bands else ", and `bands` takes others"
            raise InputError(
                f"'{raster.name}' has no band {max(bands)}{asked}; accepted: 1 to {raster.num_bands}{remedy}."
            )
        if limits is not None and self.band_range is None and max(limits[1::2]) > _highest(raster.dtype):
            raise InputError(
                f"'{raster.name}' has values of {raster.dtype}, and the ModelSpec of '{spec.name}' says that "
                f"{max(limits[1::2]):g} is the brightest: give `band_range`, such as `band_range=(0, 255)` for bytes "
                "as they are."
            )
        if bands is not None and (limits is not None or raster.dtype == "uint8"):
            return Bands(bands, limits)
        one = raster.num_bands < 3
        proposed = bands or ((1, 1, 1) if one else (1, 2, 3))
        typed = f"`bands={proposed}`"
        if raster.dtype != "uint8" and limits is None:
            low, high = _usual_range(raster, proposed)
            typed = f"`bands={proposed}, band_range=({low:g}, {high:g})`"
        count = "1 band" if raster.num_bands == 1 else f"{raster.num_bands} bands"
        raise InputError(
            f"'{raster.name}' has {count} of {raster.dtype}, and the model takes red, green and blue from 0 to 255: "
            f"give {typed}, or what is right for it."
        )


class BandReader:
    """Reads parts of a raster as a model takes them; what has no value gets the color of letterbox bars."""

    def __init__(self, raster: Raster, bands: Bands, spec: ModelSpec) -> None:
        """Choose the bands.

        Args:
            raster: the raster.
            bands: see ``Bands``.
            spec: has the color of pixels without a value, and may say the bands.

        Raises:
            InputError: see ``Bands.of``.
        """
        self._raster = raster
        self.bands = bands.of(raster, spec)
        self._blank = np.array(spec.pad_value, np.uint8)

    @property
    def size_hw(self) -> tuple[int, int]:
        """``(H, W)`` in pixels."""
        return self._raster.size_hw

    def read(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint8] | None:
        """Return a part, ``(height, width, 3)`` uint8 RGB; ``None`` where no pixel of it has a value.

        Raises:
            InputError: the file is damaged there.
        """
        valid = self.valid(top, left, height, width)
        if valid is not None and not valid.any():
            return None
        bands, limits = self.bands.bands or (1, 2, 3), self.bands.band_range
        values = self._raster.read(bands, top, left, height, width)
        image = values if limits is None else _scaled(values, limits)
        if valid is not None and not valid.all():
            image = np.where(valid[..., None], image, self._blank)
        return np.ascontiguousarray(image, np.uint8)

    def valid(self, top: int, left: int, height: int, width: int) -> NDArray[np.bool_] | None:
        """Return which pixels of a part have a value, ``(height, width)`` bool; ``None`` where all have one.

        Raises:
            InputError: the file is damaged there.
        """
        if not self._raster.has_gaps:
            return None
        return self._raster.valid(self.bands.bands or (1, 2, 3), top, left, height, width)


def _scaled(values: NDArray[Any], limits: Sequence[float]) -> NDArray[np.uint8]:
    """Return bands ``(h, w, 3)`` as bytes: the lowest value as 0, the highest as 255."""
    low, high = np.array(limits[::2], np.float32), np.array(limits[1::2], np.float32)
    shares = (values.astype(np.float32) - low) / (high - low)
    # A value that is none is replaced later, but has to become a byte first.
    return np.asarray(np.rint(255 * np.clip(np.nan_to_num(shares), 0, 1)), np.uint8)


def _usual_range(raster: Raster, bands: Sequence[int]) -> tuple[float, float]:
    """Return between which values 96 % of those in the middle of a raster are; 0 and 1 where there are none."""
    height, width = (min(_SAMPLE, side) for side in raster.size_hw)
    part = (raster.size_hw[0] - height) // 2, (raster.size_hw[1] - width) // 2, height, width
    values = raster.read(bands, *part)[raster.valid(bands, *part)].astype(float)
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, (2, 98)) if values.size else (0.0, 1.0)
    return (float(low), float(high)) if low < high else (float(low), float(low) + 1)


def _is_rgb(raster: Raster) -> bool:
    return raster.num_bands == 3 and raster.dtype == "uint8"


def _highest(dtype: str) -> float:
    """Return the highest value of numpy's dtype of that name."""
    return float("inf") if dtype.startswith("float") else float(np.iinfo(dtype).max)
