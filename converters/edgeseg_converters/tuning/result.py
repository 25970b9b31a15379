"""Define ``TuneResult``: the chosen candidate, every other one with the reason why it is not, and the Pareto front."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from edgeseg._internal.fields import short_repr
from edgeseg._internal.text import counted, percent
from edgeseg.benchmark.distrust import undermined
from edgeseg.benchmark.result import LatencyResult
from edgeseg.choices import Accelerator
from edgeseg.html.notebook import html_table
from edgeseg_converters.tuning.candidates import ANYWHERE, Candidate, Place, Variant
from edgeseg_converters.tuning.record import Artifact, Measured, Record

_NONE = "-"

#: Columns of ``TuneResult.rows``; those that begin with ``>`` are numbers.
COLUMNS = (
    "File",
    "Target",
    "Runs on",
    ">Threads",
    ">Median ms",
    ">mIoU",
    ">Same class",
    ">Memory MB",
    ">Size MB",
    ">Processes",
    "Outcome",
)

#: What the chosen candidate has in the last column.
CHOSEN = "chosen"


@dataclass(frozen=True)
class Point:
    """What a measured candidate costs and gives; of each the smaller is better but of the quality.

    Attributes:
        ms: median latency in milliseconds.
        size_mb: of the file.
        quality: mIoU, or without labels the share of pixels with the float model's class, in [0, 1].
        memory_mb: what opening and running it adds to a process at its peak; 0 where that is not known.
    """

    ms: float
    size_mb: float
    quality: float
    memory_mb: float

    def beats(self, other: Point) -> bool:
        """Return whether it is at least as good in everything, and better in something."""
        mine, others = ((p.ms, p.size_mb, -p.quality, p.memory_mb) for p in (self, other))
        return mine != others and all(a <= b for a, b in zip(mine, others, strict=True))


def front(points: Sequence[Point]) -> list[int]:
    """Return the places of the points that no other beats."""
    return [place for place, point in enumerate(points) if not any(other.beats(point) for other in points)]


@dataclass(frozen=True)
class TuneResult:
    """What a tuning came to.

    Attributes:
        folder: with the chosen file, its proof, ``tune.json`` and ``tune.html``.
        record: everything that was made, asked and measured.
        reused: whether it is the result of an earlier run with the same arguments, and nothing was measured.
    """

    __repr__ = short_repr

    folder: Path
    record: Record
    reused: bool = False

    @property
    def chosen(self) -> Candidate | None:
        """The file, what runs it, and with how many threads; ``None`` where no file passed."""
        return self.record.chosen

    @property
    def path(self) -> Path | None:
        """The chosen file."""
        return None if self.chosen is None else self.folder / self.chosen.variant.recipe.file_name(self.record.model)

    @property
    def latency(self) -> LatencyResult | None:
        """All calls of the chosen candidate."""
        return next((one.result for one in self.record.measured if one.candidate == self.chosen), None)

    @property
    def failure(self) -> str:
        """Why nothing is chosen, in a sentence without a full stop; empty where something is."""
        if self.chosen is not None:
            return ""
        made = [one for one in self.record.artifacts if one.sha256]
        scored = [one for one in made if one.accuracy is not None]
        if any(not one.failure for one in made):
            return self._why_nothing_runs()
        if scored:
            best = max(scored, key=_quality)
            return f"no file passes its gate; the best is {best.variant}: {best.failure}"
        if made:
            best = max(made, key=lambda one: one.verified or 0.0)
            return f"no file passes its verification; the best is {best.variant}: it {best.failure}"
        reasons = [one.failure for one in self.record.artifacts]
        return f"no file could be made: {reasons[0]}" if reasons else "the budget ended before a file was made"

    def _why_nothing_runs(self) -> str:
        if any(not answer.failure for answer in self.record.answers):
            lost = next((one.lost for one in self.record.measured if one.lost), "")
            return f"no candidate was measured on {self.record.device}: {lost or 'the budget ended before'}"
        reasons = [answer.failure for answer in self.record.answers]
        reason = reasons[0] if reasons else "the budget ended before it was asked"
        return f"{self.record.device} runs no file that passes its gate: {reason}"

    @property
    def sentence(self) -> str:
        """What is chosen and what it gives, in a sentence with a full stop."""
        latency, artifact = self.latency, self._artifact()
        if latency is None or artifact is None:
            return f"{self.failure[0].upper()}{self.failure[1:]}."
        said = f"{self.chosen} takes {_ms(latency)} ms on {self.record.device}"
        if artifact.accuracy is not None and artifact.accuracy.mean_iou is not None:
            float_mean_iou = artifact.accuracy.mean_iou_float or 0.0
            said += f", with a mIoU of {artifact.accuracy.mean_iou:.4f} (float model {float_mean_iou:.4f})"
        elif artifact.accuracy is not None:
            said += f", with the float model's class at {percent(artifact.accuracy.agreement, 2)} of the pixels"
        return f"{said} and {artifact.size_bytes / 1e6:.2f} MB."

    @property
    def command(self) -> str:
        """The command that runs the chosen file as it was measured, on another device one that measures it there.

        Empty where there is none.
        """
        if self.chosen is None or self.path is None:
            return ""
        place, file, device = self.chosen.place, shlex.quote(str(self.path)), shlex.quote(self.record.device)
        if place.accelerator == "cpu":
            said = f"edgeseg predict {file} IMAGE --backend {place.backend} --num-threads {self.chosen.num_threads}"
        elif place.accelerator in get_args(Accelerator):
            said = f"edgeseg predict {file} IMAGE --backend {place.backend} --accelerator {place.accelerator}"
        else:
            said = f"edgeseg predict {file} IMAGE --backend {place.backend} --provider {place.accelerator}"
        if self.record.device == "local":
            return said
        return said.replace(f"edgeseg predict {file} IMAGE", f"edgeseg benchmark {file} --device {device}", 1)

    @property
    def remarks(self) -> list[str]:
        """What a reader must know before the numbers, a sentence each without a full stop."""
        said = []
        if not self.record.complete and self.record.measured:
            said.append("the budget ended before the search did: the same command continues where it stopped")
        elif not self.record.complete:
            said.append("the budget ended before anything was measured")
        latency = self.latency
        if latency is not None:
            said += [f"{self.chosen}: {reason}" for reason in undermined(latency)]
        return said

    def rows(self) -> list[list[str]]:
        """Return a row for each candidate: the chosen, those like it, the others by their latency, what failed."""
        measured = sorted(self.record.measured, key=self._rank)
        rows = [self._measured_row(one) for one in measured]
        for answer in self.record.answers:
            if answer.failure and answer.place not in self._absent:
                rows.append(self._row(answer.variant, str(answer.place), _NONE, None, answer.failure))
        asked = {answer.variant for answer in self.record.answers}
        for artifact in self.record.artifacts:
            if artifact.failure or artifact.variant not in asked:
                reason = artifact.failure or self._why_not_asked(artifact.variant)
                rows.append(self._row(artifact.variant, _NONE, _NONE, None, reason))
        for variant in self.record.unmade:
            rows.append(self._row(variant, _NONE, _NONE, None, "not made: the budget ended"))
        return rows

    def _why_not_asked(self, variant: Variant) -> str:
        asked = {answer.place for answer in self.record.answers if answer.variant.format == variant.format}
        if asked and all(map(self.record.is_missing, asked)):
            return "not asked: nothing ran the other files of its format"
        return "not asked: the budget ended"

    def absent_rows(self) -> list[list[str]]:
        """Return each runtime and accelerator that runs no file there, and why."""
        return [[str(place), reason] for place, reason in self._absent.items()]

    @property
    def _absent(self) -> dict[Place, str]:
        reasons: dict[Place, str] = {}
        for answer in self.record.answers:
            reasons.setdefault(answer.place, answer.failure)
        there = {answer.place for answer in self.record.answers if answer.agreement is not None}
        return {place: reason for place, reason in reasons.items() if place not in there}

    def points(self) -> list[tuple[Measured, Point]]:
        """Return what each measured candidate costs and gives."""
        points = []
        for one in self.record.measured:
            artifact = self.record.artifact(one.candidate.variant)
            if one.result is None or artifact is None:
                continue
            point = Point(
                ms=one.result.median_s * 1e3,
                size_mb=artifact.size_bytes / 1e6,
                quality=_quality(artifact),
                memory_mb=max(one.result.peak_memory_bytes or 0, 0) / 1e6,
            )
            points.append((one, point))
        return points

    def to_dict(self) -> dict[str, Any]:
        """Return the object of ``edgeseg tune --json``; ``tune.json`` has all calls."""
        artifact, latency = self._artifact(), self.latency
        return {
            "model": self.record.model,
            "device": self.record.device,
            "complete": self.record.complete,
            "path": None if self.path is None else str(self.path),
            "chosen": None if self.chosen is None else dataclasses.asdict(self.chosen),
            "artifact": None if artifact is None else dataclasses.asdict(artifact),
            "summary": None if latency is None else dataclasses.asdict(latency.summary),
            "command": self.command,
            "failure": self.failure,
            "remarks": self.remarks,
            "absent": dict(self.absent_rows()),
            "candidates": [dict(zip((name.lstrip(">") for name in COLUMNS), row, strict=True)) for row in self.rows()],
        }

    def _repr_html_(self) -> str:
        """Return the measured candidates as a table, for a notebook."""
        rows = [self._measured_row(one) for one in sorted(self.record.measured, key=self._rank)]
        return html_table(rows, head=[name.lstrip(">") for name in COLUMNS])

    def _artifact(self) -> Artifact | None:
        return None if self.chosen is None else self.record.artifact(self.chosen.variant)

    def _rank(self, one: Measured) -> tuple[bool, bool, bool, float]:
        slow = float("inf") if one.result is None else one.result.median_s
        return one.candidate != self.chosen, not one.tied, one.result is None, slow

    def _measured_row(self, one: Measured) -> list[str]:
        candidate = one.candidate
        outcome = CHOSEN if candidate == self.chosen else one.lost or one.reason
        threads = _NONE if candidate.num_threads is None else str(candidate.num_threads)
        return self._row(candidate.variant, str(candidate.place), threads, one.result, outcome)

    def _row(self, variant: Variant, where: str, threads: str, result: LatencyResult | None, outcome: str) -> list[str]:
        artifact = self.record.artifact(variant)
        accuracy = None if artifact is None else artifact.accuracy
        mean_iou = None if accuracy is None else accuracy.mean_iou
        memory = None if result is None else result.summary.peak_memory_mb
        return [
            variant.recipe.file_name(self.record.model),
            _NONE if variant.target == ANYWHERE else variant.target,
            where,
            threads,
            _NONE if result is None else _ms(result),
            _NONE if mean_iou is None else f"{mean_iou:.4f}",
            _NONE if accuracy is None else percent(accuracy.agreement, 2),
            _NONE if memory is None else f"{memory:.1f}",
            _NONE if artifact is None or not artifact.size_bytes else f"{artifact.size_bytes / 1e6:.2f}",
            _NONE if result is None else str(len(result.rounds) or len(result.reported)),
            outcome,
        ]

    def outcome(self) -> str:
        """Say how many candidates there were and what became of them, for a title."""
        files = sum(bool(one.sha256) for one in self.record.artifacts)
        measured = sum(one.result is not None for one in self.record.measured)
        return f"{counted(files, 'file')} made, {counted(measured, 'candidate')} measured on {self.record.device}"


def _quality(artifact: Artifact) -> float:
    """Return the mIoU; without labels the share of pixels with the float model's class."""
    accuracy = artifact.accuracy
    if accuracy is None:
        return 0.0
    return accuracy.agreement if accuracy.mean_iou is None else accuracy.mean_iou


def _ms(result: LatencyResult) -> str:
    return f"{result.median_s * 1e3:.2f}"
