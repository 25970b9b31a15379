"""Define ``TuneOptions``: what a tuning may choose from, its gates and its limits; light, as the commands read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from edgeseg._internal.fields import short_repr
from edgeseg.benchmark.plan import Plan
from edgeseg.choices import Format, Precision
from edgeseg_converters.options import Quantization


@dataclass(frozen=True, kw_only=True)
class TuneOptions:
    """What is tried, and what it must reach.

    Attributes:
        formats: the formats to try; every one when ``None``.
        precisions: the precisions to try; every one that a format has when ``None``.
        accelerators: ``cpu``, ``gpu``, ``npu`` and short names of ONNX Runtime's providers; every one that works on
            the device when ``None``.
        num_threads: on the CPU; 1, 2, 4 and so on up to the device's cores when ``None``.
        quantization: splits, calibration and the accuracy gate, which float files must pass too.
        plan: how long each finalist is timed; a candidate that goes earlier has fewer of its processes.
        budget: minutes after which no step is begun; half of them at most are spent on making files.
        num_images: images that prove each file.
    """

    __repr__ = short_repr

    formats: Sequence[Format] | None = None
    precisions: Sequence[Precision] | None = None
    accelerators: Sequence[str] | None = None
    num_threads: Sequence[int] | None = None
    quantization: Quantization = field(default_factory=Quantization)
    plan: Plan = field(default_factory=lambda: Plan(verify=False))
    budget: float = 60.0
    num_images: int = 8
