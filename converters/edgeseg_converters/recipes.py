"""Formats and precisions: one table for the Python API, the command line and the file names.

======== ===================================== =============================
name     weights and activations               agreement gate (share of pixels)
======== ===================================== =============================
fp32     float32                               0.999
fp16     float16 weights                       0.995
======== ===================================== =============================

An ``fp16`` ONNX file computes in float16 where the provider can; an ``fp16`` TFLite file stores float16 and the
delegate decides (XNNPACK on x86 computes in float32, a GPU in float16).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from edgeseg.errors import InputError
from edgeseg.spec import Format, Precision


@dataclass(frozen=True)
class Gate:
    """What an artifact must reach against the Keras model.

    Attributes:
        min_agreement: share of pixels with the same class, in [0, 1].
        max_relative_error: largest difference of a logit over the largest logit; ``None`` where the precision
            itself moves logits and only the classes count.
        max_unstable: for a model with pooling indices. Which of two values within float rounding wins is chance, and
            the winner moves all that is decoded from it. Where such a model's own logits move by more than
            ``max_relative_error`` under one rounding of its input, this share of the pixels may do so too. Measured
            on SegNet with calibrated random weights: none on white noise, 0.03 % on street pictures, up to 2.8 % on
            1/f noise.
    """

    min_agreement: float
    max_relative_error: float | None
    max_unstable: float = 0.05


GATES: dict[Precision, Gate] = {
    "fp32": Gate(min_agreement=0.999, max_relative_error=1e-3),
    "fp16": Gate(min_agreement=0.995, max_relative_error=None),
}


@dataclass(frozen=True)
class Recipe:
    """What is made: a format and a precision.

    Raises:
        InputError: one that this edgeseg does not make.
    """

    format: Format
    precision: Precision

    def __post_init__(self) -> None:
        for what, given, accepted in (("format", self.format, get_args(Format)), ("precision", self.precision, GATES)):
            if given not in accepted:
                raise InputError(f"unknown {what} '{given}'; accepted: {', '.join(accepted)}.")

    @property
    def gate(self) -> Gate:
        """What the artifact must reach."""
        return GATES[self.precision]

    def file_name(self, model_name: str) -> str:
        """``<model>.<precision>.<format>``."""
        return f"{model_name}.{self.precision}.{self.format}"
