"""Define the options of calibration, preparation, gate and rescue that ``export``, ``tune`` and ``quantize`` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from edgeseg.cli._fields import collect, option
from edgeseg_converters.options import DEFAULT_METHOD, Quantization
from edgeseg_converters.recipes import AccuracyGate

F = TypeVar("F", bound=Callable[..., Any])

split = option(Quantization, "split", help="Split of a labeled data set to verify and measure on.")

calibration = (
    option(Quantization, "calibration_split", help="Split of a labeled data set to calibrate on."),
    option(Quantization, "num_calibration_samples", type=click.IntRange(1), help="Images to calibrate with, at most."),
    option(Quantization, "seed", type=click.IntRange(0), help="Seed of the choice of calibration images."),
    option(
        Quantization,
        "method",
        flag="--calibration-method",
        help="How the ranges of the activations follow from the images.",
        if_omitted=f"{DEFAULT_METHOD}, minmax of w8a16",
    ),
    option(
        Quantization,
        "ptq",
        metavar="best|off|LIST",
        help="What prepares for int8, each kept where it helps: equalize, head, ranges, rounding, bias.",
    ),
)

gate = (
    option(
        AccuracyGate,
        "max_drop",
        type=click.FloatRange(0),
        help="Points of mIoU that a file may lose to the float model, where the data has labels.",
    ),
    option(AccuracyGate, "max_class_drop", type=click.FloatRange(0), help="Points of IoU that any one class may lose."),
    option(
        AccuracyGate,
        "min_agreement",
        type=click.FloatRange(0, 1),
        help="Share of pixels that must keep the float model's class, where there are no labels.",
    ),
)

rescue = option(Quantization, "rescue", help="If that is not met, keep the costliest ops in float.")

#: The parameters of ``calibration`` and of ``gate``, for a command's headings.
CALIBRATION = ("calibration_split", "num_calibration_samples", "seed", "method", "ptq")
GATE = ("max_drop", "max_class_drop", "min_agreement")


def made(*, max_drop: float, max_class_drop: float, min_agreement: float, **settings: Any) -> Quantization:
    """Return the settings that the options say; what no option says has its default.

    Args:
        max_drop: of the gate.
        max_class_drop: of the gate.
        min_agreement: of the gate.
        **settings: fields of ``Quantization``.
    """
    limits = AccuracyGate(max_drop=max_drop, max_class_drop=max_class_drop, min_agreement=min_agreement)
    return Quantization(gate=limits, **settings)


def options(function: F) -> F:
    """Add all of them, as one argument ``quantization``."""
    return collect("quantization", made, split, *calibration, *gate, rescue)(function)
