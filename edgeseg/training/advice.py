"""Advise which model to train on a data set, at which size and with which options, and say why."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgeseg._internal.fields import short_repr
from edgeseg._internal.text import counted
from edgeseg.datasets.findings import CheckResult
from edgeseg.datasets.statistics import SHRINKS, Size, as_option, as_text, input_size_near
from edgeseg.errors import InputError
from edgeseg.models.zoo.entry import ZooModel
from edgeseg.models.zoo.table import ZOO

# The longest side of an input: 1024x1024 is 5.7 times the 384x480 that took two cores 31 ms (README).
_LONGEST = 1024
# A crop of 256x256 is most of what an encoder of ImageNet's 224x224 was trained to see at once.
_CROP = 256
# 24 steps of 8: with fewer between two validations a small set is scored more than it is learned.
_BATCH, _STEPS = 8, 24
# Made for one subject, and not tried on others.
_SPECIAL = ("person",)
# What two cores do in about half an hour with crops of 256x256; fewer epochs than five end before a set is learned.
_MOST_STEPS, _EPOCHS = 1500, (5, 20)
# Where the image's scale in the input differs by more from its own, the crops are scaled as the input is.
_SAME_SCALE = 0.8, 1.25
# The scales of the preset "crop", at which training shows images.
_CROP_SCALES = 0.6, 1.6
# Below this share of the pixels a class needs its weight.
_RARE = 0.05
# Seconds that two cores of an AMD EPYC train on a pixel of a crop: 367 crops of 256x320 in 68 s.
_SECONDS_A_PIXEL = 68 / (367 * 256 * 320)
# Of an epoch besides, for its files and images and its share of the start: 20 epochs of 192 crops of 128x128 took
# 459 s of CPU time.
_SECONDS_AN_EPOCH = 4.4
# Of a validation, which has no backward pass.
_FORWARD = 1 / 3

#: Measures the latency of a model at a size ``(H, W)`` on this machine, in milliseconds.
Measure = Callable[[ZooModel, Size], float]


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What to train, and why.

    Attributes:
        model: a name of the zoo.
        input_size: ``(H, W)`` of the model's input, in pixels.
        options: the options of ``edgeseg train``, as they are typed.
        reasons: for each of them, and for the model, a sentence.
        minutes: of the training on two cores, estimated.
        needs_split: whether the data has to be split first.
        measured: latency at each size ``(H, W)`` that was tried, in milliseconds; empty where none was asked for.
    """

    __repr__ = short_repr

    model: str
    input_size: Size
    options: dict[str, str]
    reasons: dict[str, str]
    minutes: float
    needs_split: bool
    measured: dict[Size, float]

    def command(self, data_arguments: str) -> str:
        """Return the command to type, quoted for a shell.

        Args:
            data_arguments: ``--data DIR`` and what else says how the data is read, quoted.
        """
        options = " ".join(f"{name} {value}" for name, value in self.options.items())
        return f"edgeseg train {shlex.quote(self.model)} {data_arguments} {options}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "model": self.model,
            "input_size": list(self.input_size),
            "options": self.options,
            "reasons": self.reasons,
            "estimated_minutes": round(self.minutes, 1),
            "measured": [{"input_size": list(size), "median_ms": ms} for size, ms in self.measured.items()],
        }


