"""Define ``Item`` and ``Record``: one image that is to be done, and what is known of it afterwards."""

from __future__ import annotations

import dataclasses
import posixpath
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg._internal.json import AnyText, Meta
from edgeseg.spec import MAX_CLASSES

#: Characters of a name in a manifest; a path has 4096 bytes.
MAX_NAME = 10_000

_Side = Annotated[int, Meta(ge=0, le=2**31 - 1)]
_Pixels = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Cell = Annotated[int, Meta(ge=0, lt=MAX_CLASSES**2)]
#: Cells of a confusion matrix that are not 0, row by row, each with its pixels.
Cells = Annotated[tuple[tuple[_Cell, _Pixels], ...], Meta(max_length=MAX_CLASSES**2)]


class Item(NamedTuple):
    """One image.

    Attributes:
        name: in the results; unique.
        image: its path or address.
        label: path of its label; ``None`` where there is none.
    """

    name: str
    image: str
    label: str | None = None


def stem_of(name: str) -> str:
    """Return a name without its suffix, of which results are named."""
    return posixpath.splitext(name)[0]


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of an image that is done; a line of the manifest.

    Attributes:
        name: of the image.
        error: why it has no result; ``None`` where it has one.
        size_hw: of the image, ``(h, w)`` in pixels.
        counts: pixels of each class in the prediction.
        matrix: of its confusion matrix, where it has a label: row is the label, column the prediction.
        nearest: the same for classes taken before they are enlarged, see ``EvaluationResult``; ``None`` where the model
            gives class ids.
    """

    __repr__ = short_repr

    name: Annotated[str, Meta(max_length=MAX_NAME)]
    error: AnyText | None = None
    size_hw: tuple[_Side, _Side] | None = None
    counts: Annotated[tuple[_Pixels, ...], Meta(max_length=MAX_CLASSES)] = ()
    matrix: Cells | None = None
    nearest: Cells | None = None

    def line(self) -> bytes:
        """Return it as a line of JSON, without what is not known."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        known = {name: value for name, value in fields.items() if value not in (None, ())}
        return msgspec.json.encode(known) + b"\n"


def cells(counts: NDArray[np.int64]) -> tuple[tuple[int, int], ...]:
    """Return the cells of a matrix that are not 0, as ``Record`` keeps them."""
    flat = counts.ravel()
    places = np.flatnonzero(flat)
    return tuple(zip(places.tolist(), flat[places].tolist(), strict=True))


def add_cells(counts: NDArray[np.int64], found: tuple[tuple[int, int], ...]) -> None:
    """Add the cells of one image to a matrix, in place."""
    if found:
        places, pixels = np.array(found, np.int64).T
        counts.ravel()[places] += pixels
