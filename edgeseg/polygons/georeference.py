"""Give pixels the coordinates of a map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Georeference:
    """Where an image lies in a coordinate reference system.

    Attributes:
        transform: ``(a, b, c, d, e, f)`` of ``X = a * x + b * y + c`` and ``Y = d * x + e * y + f``, as rasterio's
            ``Affine`` has them, where ``(x, y)`` is in pixels from the top left corner of the image.
        crs: the system's name, such as ``EPSG:32633``, or its definition as WKT; ``None`` where it is not known.
    """

    transform: tuple[float, float, float, float, float, float]
    crs: str | None = None

    def points(self, ring: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the coordinates ``(N, 2)`` of pixels' ``(N, 2)`` ``(x, y)``."""
        a, b, c, d, e, f = self.transform
        x, y = ring[:, 0], ring[:, 1]
        return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)

    @property
    def pixel_area(self) -> float:
        """The area of a pixel, in square units of the system."""
        a, b, _, d, e, _ = self.transform
        return abs(a * e - b * d)

    @property
    def longest_pixel(self) -> float:
        """The length of a pixel in the direction in which it is longest, in units of the system."""
        a, b, _, d, e, _ = self.transform
        return float(np.linalg.norm([[a, b], [d, e]], 2))

    @property
    def decimals(self) -> int:
        """Digits after the point that tell a hundredth of a pixel."""
        side = self.pixel_area**0.5
        return int(np.clip(2 - np.floor(np.log10(side)), 0, 15)) if side > 0 else 15
