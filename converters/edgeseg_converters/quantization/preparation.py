"""Prepare a float file for its quantization, by steps that images which did not calibrate judge.

Half of a few calibration images calibrate an integer file, the other half are run by it: the share of their pixels that
keep the float file's class says whether a step is kept. The next step starts from what is kept.
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
from edgeseg.runtime import open_artifact
from edgeseg.segmenter import Segmenter
from edgeseg.spec import ModelSpec
from edgeseg_converters.calibration import CalibrationSet
from edgeseg_converters.correction.biases import correct_biases
from edgeseg_converters.correction.head import narrow_heads
from edgeseg_converters.correction.rounding import choose_rounding
from edgeseg_converters.equalization.equalize import equalize
from edgeseg_converters.options import Quantization, default_method
from edgeseg_converters.quantization.accuracy import EvaluationImages, baseline, compare
from edgeseg_converters.quantization.engines import FloatFile, open_engine
from edgeseg_converters.recipes import AccuracyGate

# The images that are tried, at most: half of them calibrate and half are held out.
_NUM_IMAGES = 32

# A smaller gain in the share of pixels is chance on so few images.
_LEAST_GAIN = 0.0005

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


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a step gave in integers.

    Attributes:
        step: its name.
        choice: which of several ways was best, such as the calibration method; empty where there is one.
        before: share of the pixels of the held-out images that keep their class without it, in [0, 1].
        after: the same with it.
        kept: whether the artifact is made with it.
        seconds: what the trial took.
    """

    __repr__ = short_repr

    step: PtqStep
    choice: str
    before: float
    after: float
    kept: bool
    seconds: float

    @property
    def gain(self) -> float:
        """Points of the pixels, hundredths of all, that it gave; negative where it took some."""
        return (self.after - self.before) * 100

    def to_dict(self) -> dict[str, Any]:
        """Return an object for the JSON of ``export`` and of the report."""
        return {**dataclasses.asdict(self), "gain_points": self.gain}


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """A float file that was prepared, and how.

    Attributes:
        file: to quantize.
        method: derives the ranges.
        num_images: how many images were held out.
        plain: share of their pixels that keep their class in plain int8, in [0, 1].
        trials: of each step that was tried, in order; a model may have no place for a step.
        seconds: what all of it took.
    """

    __repr__ = short_repr

    file: FloatFile
    method: CalibrationMethod
    num_images: int
    plain: float
    trials: tuple[Trial, ...]
    seconds: float

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
            f"{trial.seconds:.0f} s{'' if trial.kept else ', not kept'}"
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
    current = Candidate(source, settings.method or default_method(spec.provenance.precision))
    plain = share = held_out.agreement(current)
    trials = []
    for step in settings.ptq_steps:
        if settings.ptq == "best" and share >= (ENOUGH_TO_ROUND if step == "rounding" else ENOUGH):
            continue
        if progress:
            progress(f"trying {step}", 0, 0)
        began = time.monotonic()
        tried = {choice: (made, held_out.agreement(made)) for choice, made in _STEPS[step](held_out, current)}
        if not tried:
            continue
        choice = max(tried, key=lambda name: tried[name][1])
        candidate, after = tried[choice]
        kept = after - share >= _LEAST_GAIN
        trials.append(
            Trial(
                step=step,
                choice=choice,
                before=share,
                after=after,
                kept=kept,
                seconds=time.monotonic() - began,
            )
        )
        if kept:
            current, share = candidate, after
    return Preparation(
        file=current.file,
        method=current.method,
        num_images=held_out.num_images,
        plain=plain,
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

    def agreement(self, candidate: Candidate) -> float:
        """Return the share of the pixels of the held-out images that keep their class."""
        with Segmenter(open_artifact(self.artifact(candidate, self._format), self._format)) as segmenter:
            return compare(self._answers, segmenter, AccuracyGate()).agreement


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
