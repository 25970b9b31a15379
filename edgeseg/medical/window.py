"""Bring gray values of any range to 8 bits, as DICOM says: PS3.3, C.11.2.1.2 and C.11.2.1.3."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import InputError

#: How a window is applied: DICOM's VOI LUT Function.
WindowFunction = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]


@dataclass(frozen=True)
class Window:
    """Which values of a gray image are told apart: those below are black, those above white.

    Attributes:
        center: the value that becomes mid gray, in the unit of the image: Hounsfield units in a CT.
        width: from black to white, in the same unit.
        function: how it is applied.
    """

    center: float
    width: float
    function: WindowFunction = "LINEAR"

    def check(self) -> None:
        """Refuse what is no window.

        Raises:
            InputError: the width is too small for its function, or a number is not finite.
        """
        least = 1.0 if self.function == "LINEAR" else 0.0
        wide = self.width >= 1 if self.function == "LINEAR" else self.width > 0
        if not (math.isfinite(self.center) and math.isfinite(self.width) and wide):
            raise InputError(
                f"a window needs a center and a width of {'at least' if least else 'more than'} {least:g}, got "
                f"{self.center:g} and {self.width:g}."
            )

    def apply(self, values: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Return the values as gray.

        Args:
            values: of any shape and range.

        Returns:
            uint8 of the same shape, rounded.
        """
        center, width = self.center, self.width
        if self.function == "SIGMOID":
            gray = 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -80, 80)))
        elif self.function == "LINEAR_EXACT":
            gray = (values - center) / width + 0.5
        elif width == 1:  # a threshold
            gray = (values > center - 0.5).astype(np.float64)
        else:
            gray = (values - (center - 0.5)) / (width - 1) + 0.5
        rounded: NDArray[np.uint8] = np.round(np.clip(gray, 0, 1) * 255).astype(np.uint8)
        return rounded


def full_range(values: NDArray[np.floating], padding: float | None) -> NDArray[np.uint8]:
    """Return the values as gray, the smallest black and the largest white.

    Args:
        values: of any shape and range.
        padding: the value of pixels outside of what was recorded, which are black and not counted.
    """
    inside = values if padding is None else values[values != padding]
    low, high = (float(inside.min()), float(inside.max())) if inside.size else (0.0, 0.0)
    scaled = np.clip((values - low) / (high - low or 1), 0, 1)
    if padding is not None:
        scaled[values == padding] = 0
    rounded: NDArray[np.uint8] = np.round(scaled * 255).astype(np.uint8)
    return rounded
