"""Define the content of a report: the measured facts of every artifact, and the sentences that follow from them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeseg._internal.json import as_json
from edgeseg._internal.versions import __version__
from edgeseg.benchmark import LatencyResult
from edgeseg.choices import Format, Precision
from edgeseg.spec import ModelSpec
from edgeseg_converters.calibration import CalibrationSet, Stability
from edgeseg_converters.quantization.accuracy import Accuracy
from edgeseg_converters.quantization.domain_shift import Domain
from edgeseg_converters.quantization.preparation import Preparation
from edgeseg_converters.quantization.rescue import Rescue
from edgeseg_converters.report.gallery import Change
from edgeseg_converters.tflite.layer_errors import LayerError
from edgeseg_converters.verification.comparison import Verification
from edgeseg_converters.verification.half_arithmetic import HalfVerification

FORMAT_VERSION = 1

# Below this share of the float file's time an artifact is called faster; a smaller difference may be noise.
_FASTER = 0.95
# A spread of the timed calls above this is too wide to tell neighbors apart.
_UNSTABLE_SPREAD = 0.2


@dataclass(frozen=True)
class Measured:
    """The measurements of one file; ``None`` for those not taken.

    Attributes:
        size_bytes: of the file.
        latency: of one call of the runtime, and the memory that it takes.
        accuracy: compared with the float model.
    """

    size_bytes: int
    latency: LatencyResult | None = None
    accuracy: Accuracy | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return an object for the JSON of the report."""
        accuracy = None
        if self.accuracy is not None:
            accuracy = {**self.accuracy.to_dict(), "changed": list(self.accuracy.changed)}
        return {
            "size_bytes": self.size_bytes,
            "latency": None if self.latency is None else self.latency.to_dict(),
            "peak_memory_bytes": None if self.latency is None else self.latency.peak_memory_bytes,
            "accuracy": accuracy,
        }


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One artifact.

    Attributes:
        format: of the file.
        precision: of the file.
        measured: its measurements.
        verification: the proof against the Keras model; ``None`` when it was not requested.
        rescue: what was kept in float to pass the gate; ``None`` where no rescue was needed.
        without_rescue: the file before the rescue.
        layers: its tensors compared with the float file's, the worst first; ``None`` where they were not measured, as
            for ONNX.
        gallery: the images that changed most.
        same_indices: for each pooling with indices, the share of the windows with the maximum at the same place as in
            float.
        preparation: what prepared the float file; ``None`` where nothing did.
        half: whether an fp16 ``.tflite`` asks for half precision; ``None`` for others.
    """

    format: Format
    precision: Precision
    measured: Measured
    verification: Verification | None = None
    rescue: Rescue | None = None
    without_rescue: Measured | None = None
    layers: tuple[LayerError, ...] | None = None
    gallery: tuple[Change, ...] = ()
    same_indices: tuple[float, ...] | None = None
    preparation: Preparation | None = None
    half: HalfVerification | None = None

    @property
    def name(self) -> str:
        """Precision and format, ``int8 tflite``."""
        return f"{self.precision} {self.format}"

    @property
    def gated(self) -> bool:
        """Whether any gate applied to it."""
        return self.measured.accuracy is not None or self.verification is not None

    @property
    def passed(self) -> bool:
        """Whether it failed none of its gates; see ``gated``."""
        gates = all(gate is None or gate.passed for gate in (self.measured.accuracy, self.verification))
        return gates and not (self.half and self.half.rejected)

    @property
    def verdict(self) -> str:
        """Whether it passed or failed, and why: a sentence without its full stop."""
        reasons = [gate.reason for gate in (self.measured.accuracy, self.verification) if gate and not gate.passed]
        if self.half and self.half.rejected:
            reasons.append(f"no half arithmetic, as {self.half.reason}")
        if reasons:
            return f"failed: {'; '.join(reasons)}"
        accuracy = self.measured.accuracy
        if accuracy is None:
            return "passed" if self.gated else "not checked against any gate"
        if accuracy.mean_iou is None:
            return f"passed: {accuracy.agreement:.2%} of the pixels kept their class"
        worst, drop = accuracy.worst_class
        return f"passed: mIoU {-accuracy.drop:+.1f} points, the worst class '{worst}' {-drop:+.1f}"

    def to_dict(self) -> dict[str, Any]:
        """Return an entry of ``artifacts`` in the JSON of the report, with values not yet converted to JSON's."""
        return {
            "format": self.format,
            "precision": self.precision,
            "passed": self.passed if self.gated else None,
            "verdict": self.verdict,
            **self.measured.to_dict(),
            "verification": self.verification,
            "rescue": None if self.rescue is None else self.rescue.to_dict(),
            "without_rescue": None if self.without_rescue is None else self.without_rescue.to_dict(),
            "layers": self.layers,
            "gallery": [change.to_dict() for change in self.gallery],
            "same_indices": self.same_indices,
            "preparation": None if self.preparation is None else self.preparation.to_dict(),
            "half_arithmetic": self.half,
        }