def advise(data: CheckResult, *, latency_ms: float | None = None, measure: Measure | None = None) -> Advice:
    """Choose a model, its size and the options of its training from what a check of the data found.

    Args:
        data: the check of all splits, without errors.
        latency_ms: how long an image may take, in milliseconds; the input shrinks until it does.
        measure: measures that; needed with ``latency_ms``.

    Raises:
        InputError: the data has errors or no image, or no size is as fast.
    """
    num_images = sum(data.num_pairs.values())
    if data.errors or not num_images:
        found = counted(len(data.errors), "error") if data.errors else "no image"
        raise InputError(f"the data has {found}, so nothing is advised; edgeseg data check lists what is wrong.")
    model, work = _model()
    median = _upright(data)
    size = _input_size(median)
    measured: dict[Size, float] = {}
    if latency_ms is not None:
        assert measure is not None
        size = _fast(model, size, latency_ms, measure, measured)
    split = "train" if "train" in data.num_pairs else ""
    num_training = data.num_pairs[split] if split else max(1, round(0.8 * num_images))
    num_validation = data.num_pairs.get("val", max(1, round(0.1 * num_images)))
    options, reasons = {}, {"model": _why(model, work, size)}

    def give(option: str, value: str, reason: str) -> None:
        options[option], reasons[option] = value, reason

    if split and "val" not in data.num_pairs:
        give("--val-fraction", "0.1", "there is no val: a tenth of train is held out")
    give("--encoder-weights", "imagenet", "the encoder knows edges and textures already, from a package; no download")
    factor = min(own / other for own, other in zip(size, median, strict=True))
    give("--imgsz", as_option(size), _of_size(size, median, factor, latency_ms, measured))
    crop = (min(size[0], _CROP), min(size[1], _CROP))
    if crop != size:
        give("--crop-size", as_option(crop), "what a step learns from: pieces cost less than whole images")
    if not _SAME_SCALE[0] <= factor <= _SAME_SCALE[1]:
        low, high = (f"{factor * scale:.2g}" for scale in _CROP_SCALES)
        give("--scale", f"{low} {high}", f"the input has images at {factor:.2g} times their size: so do the crops")
    repeat = math.ceil(_BATCH * _STEPS / num_training)
    if repeat > 1:
        give("--repeat", str(repeat), f"{num_training} images are few: each is cut {repeat} times in an epoch")
    crops = num_training * repeat  # of an epoch
    epochs = max(_EPOCHS[0], min(_EPOCHS[1], round(_MOST_STEPS * _BATCH / crops)))
    pixels = epochs * (crops * math.prod(crop) + _FORWARD * num_validation * math.prod(size))
    minutes = (pixels * _SECONDS_A_PIXEL + epochs * _SECONDS_AN_EPOCH) / 60
    time = f"about {max(1, round(minutes))} min on two idle cores"
    give("--epochs", str(epochs), f"{epochs * (crops // _BATCH)} steps, {time}; more may give more")
    give("--loss", "cross-entropy+dice", "Dice counts a class by its shape, whatever its share of the pixels")
    shares = data.shares(split or next(iter(data.num_pairs)))
    rarest = min((share for share in shares if share > 0), default=0.0)
    if rarest >= _RARE:
        give("--class-weights", "none", f"no class is rare: the least has {100 * rarest:.0f} % of the pixels")
    return Advice(
        model=model.name,
        input_size=size,
        options=options,
        reasons=reasons,
        minutes=minutes,
        needs_split=not split,
        measured=measured,
    )


def _model() -> tuple[ZooModel, list[tuple[float, ZooModel]]]:
    """Return the model for any subject with the least work a pixel, and all of them with theirs, from the least on."""
    models = [each for each in ZOO.values() if each.name not in _SPECIAL]
    work = sorted(((each.gflops / math.prod(each.default_size), each) for each in models), key=lambda one: one[0])
    return work[0][1], work


def _why(model: ZooModel, work: list[tuple[float, ZooModel]], size: Size) -> str:
    least, (more, second) = work[0][0], work[1]
    pixels = math.prod(size)
    return (
        f"the least work of the models for any subject, {least * pixels:.2g} GFLOPs at {as_text(size)} ({second.name}: "
        f"{more * pixels:.2g}), {model.parameters / 1e6:.1f} M parameters, and the best of those trained on CamVid"
    )


def _upright(data: CheckResult) -> Size:
    """Return the median size; of images of both orientations a square of its area."""
    height, width = data.sizes.median
    low, high = data.sizes.aspect
    if low < 1 / _SAME_SCALE[1] and high > _SAME_SCALE[1]:
        side = round(math.sqrt(height * width))
        return side, side
    return height, width


def _input_size(median: Size) -> Size:
    return input_size_near(median, min(1.0, _LONGEST / max(median)))


def _fast(model: ZooModel, size: Size, limit_ms: float, measure: Measure, measured: dict[Size, float]) -> Size:
    """Return the largest size tried that is as fast; the time goes about with the area."""
    first = size
    while True:
        measured[size] = measure(model, size)
        if measured[size] <= limit_ms:
            return size
        # A little below what the area says, so that noise does not cost another measurement.
        scale = math.sqrt(0.95 * math.prod(size) * limit_ms / measured[size] / math.prod(first))
        smaller = input_size_near(first, scale)
        if smaller in measured or math.prod(smaller) >= math.prod(size):
            smaller = input_size_near((size[0] - 32, size[1] - 32))
        if smaller in measured:
            tried = ", ".join(f"{as_text(each)} {ms:.1f} ms" for each, ms in measured.items())
            raise InputError(
                f"{model.name} takes longer than {limit_ms:g} ms on this machine ({tried}); give a --latency above "
                f"{min(measured.values()):.1f}."
            )
        size = smaller


def _of_size(size: Size, median: Size, factor: float, limit_ms: float | None, measured: dict[Size, float]) -> str:
    text = f"the images' median is {as_text(median)}"
    if limit_ms is not None:
        tried = ", ".join(f"{as_text(each)} {ms:.1f} ms" for each, ms in measured.items())
        text += f"; measured on this machine: {tried}, of {limit_ms:g} ms"
    elif max(median) > _LONGEST:
        text += f", cut to {_LONGEST} for the longer side"
    if factor < 1 / SHRINKS:
        text += f"; what is less than {1 / factor:.1f} pixels wide in an image vanishes"
    return text
