"""Prepare a float file for its quantization, by steps that images which did not calibrate judge.

Half of a few calibration images calibrate an integer file, the other half are run by it: the share of their pixels that
keep the float file's class says whether a step is kept. So that a rare class does not pay for a large one, the mean
IoU of the classes with the float file's must not fall by it. The next step starts from what is kept. A few images can
err: what made a file fail its gate, which has labels or many images, is taken back.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeseg._internal.fields import short_repr
from edgeseg._internal.progress import StepProgress
from edgeseg._internal.text import counted
from edgeseg.choices import CalibrationMethod, Format, PtqStep
from edgeseg.evaluation.confusion import ConfusionMatrix
from edgeseg.runtime import open_artifact
from edgeseg.segmenter import Segmenter
from edgeseg.spec import ModelSpec
from edgeseg_converters.calibration import CalibrationSet
from edgeseg_converters.correction.biases import correct_biases
from edgeseg_converters.correction.head import narrow_heads
from edgeseg_converters.correction.rounding import choose_rounding
from edgeseg_converters.equalization.equalize import equalize
from edgeseg_converters.options import Quantization, default_method
from edgeseg_converters.quantization.accuracy import EvaluationImages, baseline
from edgeseg_converters.quantization.engines import FloatFile, open_engine

# The images that are tried, at most: half of them calibrate and half are held out.
_NUM_IMAGES = 32

# A smaller gain in the share of pixels is chance on so few images, and so is a smaller part of the pixels that change
# their class: of the steps in ``benchmarks/int8_accuracy.py``, some that brought back 2 to 8 % of them lost up to 1.3
# points of mIoU on other images.
_LEAST_GAIN, _LEAST_PART = 0.0005, 0.1

#: Where plain int8 keeps this share, ``best`` tries nothing: every export would take minutes to win what its classes do
#: not lose. The packaged model loses 0.18 points of mIoU where 99.40 % of the pixels keep their class.
ENOUGH = 0.99

#: Where the steps before keep this share, ``best`` leaves the rounding as it is: it gains least, as weights of 8 bits,
#: with a scale for each channel, err less than activations. On the packaged model with ReLU in place of ReLU6, where
#: 97.5 % of the pixels of 8 held-out images keep their class, it gained nothing.
ENOUGH_TO_ROUND = 0.98


# ``entropy`` is not among them: its arithmetic takes most of the time of all four, and of them it lost most on the
# packaged model, see ``options.DEFAULT_METHOD``.
_METHODS: tuple[CalibrationMethod, ...] = ("minmax", "percentile", "mse")


@dataclass(frozen=True)
class Candidate:
    """What an integer file is made of.

    Attributes:
        file: the float file.
        method: derives the ranges.
    """

    __repr__ = short_repr

    file: FloatFile
    method: CalibrationMethod


def enough(before: float, after: float) -> bool:
    """Return whether a share of pixels has grown by more than chance."""
    return after - before >= max(_LEAST_GAIN, _LEAST_PART * (1 - before))


@dataclass(frozen=True)
class Agreement:
    """How far an integer file agrees with the float file.

    Attributes:
        pixels: share of the pixels with the same class, in [0, 1].
        classes: IoU of the two files' pixels of a class, the mean over the classes that occur, in [0, 1].
    """

    pixels: float
    classes: float

    def is_better_than(self, other: Agreement) -> bool:
        """Return whether more pixels agree, by more than chance, and the classes not less."""
        return enough(other.pixels, self.pixels) and self.classes >= other.classes


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a step gave in integers.

    Attributes:
        step: its name.
        choice: which of several ways was best, such as the calibration method; empty where there is one.
        before: share of the pixels of the held-out images that keep their class without it, in [0, 1].
        after: the same with it.
        class_gain: points of the mean IoU of the classes with the float file's that it gave; negative where it took
            some.
        kept: whether the artifact is made with it.
        taken_back: whether it was kept until the accuracy gate failed.
        seconds: what the trial took.
    """

    __repr__ = short_repr

    step: PtqStep
    choice: str
    before: float
    after: float
    class_gain: float
    kept: bool
    taken_back: bool = False
    seconds: float

    @property
    def gain(self) -> float:
        """Points of the pixels, hundredths of all, that it gave; negative where it took some."""
        return (self.after - self.before) * 100

    @property
    def verdict(self) -> str:
        """Whether it was kept, and why not where that is not seen from its gain; empty where it was."""
        if self.kept:
            return ""
        if self.taken_back:
            return ", taken back as the gate failed"
        rare = enough(self.before, self.after)
        return ", not kept" + (f" as the mean over the classes fell by {-self.class_gain:.2f}" if rare else "")

    def to_dict(self) -> dict[str, Any]:
        """Return an object for the JSON of ``export`` and of the report."""
        return {**dataclasses.asdict(self), "gain_points": self.gain}


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """A float file that was prepared, and how.

    Attributes:
        stages: what is quantized without steps, and with each one more that was kept.
        num_images: how many images were held out.
        plain: share of their pixels that keep their class in plain int8, in [0, 1].
        trials: of each step that was tried, in order; a model may have no place for a step.
        seconds: what all of it took.
    """

    __repr__ = short_repr

    stages: tuple[Candidate, ...]
    num_images: int
    plain: float
    trials: tuple[Trial, ...]
    seconds: float

    @property
    def file(self) -> FloatFile:
        """The float file to quantize."""
        return self.stages[-1].file

    @property
    def method(self) -> CalibrationMethod:
        """What derives its ranges."""
        return self.stages[-1].method

    def without_last(self) -> Preparation | None:
        """Return it without the last step that was kept; ``None`` where there is none."""
        last = max((index for index, trial in enumerate(self.trials) if trial.kept), default=None)
        if last is None:
            return None
        trials = list(self.trials)
        trials[last] = dataclasses.replace(trials[last], kept=False, taken_back=True)
        return dataclasses.replace(self, stages=self.stages[:-1], trials=tuple(trials))

    @property
    def share(self) -> float:
        """Share of the pixels that keep their class with the steps that were kept, in [0, 1]."""
        return next((trial.after for trial in reversed(self.trials) if trial.kept), self.plain)

    @property
    def sentence(self) -> str:
        """What each step gave, in points of the pixels of the held-out images, for a terminal and the report."""
        images = counted(self.num_images, "held-out image")
        if not self.trials:
            return f"{self.plain:.2%} of the pixels of {images} keep their class in plain int8; nothing was tried."
        steps = ", ".join(
            f"{trial.step}{f' ({trial.choice})' if trial.choice else ''} {trial.gain:+.2f} points in "
            f"{trial.seconds:.0f} s{trial.verdict}"
            for trial in self.trials
        )
        return (
            f"{self.plain:.2%} of the pixels of {images} keep their class in plain int8, {self.share:.2%} in this "
            f"file: {steps}; {self.seconds / 60:.1f} minutes in all."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return an object for the JSON of ``export`` and of the report."""
        return {
            "sentence": self.sentence,
            "num_images": self.num_images,
            "plain": self.plain,
            "share": self.share,
            "method": self.method,
            "trials": [trial.to_dict() for trial in self.trials],
            "seconds": self.seconds,
        }


def prepare(
    source: FloatFile,
    spec: ModelSpec,
    file_format: Format,
    images: CalibrationSet,
    settings: Quantization,
    *,
    progress: StepProgress | None = None,
) -> Preparation:
    """Try the steps that may prepare a float file, and keep those by which more pixels keep their class.

    Args:
        source: the float file.
        spec: of the artifact.
        file_format: of the artifact.
        images: to calibrate with; half of a few of them are held out and measured on.
        settings: which steps, and the calibration method where it is given.
        progress: called at the start of each step.

    Raises:
        InputError: an image does not decode.
    """
    start = time.monotonic()
    held_out = _HeldOut(source, spec, file_format, images)
    stages = [Candidate(source, settings.method or default_method(spec.provenance.precision))]
    plain = best = held_out.agreement(stages[0])
    trials = []
    for step in settings.ptq_steps:
        if settings.ptq == "best" and best.pixels >= (ENOUGH_TO_ROUND if step == "rounding" else ENOUGH):
            continue
        if progress:
            progress(f"trying {step}", 0, 0)
        began = time.monotonic()
        tried = {choice: (made, held_out.agreement(made)) for choice, made in _STEPS[step](held_out, stages[-1])}
        if not tried:
            continue
        choice = max(tried, key=lambda name: (tried[name][1].is_better_than(best), tried[name][1].pixels))
        candidate, after = tried[choice]
        kept = after.is_better_than(best)
        trials.append(
            Trial(
                step=step,
                choice=choice,
                before=best.pixels,
                after=after.pixels,
                class_gain=(after.classes - best.classes) * 100,
                kept=kept,
                seconds=time.monotonic() - began,
            )
        )
        if kept:
            stages.append(candidate)
            best = after
    return Preparation(
        stages=tuple(stages),
        num_images=held_out.num_images,
        plain=plain.pixels,
        trials=tuple(trials),
        seconds=time.monotonic() - start,
    )


class _HeldOut:
    """Judge candidates by the images that did not calibrate them."""

    def __init__(self, source: FloatFile, spec: ModelSpec, file_format: Format, images: CalibrationSet) -> None:
        tried = images.first(_NUM_IMAGES)
        self.spec, self._format = spec, file_format
        self.images = dataclasses.replace(tried, paths=tried.paths[::2], progress=None)
        held_out = EvaluationImages(tried.paths[1::2], None, images.source)
        self.num_images = len(held_out.paths)
        with Segmenter(open_artifact(source.data, source.format), spec=source.spec) as segmenter:
            self._answers = baseline(segmenter, held_out)

    def artifact(self, candidate: Candidate, file_format: Format) -> bytes:
        """Make an integer file of the half that calibrates."""
        return open_engine(candidate.file, self.spec, file_format, self.images, candidate.method).build()

    def agreement(self, candidate: Candidate) -> Agreement:
        """Compare an integer file with the float file on the held-out images."""
        matrix = ConfusionMatrix(self.spec.num_classes)
        with Segmenter(open_artifact(self.artifact(candidate, self._format), self._format)) as segmenter:
            for (image_rgb, _), before in zip(self._answers.images, self._answers.class_maps, strict=True):
                matrix.update(before, segmenter(image_rgb).class_map)
        return Agreement(matrix.pixel_accuracy, matrix.mean_iou)


Step = Callable[[_HeldOut, Candidate], Iterable[tuple[str, Candidate]]]


def _equalized(held_out: _HeldOut, candidate: Candidate) -> Iterable[tuple[str, Candidate]]:
    file = candidate.file
    data = equalize(file.data, file.format, held_out.images, file.spec)
    if data != file.data:
        yield "", _with(candidate, data)


def _headed(held_out: _HeldOut, candidate: Candidate) -> Iterable[tuple[str, Candidate]]:
    file = candidate.file
    if file.spec.output_kind == "argmax":
        narrow = narrow_heads(file.data, file.format, held_out.images, file.spec)
        yield from zip(("centered", "cut off"), (_with(candidate, data) for data in narrow), strict=False)


def _ranged(held_out: _HeldOut, candidate: Candidate) -> Iterable[tuple[str, Candidate]]:
    for method in _METHODS:
        if method != candidate.method:
            yield method, dataclasses.replace(candidate, method=method)


def _rounded(held_out: _HeldOut, candidate: Candidate) -> Iterable[tuple[str, Candidate]]:
    file = candidate.file
    if (data := choose_rounding(file.data, file.format, held_out.images, file.spec)) is not None:
        yield "", _with(candidate, data)


def _corrected(held_out: _HeldOut, candidate: Candidate) -> Iterable[tuple[str, Candidate]]:
    file = candidate.file
    artifact = held_out.artifact(candidate, file.format)
    if (data := correct_biases(file.data, artifact, file.format, held_out.images, file.spec)) is not None:
        yield "", _with(candidate, data)


def _with(candidate: Candidate, data: bytes) -> Candidate:
    return dataclasses.replace(candidate, file=dataclasses.replace(candidate.file, data=data))


_STEPS: Mapping[PtqStep, Step] = {
    "equalize": _equalized,
    "head": _headed,
    "ranges": _ranged,
    "rounding": _rounded,
    "bias": _corrected,
}