@dataclass(frozen=True, kw_only=True)
class Report:
    """The cost and the gain of quantizing a model.

    Attributes:
        model: name of the model.
        spec: names and colors of the classes, and the input.
        entries: the artifacts, the float ones first.
        calibration: the images that gave the ranges; ``None`` where none were needed.
        stability: whether the images were enough.
        domain: whether the images are of the kind that the model was trained on.
        tools: package name to version, of every tool that took part.

    Examples:
        >>> save(Report(model="unet_mini", spec=spec, entries=entries), "unet_mini.report.html")
    """

    model: str
    spec: ModelSpec
    entries: tuple[Entry, ...]
    calibration: CalibrationSet | None = None
    stability: Stability | None = None
    domain: Domain | None = None
    tools: Mapping[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether there were gates, and every artifact met its own."""
        return any(entry.gated for entry in self.entries) and all(entry.passed for entry in self.entries)

    @property
    def headline(self) -> str:
        """One line that says which artifacts passed, or which failed and which class fell."""
        failed = [f"{entry.name} {entry.verdict}" for entry in self.entries if not entry.passed]
        if failed:
            return f"{'; '.join(failed)}."
        verdicts = [f"{entry.name} {entry.verdict}" for entry in self.entries if entry.measured.accuracy]
        verdicts = verdicts or [f"{entry.name} {entry.verdict}" for entry in self.entries if entry.gated]
        return f"{'; '.join(verdicts)}." if verdicts else "No artifact was compared with the model."

    def float_entry(self, file_format: Format) -> Entry | None:
        """Return the float32 artifact of a format, to which the others of that format are compared."""
        return next((e for e in self.entries if e.format == file_format and e.precision == "fp32"), None)

    @property
    def timed(self) -> LatencyResult | None:
        """One latency of the report, for what is the same in all of them."""
        return next((entry.measured.latency for entry in self.entries if entry.measured.latency), None)

    @property
    def runtimes(self) -> list[str]:
        """Name and version of each runtime that was timed."""
        return sorted({entry.measured.latency.runtime for entry in self.entries if entry.measured.latency})

    def remarks(self) -> list[str]:
        """Return what a reader must know before trusting the numbers."""
        return [*self._about_images(), *self._about_speed(), *self._about_half(), *self._about_layers()]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON, without the images; NaN and infinity are null."""
        content = {
            "format_version": FORMAT_VERSION,
            "edgeseg": __version__,
            "model": self.model,
            "passed": self.passed,
            "headline": self.headline,
            "remarks": self.remarks(),
            "spec": json.loads(self.spec.to_json()),
            "tools": self.tools,
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "stability": self.stability,
            "domain": None if self.domain is None else self.domain.to_dict(),
            "environment": None if self.timed is None else self.timed.environment,
            "artifacts": [entry.to_dict() for entry in self.entries],
        }
        return as_json(content)

    def _about_images(self) -> Iterator[str]:
        measured = [entry.measured.accuracy for entry in self.entries if entry.measured.accuracy]
        if measured and all(accuracy.mean_iou is None for accuracy in measured):
            yield (
                "There were no labels: only the share of pixels that kept the float model's class is known, "
                "not whether either is right."
            )
        if self.calibration and any(accuracy.source == self.calibration.source for accuracy in measured):
            yield (
                f"The accuracy was measured on '{self.calibration.source}', of which the calibration took its images."
            )
        if self.stability and not self.stability.stable:
            name, share = self.stability.worst
            yield (
                f"The calibration images were too few: in one of ten tensors the range over half of them is at least "
                f"{self.stability.disagreement:.0%} narrower than the range over all; in '{name}' {share:.0%}."
            )

        if self.domain and not self.domain.alike:
            yield (
                "The calibration images look unlike those that the model was trained on: the variance of its "
                f"channels, which batch normalization stores, differs by a factor of {self.domain.factor:.1f}; 1.1 "
                "to 1.3 is usual."
            )

    def _about_speed(self) -> Iterator[str]:
        for entry in self.entries:
            base, latency = self.float_entry(entry.format), entry.measured.latency
            if latency is None:
                continue
            if latency.spread > _UNSTABLE_SPREAD:
                yield f"The times of {entry.name} are unstable: their spread is {latency.spread:.0%} of the median."
            if base in (None, entry) or base.measured.latency is None:
                continue
            ratio = latency.median_s / base.measured.latency.median_s
            if ratio > _FASTER:
                word = "slower than" if ratio > 1 / _FASTER else "as fast as"
                yield (
                    f"{entry.name} is not faster than {base.name} here: {latency.median_s * 1e3:.2f} ms against "
                    f"{base.measured.latency.median_s * 1e3:.2f} ms, {word} float on this machine. Its speed on the "
                    "device must be measured there."
                )

    def _about_half(self) -> Iterator[str]:
        for entry in self.entries:
            if entry.half and entry.half.written:
                yield f"{entry.name} {entry.half.sentence}."
            elif entry.half:
                yield f"{entry.name} computes in float32 on every CPU, without half arithmetic, as {entry.half.reason}."

    def _about_layers(self) -> Iterator[str]:
        for entry in self.entries:
            if entry.same_indices:
                shares = ", ".join(f"{share:.1%}" for share in entry.same_indices)
                yield (
                    f"{entry.name} takes the maximum of a pooling window from the same place as float in {shares} of "
                    "the windows, pooling by pooling; in the others what is decoded from it moves by a pixel."
                )
        names = [e.name for e in self.entries if e.layers is None and e.measured.accuracy and e.format != "tflite"]
        if names:
            yield f"The layers of {', '.join(names)} were not compared: only those of TFLite files are."
