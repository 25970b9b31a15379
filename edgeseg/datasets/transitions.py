"""Find class ids that only lead from one class to another: what interpolation and JPEG leave along the edges of labels.

A label that was resized with interpolation has, where the classes 2 and 7 meet, a thin line of 4 or 5. Each id is
valid, so nothing else reports it. Thin classes that somebody drew, poles or membranes, are told apart: a pole has the
same class at both sides or is one of few edges, and a membrane is always of one id that has no regions of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

# Pixels across a line that still counts as thin: what enlarging a label to eight times its size leaves of an edge.
_THIN = 8

# An id is one of several between two classes, and not a slip of the hand, from this share of their edges on.
_SEVERAL = 0.1

# An id has regions of its own where this share of its pixels is in no thin line.
_OWN_REGIONS = 0.25

#: The share of the edges between ids that are no neighbors that must have ids in between. Drawn scenes of 3 to 20
#: classes and CamVid's labels have 0.02 to 0.11; resized with interpolation by 0.5 to 8, or out of a JPEG, 0.46 to 1.
SHARE = 0.4

# The least number of such edges, and their least share of all edges.
_LEAST, _LEAST_SHARE = 16, 0.05


@dataclass(frozen=True, kw_only=True)
class Transitions:
    """How the classes of some labels meet, along rows and columns.

    Attributes:
        direct: ``(low, high)`` ids to the number of edges where they touch.
        chains: ``(low, high)`` to the number of edges with thin lines of ids in between.
        between: ``(low, high, id)`` to the number of such lines of that id.
        pixels: ``(id,)`` to the number of its pixels.
        in_regions: ``(id,)`` to the number of its pixels that are in no thin line.
    """

    direct: Counter[tuple[int, ...]] = field(default_factory=Counter)
    chains: Counter[tuple[int, ...]] = field(default_factory=Counter)
    between: Counter[tuple[int, ...]] = field(default_factory=Counter)
    pixels: Counter[tuple[int, ...]] = field(default_factory=Counter)
    in_regions: Counter[tuple[int, ...]] = field(default_factory=Counter)

    def add(self, other: Transitions) -> None:
        """Add those of other labels."""
        for name, counts in vars(self).items():
            counts.update(getattr(other, name))

    @property
    def share(self) -> float:
        """The share of the edges between ids that are no neighbors that have ids in between, in [0, 1]."""
        jumps = sum(count for (low, high), count in self.direct.items() if high - low > 1)
        chains = sum(self.chains.values())
        return chains / max(1, chains + jumps)

    def interpolated(self) -> tuple[int, ...] | None:
        """Return the most frequent ``(low, high, id in between)`` where the labels look interpolated, else ``None``."""
        several: Counter[tuple[int, ...]] = Counter()
        for (*pair, _), count in self.between.items():
            several[tuple(pair)] += count >= _SEVERAL * self.chains[tuple(pair)]
        suspect = {
            key: count
            for key, count in self.between.items()
            if several[key[:2]] > 1 or self.in_regions[key[2:]] >= _OWN_REGIONS * self.pixels[key[2:]]
        }
        found = sum(self.chains[pair] for pair in {key[:2] for key in suspect})
        jumps = sum(count for (low, high), count in self.direct.items() if high - low > 1)
        everything = sum(self.direct.values()) + sum(self.chains.values())
        if found < max(_LEAST, SHARE * (found + jumps), _LEAST_SHARE * everything):
            return None
        return max(suspect, key=lambda key: (suspect[key], key))


def transitions(label: NDArray[np.uint8], ignore_index: int | None) -> Transitions:
    """Return how the classes of a label meet.

    Args:
        label: ``(H, W)`` uint8 class ids.
        ignore_index: id that is no class; what touches it is not counted.
    """
    result = Transitions()
    is_thin = np.zeros(label.shape, bool)
    for lines, thin_lines in ((label, is_thin), (label.T, is_thin.T)):
        ids, lengths, first = _runs(np.ascontiguousarray(lines))
        thin_lines |= np.repeat(lengths <= _THIN, lengths).reshape(lines.shape)
        before, here, after = ids[:-2], ids[1:-1], ids[2:]
        inner = np.zeros(len(ids), bool)
        inner[1:-1] = ((before < here) & (here < after)) | ((before > here) & (here > after))
        inner[1:-1] &= ~first[1:-1] & ~first[2:] & (lengths[1:-1] <= _THIN)
        places = np.arange(len(ids))
        left = np.maximum.accumulate(np.where(inner, 0, places))
        right = np.minimum.accumulate(np.where(inner, len(ids), places)[::-1])[::-1]
        thin = np.flatnonzero(inner)
        result.between.update(_counted(ids, (left[thin], right[thin], thin), ignore_index))
        starts = np.flatnonzero(~inner[:-1] & ~first[1:])  # whose next run is of the same row
        touching, leading = starts[~inner[starts + 1]], starts[inner[starts + 1]]
        result.direct.update(_counted(ids, (touching, touching + 1), ignore_index))
        result.chains.update(_counted(ids, (leading, right[leading + 1]), ignore_index))
    for counts, pixels in ((result.pixels, label), (result.in_regions, label[~is_thin])):
        by_id = np.bincount(pixels.ravel(), minlength=256)
        counts.update({(int(index),): int(by_id[index]) for index in np.flatnonzero(by_id)})
    return result


def _runs(lines: NDArray[np.uint8]) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.bool_]]:
    """Return the id and the length of each run of equal pixels, row by row, and whether it is the first of its row."""
    begins = np.ones(lines.shape, bool)
    begins[:, 1:] = lines[:, 1:] != lines[:, :-1]
    starts = np.flatnonzero(begins)
    lengths: NDArray[np.int64] = np.diff(starts, append=lines.size)
    return lines.ravel()[starts].astype(np.int32), lengths, starts % lines.shape[1] == 0


def _counted(
    ids: NDArray[np.int32], places: Sequence[NDArray[np.intp]], ignore_index: int | None
) -> dict[tuple[int, ...], int]:
    """Count ``(low, high)`` or ``(low, high, id)`` of the runs at some places: two ends, and what is between."""
    one, other, *middle = (ids[place] for place in places)
    columns = [np.minimum(one, other), np.maximum(one, other), *middle]
    code = np.zeros(len(one), np.int32)
    for column in columns:
        code = code << 8 | column
    codes, counts = np.unique(code, return_counts=True)
    keys = [tuple(code >> shift & 255 for shift in range(8 * len(columns) - 8, -1, -8)) for code in codes.tolist()]
    return {key: int(count) for key, count in zip(keys, counts, strict=True) if ignore_index not in key}
