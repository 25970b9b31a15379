"""Define what can be wrong with one file of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from edgeseg.errors import InputError

FaultKind = Literal[
    "missing_pair",
    "same_name",
    "does_not_decode",
    "size_mismatch",
    "id_out_of_range",
    "unknown_color",
    "not_ids",
]


class BadExample(InputError):
    """A file of a data set cannot be used; ``edgeseg data check`` collects them all.

    Attributes:
        kind: what is wrong.
        path: the file.
    """

    def __init__(self, kind: FaultKind, path: Path, text: str) -> None:
        super().__init__(text)
        self.kind, self.path = kind, path
