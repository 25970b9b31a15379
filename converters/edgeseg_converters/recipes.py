"""Define the formats and precisions: one table for the Python API, the command line and the file names.

======== ===================================== ================================ ================================
name     weights and activations               formats                          agreement gate (share of pixels)
======== ===================================== ================================ ================================
fp32     float32                               tflite, onnx, mnn, openvino      0.999
fp16     float16 weights                       tflite, onnx, mnn, openvino      0.995
dynamic  int8 weights, float32 activations     tflite                           0.95
int8     int8, uint8 image in, class map out   tflite, onnx, openvino           0.9
w8a16    int8 weights, int16 activations       tflite                           0.95
======== ===================================== ================================ ================================

The class map is scores where ``output_kind`` asks for them: of two classes in ``int8``, of any number in the floats.

An ``fp16`` ONNX file computes in float16 where the provider can; an ``fp16`` TFLite file stores float16, and computes
in it on a GPU, and on a CPU that does so natively where the file asks for it (``ExportOptions.half_arithmetic``). Those
of MNN and OpenVINO store float16 and compute in float32, as edgeseg asks of these runtimes. The integer precisions have
a gate of their own beside this one, on labeled images and for every class: ``AccuracyGate``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from edgeseg._internal.fields import short_repr
from edgeseg.choices import FORMAT_SUFFIXES, INTEGERS, Format, Precision, Target
from edgeseg.errors import InputError

#: The newest opset that tf2onnx writes is 18; 17 is the first that most of ONNX Runtime's providers had.
DEFAULT_OPSET = 17

#: 13 is the first with today's Resize, Split and Squeeze; 18 is the last that tf2onnx writes.
OPSETS = range(13, 19)


@dataclass(frozen=True)
class VerificationGate:
    """What an artifact must reach against the Keras model.

    Attributes:
        min_agreement: share of pixels with the same class, in [0, 1].
        max_relative_error: largest difference of a logit over the largest logit; ``None`` where the precision
            itself moves logits and only the classes count.
        rounding: for a model with pooling indices, how much noise the Keras model gets to find the pixels that it
            decides by rounding, relative to the largest value of its input; ``None`` where no pixel is excused.
        max_unsteady: the largest share of such pixels, in [0, 1], so that at least a quarter of the pixels prove the
            artifact. SegNet with calibrated random weights: 2 to 33 % on images without bars, where Keras changes 0 to
            3 %; 52 % where half of the image is bars and Keras changes 33 %; 76 to 81 % where two thirds are.
    """

    __repr__ = short_repr

    min_agreement: float
    max_relative_error: float | None
    rounding: float | None = None
    max_unsteady: float = 0.75


@dataclass(frozen=True)
class AccuracyGate:
    """What a quantized artifact may lose.

    Attributes:
        max_drop: points of mIoU (0.01 of it each).
        max_class_drop: points of IoU of any one class.
        min_agreement: without labels: share of pixels that must keep their class, in [0, 1].
    """

    __repr__ = short_repr

    max_drop: float = 1.0
    max_class_drop: float = 3.0
    min_agreement: float = 0.95


GATES: dict[Precision, VerificationGate] = {
    # A step of float32 is 6e-8 of a value. A sum of hundreds of products in another order is off by about 1e-6.
    "fp32": VerificationGate(min_agreement=0.999, max_relative_error=1e-3, rounding=1e-6),
    # Half a step of float16, by which each layer rounds its weights, and in ONNX its map.
    "fp16": VerificationGate(min_agreement=0.995, max_relative_error=None, rounding=2**-11),
    # A broken conversion falls below this; only the gate with labels tells whether the accuracy is good enough.
    "dynamic": VerificationGate(min_agreement=0.95, max_relative_error=None),
    "int8": VerificationGate(min_agreement=0.9, max_relative_error=None),
    "w8a16": VerificationGate(min_agreement=0.95, max_relative_error=None),
}

_PRECISIONS: dict[Format, tuple[Precision, ...]] = {
    "tflite": ("fp32", "fp16", "dynamic", "int8", "w8a16"),
    "onnx": ("fp32", "fp16", "int8"),
    # Its own quantizer loses more than the gate allows and runs slower than float32; its integer weights alone miss the
    # gate of fp16. Packaged model, MNN 3.6.1, 4 images: 98.1 % and 99.2 % of the pixels keep their class.
    "mnn": ("fp32", "fp16"),
    "openvino": ("fp32", "fp16", "int8"),
}


#: The targets of each format; ``rewrites.targets`` lists the rules of each target.
TARGETS: dict[Format, tuple[Target, ...]] = {
    "tflite": get_args(Target),
    "onnx": ("generic",),
    "mnn": ("generic",),
    "openvino": ("generic",),
}


@dataclass(frozen=True)
class Recipe:
    """What to make: a format and a precision.

    Raises:
        InputError: this edgeseg does not make the format or the precision.
    """

    __repr__ = short_repr

    format: Format = "tflite"
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        for what, given, accepted in (
            ("format", self.format, get_args(Format)),
            ("precision", self.precision, get_args(Precision)),
        ):
            if given not in accepted:
                raise InputError(f"unknown {what} '{given}'; accepted: {', '.join(accepted)}.")
        if self.precision not in _PRECISIONS[self.format]:
            known = ", ".join(_PRECISIONS[self.format])
            raise InputError(f"{self.format} has no precision '{self.precision}'; accepted: {known}.")

    @property
    def gate(self) -> VerificationGate:
        """What the artifact must reach."""
        return GATES[self.precision]

    @property
    def is_quantized(self) -> bool:
        """Whether weights are integers, and the accuracy gate applies."""
        return self.precision in INTEGERS

    @property
    def has_half_arithmetic(self) -> bool:
        """Whether the artifact may compute in half precision on a CPU; ``verification.half_arithmetic`` says if so."""
        return (self.format, self.precision) == ("tflite", "fp16")

    @property
    def is_static(self) -> bool:
        """Whether activations are integers too: it takes calibration, and bytes go in."""
        return self.precision in ("int8", "w8a16")

    def file_name(self, model_name: str) -> str:
        """Return the file's name, ``<model>.<precision>.<format>``; OpenVINO's has the ending ``xml``."""
        return f"{model_name}.{self.precision}{FORMAT_SUFFIXES[self.format]}"


def check_target(file_format: Format, target: Target) -> None:
    """Raise ``InputError`` where a format cannot be made for a target."""
    if target not in TARGETS[file_format]:
        accepted = ", ".join(TARGETS[file_format])
        raise InputError(f"unknown target '{target}' for {file_format}; accepted: {accepted}.")
