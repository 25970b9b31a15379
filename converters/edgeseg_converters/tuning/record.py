"""Define ``tune.json``: what a tuning has done so far, from which a killed one goes on, and in the end its result.

The JSON file has a version; a changed meaning is a new version and a line here:
1 - the first.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from edgeseg._internal.fields import short_repr
from edgeseg._internal.files import write_text
from edgeseg._internal.json import FEW, AnyText, Meta, Text, Texts, WrongValue, as_json, decode
from edgeseg._internal.limits.text import read_text
from edgeseg.benchmark.result import LatencyResult
from edgeseg.errors import InputError
from edgeseg.proof import Agreement
from edgeseg_converters.tuning.candidates import Candidate, Place, Variant

FORMAT_VERSION = 1

#: Name of the file in the folder of a tuning.
NAME = "tune.json"
#: Bytes of the largest such file: the calls of a thousand candidates.
_MAX_FILE = 1 << 27
# After so many a place is not asked for further files.
_REFUSALS = 2

_Share = Annotated[float, Meta(ge=0, le=1)]
_Points = Annotated[float, Meta(ge=-100, le=100)]
_Size = Annotated[int, Meta(ge=0, le=2**50)]
_Seconds = Annotated[float, Meta(ge=0, le=1e9)]
_Turns = Annotated[int, Meta(ge=0, le=FEW)]
Reason = Annotated[str, Meta(max_length=10_000)]


@dataclass(frozen=True, kw_only=True)
class FileAccuracy:
    """What a file gives on the data, beside the float model.

    Attributes:
        num_images: how many images.
        agreement: share of pixels with the class of the float model, in [0, 1].
        mean_iou: in [0, 1]; ``None`` without labels.
        mean_iou_float: the same of the float model.
        worst_class: the class that lost most; empty without labels.
        worst_class_drop: the points of IoU that it lost.
    """

    __repr__ = short_repr

    num_images: Annotated[int, Meta(ge=0, le=2**31)]
    agreement: _Share
    mean_iou: _Share | None = None
    mean_iou_float: _Share | None = None
    worst_class: AnyText = ""
    worst_class_drop: _Points | None = None


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file that was made, or why there is none.

    Attributes:
        variant: what it is.
        sha256: of the file; empty where there is none.
        size_bytes: of the file.
        seconds: that it took to make and to verify.
        verified: share of pixels with Keras' class on the images that verify, in [0, 1].
        rewrites: rule to its number of sites.
        accuracy: on the data; ``None`` where an earlier gate was missed.
        failure: why it is no candidate, without a full stop; empty where it is one.
    """

    __repr__ = short_repr

    variant: Variant
    sha256: Text = ""
    size_bytes: _Size = 0
    seconds: _Seconds = 0.0
    verified: _Share | None = None
    rewrites: Texts = field(default_factory=dict)
    accuracy: FileAccuracy | None = None
    failure: Reason = ""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a device answered to the proof of a file.

    Attributes:
        variant: the file.
        place: what ran it.
        runtime: what actually ran, with its version; empty where nothing did.
        agreement: with the Keras model; ``None`` where nothing ran.
        failure: why this is no candidate, without a full stop; empty where it is one.
    """

    __repr__ = short_repr

    variant: Variant
    place: Place
    runtime: Text = ""
    agreement: Agreement | None = None
    failure: Reason = ""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The measurement of a candidate, or why it was given up.

    Attributes:
        candidate: what was measured.
        result: of all its processes; ``None`` where none ended.
        turns: in how many turns it was measured.
        lost: why it was given up during the search, without a full stop; empty where it was not.
        reason: why it is not the chosen one, where it was not given up; empty for the chosen one.
        tied: whether it is among those that nothing but their size and threads tells apart.
    """

    __repr__ = short_repr

    candidate: Candidate
    result: LatencyResult | None = None
    turns: _Turns = 0
    lost: Reason = ""
    reason: Reason = ""
    tied: bool = False


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a tuning has done so far.

    Attributes:
        format_version: of the file.
        key: what each part of it follows from, by ``key.PARTS``.
        model: name of the model.
        device: where candidates are measured.
        date: when it was begun, UTC.
        num_threads: the numbers of threads that are tried; empty until the device was asked.
        artifacts: the files, in the order in which they were made.
        answers: of the device.
        turns: how many turns ended.
        measured: every candidate, once turns have begun.
        chosen: the best; ``None`` while there is none.
        unmade: files that the budget left no time for.
        complete: whether nothing is left to do; false where the budget ended.
        outputs: the SHA-256 of each file that was written beside this one, by its name.
    """

    __repr__ = short_repr

    format_version: Annotated[int, Meta(ge=0, le=2**31)] = FORMAT_VERSION
    key: Texts
    model: AnyText
    device: Text
    date: Text
    num_threads: Annotated[tuple[Annotated[int, Meta(ge=1, le=1 << 20)], ...], Meta(max_length=FEW)] = ()
    artifacts: Annotated[tuple[Artifact, ...], Meta(max_length=FEW)] = ()
    answers: Annotated[tuple[Answer, ...], Meta(max_length=FEW)] = ()
    turns: _Turns = 0
    measured: Annotated[tuple[Measured, ...], Meta(max_length=FEW)] = ()
    chosen: Candidate | None = None
    unmade: Annotated[tuple[Variant, ...], Meta(max_length=FEW)] = ()
    complete: bool = False
    outputs: Texts = field(default_factory=dict)

    def artifact(self, variant: Variant) -> Artifact | None:
        """Return what is known of a file; ``None`` where it was not made yet."""
        return next((one for one in self.artifacts if one.variant == variant), None)

    def answer(self, variant: Variant, place: Place) -> Answer | None:
        """Return what the device answered; ``None`` where it was not asked yet."""
        return next((one for one in self.answers if (one.variant, one.place) == (variant, place)), None)

    def is_missing(self, place: Place) -> bool:
        """Return whether a place refused files enough to know that it is not there."""
        refusals = [one for one in self.answers if one.place == place]
        return len(refusals) >= _REFUSALS and all(one.agreement is None for one in refusals)

    def save(self, folder: Path) -> None:
        """Write it into the folder of the tuning, over what an earlier step wrote."""
        text = json.dumps(as_json(dataclasses.asdict(self)), allow_nan=False)
        write_text(folder / NAME, text + "\n", overwrite=True)


@dataclass(frozen=True, kw_only=True)
class _Version:
    format_version: Annotated[int, Meta(ge=0, le=2**31)]


def read_record(folder: Path) -> Record | None:
    """Read what an earlier tuning left in a folder; ``None`` where there was none.

    Raises:
        InputError: the file cannot be read, is none of a tuning, or of a version that this edgeseg cannot read.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        text = read_text(path, _MAX_FILE)
        version = decode(text, _Version).format_version
        if version != FORMAT_VERSION:
            raise InputError(
                f"'{path}' has format version {version}, this edgeseg reads {FORMAT_VERSION}; update edgeseg."
            )
        return decode(text, Record)
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}.") from error
    except (WrongValue, UnicodeDecodeError) as error:
        raise InputError(f"'{path}' is no record of edgeseg tune: {error}.") from error


def changed(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Return the parts in which two keys differ."""
    return [name for name in dict.fromkeys((*old, *new)) if old.get(name) != new.get(name)]
