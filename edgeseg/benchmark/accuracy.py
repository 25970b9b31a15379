"""Read the accuracy of artifacts, for the chart of accuracy over latency."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

from edgeseg._internal.json import FEW, AnyText, Meta, WrongValue, decode
from edgeseg._internal.limits.text import MAX_TABLE, read_text
from edgeseg.errors import InputError

_Share = Annotated[float, Meta(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class _Scores:
    mean_iou: _Share | None = None
    mean_iou_float: _Share | None = None


@dataclass(frozen=True, kw_only=True)
class _Artifact:
    """An artifact in the report of an export."""

    format: AnyText
    precision: AnyText
    accuracy: _Scores | None = None


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """What ``evaluate --json`` says of an artifact, or the report of an export."""

    artifact: AnyText | None = None
    mean_iou: _Share | None = None
    model: AnyText | None = None
    artifacts: Annotated[tuple[_Artifact, ...], Meta(max_length=FEW)] | None = None


_Entries = _Entry | Annotated[tuple[_Entry, ...], Meta(max_length=FEW)]


def read_mean_iou(path: str | Path) -> dict[str, float]:
    """Return the mIoU in [0, 1] by the name of the artifact's file.

    Args:
        path: the output of ``edgeseg evaluate --json`` for an artifact, the JSON of ``edgeseg export --report``, or any
            ``{"artifact": "unet_mini.int8.tflite", "mean_iou": 0.61}``, alone or several in a list.

    Raises:
        InputError: the file cannot be read, or has no mIoU in it.
    """
    try:
        entries: Any = decode(read_text(path, MAX_TABLE), cast(Any, _Entries))
        accuracies = dict(_accuracies(entries if isinstance(entries, tuple) else (entries,)))
    except OSError as error:
        raise InputError(f"accuracy file '{path}' cannot be read: {error.strerror}.") from error
    except (WrongValue, UnicodeDecodeError) as error:
        raise InputError(f"'{path}' is none of the files with a mIoU ({_ACCEPTED}): {error}.") from error
    if not accuracies:
        raise InputError(f"'{path}' has no mIoU in it: that needs images with labels.")
    return accuracies


_ACCEPTED = (
    'edgeseg evaluate --json, the report of an export, {"artifact": NAME, "mean_iou": NUMBER} or a list of those'
)


def _accuracies(entries: Iterable[_Entry]) -> Iterator[tuple[str, float]]:
    for entry in entries:
        if (
            entry.artifacts is not None
        ):  # the report of an export; its files have these names, see ``ExportResult.save``
            if entry.model is None:
                raise WrongValue("'model' is missing")
            for one in entry.artifacts:
                for precision, mean_iou in _scores(one):
                    yield f"{entry.model}.{precision}.{one.format}", mean_iou
        elif entry.artifact is None:
            raise WrongValue("'artifact' is missing")
        elif entry.mean_iou is not None:
            yield Path(entry.artifact).name, entry.mean_iou


def _scores(artifact: _Artifact) -> Iterator[tuple[str, float]]:
    """Yield the mIoU of an artifact and of the float model on the same images, by precision."""
    scores = artifact.accuracy or _Scores()
    if scores.mean_iou is not None:
        yield artifact.precision, scores.mean_iou
        if scores.mean_iou_float is not None:
            yield "fp32", scores.mean_iou_float
