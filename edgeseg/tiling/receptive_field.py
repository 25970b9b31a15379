"""Measure how far from an output pixel the input pixels are that change it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.spec import ModelSpec, ReceptiveRadius
from edgeseg.tiling.windows import stride_of

#: A score that moves by less, as a share of the largest, moved by rounding: a runtime may add in another order.
ROUNDING = 1e-6


def measured_radius(
    scores_of: Callable[[NDArray[Any]], NDArray[np.float32]],
    tensor: NDArray[Any],
    before: NDArray[np.float32],
    spec: ModelSpec,
) -> ReceptiveRadius:
    """Change all pixels at the first edges of an input, then all at the last, and see how far the scores move.

    That is what happens at the edge of a window: what is beyond it is not what would be there. So the pixels are
    changed up to a place where a window may begin or end, see ``windows.stride_of``.

    Args:
        scores_of: gives the scores ``(h, w, C)`` float32 of an input at the input's own size.
        tensor: ``(1, H, W, 3)`` float32, an image as the model takes it.
        before: its scores.
        spec: says how pixels are normalized.

    Returns:
        ``(rows, columns)`` in pixels; ``global`` where the scores move everywhere, as after a pooling of the whole
        image, or where the receptive field is larger than the input; also where a score is no finite number.
    """
    if not np.isfinite(before).all():
        return "global"
    least = ROUNDING * float(np.abs(before).max())
    radius = np.zeros(2, int)
    strides = [stride_of(side) for side in tensor.shape[1:3]]
    # The second time from the other end: rows and columns from the last to the first.
    for turn in (slice(None), slice(None, None, -1)):
        altered = tensor.copy()
        seen = altered[:, turn, turn]
        noise = _noise(seen.shape, spec)
        seen[:, : strides[0]] = noise[:, : strides[0]]
        seen[:, :, : strides[1]] = noise[:, :, : strides[1]]
        moved = (np.abs(scores_of(altered) - before).max(axis=-1) > least)[turn, turn]
        # Where the other side's pixels do not reach.
        for axis, lines in enumerate((moved[:, -strides[1] :].any(1), moved[-strides[0] :].any(0))):
            last = np.flatnonzero(lines).max(initial=strides[axis] - 1)
            if last == len(lines) - 1:
                return "global"
            radius[axis] = max(radius[axis], last + 1 - strides[axis])
    return int(radius[0]), int(radius[1])


def _noise(shape: tuple[int, ...], spec: ModelSpec) -> NDArray[np.float32]:
    """Return normalized pixels drawn from 0 to 255."""
    pixels = np.random.default_rng(0).uniform(0, 255, shape)
    return np.asarray((pixels - np.array(spec.mean)) / np.array(spec.std), np.float32)
