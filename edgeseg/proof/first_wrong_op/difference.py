"""Measure how far a device's value is from the CPU's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: What float32 may do: a product rounds by 6e-8, another order of the sums of a whole model by 1e-5. A value that is
#: nearer than this is right, whatever computed it.
FLOAT32 = 1e-4

#: Steps of a scale that are more than one, as values come as float32.
ONE_STEP = 1.5

# Where all values of a tensor are below, their difference is measured against this: a map of zeros has no size.
_SMALLEST = 1e-6


@dataclass(frozen=True)
class Difference:
    """How far a value is from another.

    Attributes:
        relative: the largest RMS of the difference in a channel, over the RMS of the whole tensor: one wrong weight
            touches one channel, which a mean over all would hide, and a channel of almost nothing is not a channel that
            is far off. Of class ids and other integers the share that differs.
        steps: the largest difference, in steps of the scale of a quantized tensor; ``None`` where it has none.
        is_share: whether ``relative`` is a share of integers.
    """

    relative: float
    steps: float | None = None
    is_share: bool = False

    def reaches(self, threshold: float) -> bool:
        """Return whether it is so much, relative to the values; of class ids any difference is."""
        return self.relative > 0 if self.is_share else self.relative >= threshold

    @property
    def is_rounding(self) -> bool:
        """Whether float32, or a step more or less of a quantized value, may be all that differs."""
        return not self.reaches(FLOAT32) or (self.steps is not None and self.steps <= ONE_STEP)


def difference(device: NDArray[np.generic], cpu: NDArray[np.generic], *, axis: int, step: float = 0.0) -> Difference:
    """Measure the difference of two values.

    Args:
        device: any shape.
        cpu: what it should be.
        axis: the axis of the channels.
        step: of a quantized value.

    Returns:
        The difference; infinite where one has another shape, or is no number where the other is one.
    """
    if device.shape != cpu.shape:
        return Difference(math.inf, math.inf if step else None)
    if cpu.dtype.kind != "f" and not step:
        return Difference(float(np.mean(device != cpu)), is_share=True)
    ours, theirs = device.astype(np.float64), cpu.astype(np.float64)
    if cpu.dtype.kind != "f":  # integers around a zero point that the file has elsewhere
        ours, theirs = ours - theirs.mean(), theirs - theirs.mean()
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.where((ours == theirs) | (np.isnan(ours) & np.isnan(theirs)), 0.0, ours - theirs)
        channels = np.moveaxis(off, axis, -1).reshape(-1, off.shape[axis]) if off.ndim > 2 else off.reshape(-1, 1)
        worst = float(np.sqrt(np.square(channels).mean(axis=0)).max()) if off.size else 0.0
        most = float(np.abs(off).max()) if off.size else 0.0
        finite = theirs[np.isfinite(theirs)]
        size = float(np.sqrt(np.square(finite).mean())) if finite.size else 0.0
    if not math.isfinite(worst):
        return Difference(math.inf, math.inf if step else None)
    return Difference(worst / max(size, _SMALLEST), most / step if step else None)
