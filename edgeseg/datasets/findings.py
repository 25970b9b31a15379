"""Collect what a check of a data set found, and stop at errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.text import counted
from edgeseg.choices import DataLayout, LabelEncoding
from edgeseg.datasets.classes import Classes
from edgeseg.datasets.faults import FaultKind
from edgeseg.datasets.statistics import ImageSizes
from edgeseg.errors import InputError

FindingKind = (
    FaultKind
    | Literal[
        "empty_split",
        "nothing_counts",
        "duplicate",
        "class_never_occurs",
        "class_not_in_train",
        "unused_label",
        "palette_differs",
        "covers_most",
        "lossy_format",
        "interpolated",
    ]
)

# Findings that a user may have on purpose: training works with them.
_WARNINGS = (
    "class_never_occurs",
    "class_not_in_train",
    "unused_label",
    "palette_differs",
    "lossy_format",
    "interpolated",
    "covers_most",
)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: what is wrong.
        path: the file or folder, or the class or the split.
        text: a sentence.
    """

    kind: FindingKind
    path: str
    text: str

    @property
    def is_error(self) -> bool:
        """Whether training would fail or the scores be untrue; otherwise it is only worth knowing."""
        return self.kind not in _WARNINGS


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The result of a check.

    Attributes:
        layout: how the data set keeps its files.
        label_encoding: how its labels encode the classes.
        classes: its classes.
        num_pairs: readable pairs of each split.
        pixels: for each split ``(C,)`` int64, pixels of each class in its readable pairs.
        ignored_pixels: for each split, pixels of no class.
        sizes: of the images of its readable pairs, all splits together.
        findings: what is wrong; errors first, by split and file.
    """

    layout: DataLayout
    label_encoding: LabelEncoding
    classes: Classes
    num_pairs: dict[str, int]
    pixels: dict[str, NDArray[np.int64]]
    ignored_pixels: dict[str, int]
    sizes: ImageSizes
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that must be fixed."""
        return tuple(finding for finding in self.findings if finding.is_error)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that are only worth knowing."""
        return tuple(finding for finding in self.findings if not finding.is_error)

    def shares(self, split: str) -> NDArray[np.float64]:
        """Return each class's share in [0, 1] of a split's pixels, ``(C,)``; ignored pixels are not counted."""
        counts = self.pixels[split].astype(np.float64)
        shares: NDArray[np.float64] = counts / max(1, counts.sum())
        return shares

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of ``edgeseg data check --json``."""
        names = self.classes.names
        return {
            "format_version": 1,
            "layout": self.layout,
            "label_encoding": self.label_encoding,
            "classes": self.classes.to_dict(),
            "image_sizes": self.sizes.to_dict(),
            "splits": {
                split: {
                    "num_pairs": self.num_pairs[split],
                    "pixels": dict(zip(names, self.pixels[split].tolist(), strict=True)),
                    "ignored_pixels": self.ignored_pixels[split],
                }
                for split in self.num_pairs
            },
            "errors": [vars(finding) for finding in self.errors],
            "warnings": [vars(finding) for finding in self.warnings],
        }


def require_good(
    result: CheckResult, what: str, tell: Callable[[str], None], *, limit: int = 20, check: str = "edgeseg data check"
) -> None:
    """Stop where a check found errors, after reporting which files they are about.

    Args:
        result: the check.
        what: what does not happen, such as ``nothing was trained``.
        tell: gets a line for each error, and one for the rest of them.
        limit: lines at most.
        check: the command that lists them all.

    Raises:
        InputError: there are errors.
    """
    errors = result.errors
    if not errors:
        return
    for finding in errors[:limit]:
        tell(finding.text)
    if len(errors) > limit:
        tell(f"and {len(errors) - limit} more; {check} lists them all.")
    raise InputError(f"the data has {counted(len(errors), 'problem')}, so {what}.")
