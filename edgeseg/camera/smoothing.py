"""Smooth class maps over time: a class that flickers for a frame is not shown."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import InputError


class Smoothing:
    """Changes the class of a pixel only when the new class has held for some frames in a row (hysteresis).

    It works on class ids, so every kind of output can be smoothed and no id is made up. A real change is shown
    ``frames - 1`` frames late; a pixel that keeps changing between many classes keeps the old one.
    """

    def __init__(self, frames: int) -> None:
        """Set how long a class must hold.

        Args:
            frames: number of frames, 1 to 255; 1 smooths nothing.

        Raises:
            InputError: it is out of range.
        """
        if not 1 <= frames <= 255:
            raise InputError(f"smoothing takes 1 to 255 frames, got {frames}.")
        self._frames = frames
        #: Whether a class must hold for more than one frame.
        self.holds = frames > 1
        self._shown: NDArray[np.uint8] | None = None
        self._candidate = np.empty((0, 0), np.uint8)
        self._held = np.empty((0, 0), np.uint8)

    def __call__(self, class_map: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Smooth the next map.

        Args:
            class_map: ``(h, w)`` uint8 class ids; a map of another size starts anew.

        Returns:
            ``(h, w)`` uint8 class ids, an array of its own.
        """
        if not self.holds:
            return class_map
        if self._shown is None or self._shown.shape != class_map.shape:
            self._shown = class_map.copy()
            self._candidate = class_map.copy()
            self._held = np.ones_like(class_map)
            return class_map
        same = cv2.compare(class_map, self._candidate, cv2.CMP_EQ)
        # How many frames the newest class has held, including this one: one more where it is the same, else one.
        self._held = cv2.add(cv2.bitwise_and(self._held, same), np.ones_like(class_map))  # type: ignore[assignment]
        self._candidate = class_map
        cv2.copyTo(class_map, (self._held >= self._frames).view(np.uint8), dst=self._shown)
        return self._shown.copy()
