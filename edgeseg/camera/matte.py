"""Steady a soft mask over time: what flickers is averaged, what moves is not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: From this difference on a pixel is taken as it is now; and the weight of the newest frame where nothing moves, which
#: leaves 42 % of the noise of a score: the square root of 0.3 / (2 - 0.3).
_MOVED, _NEWEST = 0.25, 0.3


class SteadyMatte:
    """Blends mask after mask with those before, by how far they agree.

    The weight of the newest is its difference to the blend over ``_MOVED``, between ``_NEWEST`` and 1. So nothing of a
    person who has left a pixel stays in it: of a difference d remains ``d * (1 - d / 0.25)``, at most 1/16.
    """

    def __init__(self) -> None:
        self._blend: NDArray[np.float32] | None = None

    def __call__(self, mask: NDArray[np.float32]) -> NDArray[np.float32]:
        """Blend the next mask.

        Args:
            mask: ``(h, w)`` float32 in [0, 1]; one of another size starts anew.

        Returns:
            The same shape; to be read only.
        """
        if self._blend is None or self._blend.shape != mask.shape:
            self._blend = mask
            return mask
        difference = mask - self._blend
        weight = np.clip(np.abs(difference) / np.float32(_MOVED), _NEWEST, 1)
        self._blend = self._blend + weight * difference
        return self._blend
