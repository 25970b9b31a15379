"""Define the settings of an export, checked together once, before any model is opened.

The command line reads its defaults here, so the module is light: what needs keras or TensorFlow is imported on use.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, get_args

from edgeseg._internal.fields import short_repr
from edgeseg.choices import CalibrationMethod, Format, Layout, OutputKind, Precision, PtqStep, Target
from edgeseg.errors import InputError, missing_extra
from edgeseg_converters.recipes import DEFAULT_OPSET, OPSETS, AccuracyGate, Recipe, check_target

if TYPE_CHECKING:
    from edgeseg.datasets import Data
    from edgeseg.models.learned_ranges import LearnedRanges
    from edgeseg_converters.calibration import CalibrationSet

#: Targets with compilers that check op versions, which only TensorFlow's quantizer raises.
VERSION_CHECKING: tuple[Target, ...] = ("nnapi", "edgetpu")

#: The default method that derives the ranges of ``int8`` from the images.
#: Packaged model, CamVid's validation images, ONNX: ``percentile`` (50 images to calibrate with) 0.7235 mIoU and
#: 99.12 % of the pixels with their class, ``minmax`` (100) 0.7222 and 98.90 %, float 0.7237. The mIoUs are too near to
#: tell apart; the choice rests on the agreement. With weights of 8 bits ``entropy`` (50) lost most, 0.7196 against
#: 0.7244.
DEFAULT_METHOD: CalibrationMethod = "percentile"


def default_method(precision: Precision) -> CalibrationMethod:
    """Return the default method of a precision: 16 bits have steps enough for the whole range."""
    return "minmax" if precision == "w8a16" else DEFAULT_METHOD


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """What the integer precisions of an export need.

    Attributes:
        data: a labeled data set, of which one split calibrates and another measures, or a folder of images, which do
            both; ``None`` leaves ``dynamic`` as the only integer precision, without an accuracy gate.
        split: of a labeled data set, to measure the accuracy on.
        calibration: images to calibrate with; chosen from ``data`` when ``None``.
        calibration_split: of a labeled data set, to calibrate with.
        num_calibration_samples: how many images of that split at most.
        seed: of their choice.
        gate: how much accuracy may be lost.
        rescue: whether to look for ops to keep in float where the gate is not passed.
        method: derives the ranges from the measured values; ``default_method`` when ``None``. The targets nnapi and
            edgetpu take the whole ones.
        ptq: what prepares the float file for ``int8``: ``best``, ``off``, or steps with a comma between them, such as
            ``equalize,bias``. Each is kept only where images that did not calibrate keep more of their classes by it;
            ``best`` tries none where they keep nearly all in plain int8. ``equalize`` scales the channels to similar
            ranges; ``head`` cuts off what no class wins by; ``ranges`` chooses ``method``; ``rounding`` chooses the
            integers of the weights layer by layer; ``bias`` corrects the means of the channels. The targets nnapi and
            edgetpu, whose quantizer takes no file, do nothing.
        learned: ranges of a model that was trained in integers, see ``edgeseg.models.read_ranges``, for artifacts of
            the precision that it was trained for; what has none is calibrated on the images.
    """

    __repr__ = short_repr

    data: Data | None = None
    split: str = "val"
    calibration: CalibrationSet | None = None
    calibration_split: str = "train"
    num_calibration_samples: int = 100
    seed: int = 0
    gate: AccuracyGate = field(default_factory=AccuracyGate)
    rescue: bool = False
    method: CalibrationMethod | None = None
    ptq: str = "best"
    learned: LearnedRanges | None = None

    @property
    def ptq_steps(self) -> tuple[PtqStep, ...]:
        """Return the steps that may prepare a file, in the order in which they are tried.

        Raises:
            InputError: ``ptq`` names another one.
        """
        known: tuple[PtqStep, ...] = get_args(PtqStep)
        if self.ptq == "off":
            return ()
        if self.ptq == "best":
            return tuple(step for step in known if step != "ranges" or self.method is None)
        asked = [name.strip() for name in self.ptq.split(",")]
        if unknown := [name for name in asked if name not in known]:
            raise InputError(
                f"unknown ptq '{unknown[0]}'; accepted: best, off, or some of {', '.join(known)} with a comma between "
                "them."
            )
        if "ranges" in asked and self.method is not None:
            raise InputError("`ptq='ranges'` chooses the calibration method: omit it, or omit `method`.")
        return tuple(step for step in known if step in asked)

    def takes_learned(self, recipe: Recipe, target: Target = "generic") -> bool:
        """Return whether an artifact is given the learned ranges: TensorFlow's quantizer takes none."""
        return (
            self.learned is not None
            and self.learned.precision == recipe.precision
            and not (target in VERSION_CHECKING and recipe.precision == "int8")
        )

    def measures(self, recipes: Iterable[Recipe]) -> bool:
        """Return whether the accuracy of some of the artifacts is measured."""
        return self.data is not None and any(recipe.is_quantized for recipe in recipes)


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How the artifacts of an export are made, whatever their format and precision.

    Attributes:
        target: ``generic`` uses builtin ops that run anywhere; a delegate's name may use what that delegate has.
        output_kind: ``argmax`` gives a uint8 class map, ``softmax`` and ``logits`` float32 scores. ``int8`` gives
            ``softmax`` of two classes, in TFLite in 256 steps.
        layout: ``nchw`` gives an ONNX file that takes ``(1, 3, H, W)`` and gives scores ``(1, C, h, w)``.
        opset: version of ONNX's operators, 13 to 18; 17 when ``None``.
        optimize: whether to apply the speed-ups, which change nothing beyond float rounding.
        output: which output of a model with several.
        half_arithmetic: whether an fp16 ``.tflite`` file computes in half precision on CPUs that have it. ``None`` lets
            it where it passes the gate of ``verification.half_arithmetic``; ``True`` refuses a file that does not.
    """

    __repr__ = short_repr

    target: Target = "generic"
    output_kind: OutputKind = "argmax"
    layout: Layout = "nhwc"
    opset: int | None = None
    optimize: bool = True
    output: str | None = None
    half_arithmetic: bool | None = None

    def check(self, recipes: Sequence[Recipe], quantization: Quantization) -> None:
        """Refuse settings that no artifact can have.

        Args:
            recipes: the artifacts to make.
            quantization: of the integer ones.

        Raises:
            InputError: Keras runs on another backend than TensorFlow; a format has no such target, layout or opset;
                an integer precision lacks images, or cannot give the requested output; half arithmetic is asked for
                and no artifact has it.
        """
        _check_backend()
        self._check_onnx([recipe.format for recipe in recipes])
        if self.half_arithmetic and not any(recipe.has_half_arithmetic for recipe in recipes):
            raise InputError(
                "half arithmetic is what an fp16 .tflite file may have, and none is made: omit `half_arithmetic`, or "
                "add `precision='fp16'` and `format='tflite'`."
            )
        self._check_ptq(recipes, quantization)
        for recipe in recipes:
            check_target(recipe.format, self.target)
            _require_converter(recipe.format)
            if recipe.is_static:
                self._check_static(recipe, quantization)

    def _check_ptq(self, recipes: Sequence[Recipe], quantization: Quantization) -> None:
        asked, steps = quantization.ptq, quantization.ptq_steps
        if not steps or asked == "best":
            return
        if quantization.learned is not None:
            raise InputError(f"`ptq='{asked}'` changes what the model learned its ranges for: omit `ptq`.")
        if not any(recipe.precision == "int8" for recipe in recipes):
            raise InputError(f"`ptq='{asked}'` is for int8, and none is made: omit `ptq`, or add `precision='int8'`.")
        if self.target in VERSION_CHECKING:
            raise InputError(f"target '{self.target}' is quantized by TensorFlow, without `ptq='{asked}'`: omit `ptq`.")

    def check_classes(self, recipes: Sequence[Recipe], num_classes: int) -> None:
        """Refuse scores in bytes of more than two classes.

        Of two classes one is known from the other, and a step of 1/256 is finer than any edge is drawn. Of more, those
        that are near each other at an edge often have the same byte, and the first of them would win. In ONNX, whose
        result is float32, the softmax is of integers too.

        Args:
            recipes: the artifacts to make.
            num_classes: of the model.

        Raises:
            InputError: an artifact would have such scores.
        """
        if num_classes > 2 and any(self._in_bytes(recipe) for recipe in recipes):
            raise InputError(
                f"int8 gives scores of two classes, this model has {num_classes}: omit `output_kind='softmax'`, or ask "
                "for fp16 or dynamic, which have scores of any number."
            )

    def _in_bytes(self, recipe: Recipe) -> bool:
        """Return whether an artifact gives scores with the steps of a byte."""
        return recipe.precision == "int8" and self.output_kind == "softmax"

    def _check_onnx(self, formats: Sequence[Format]) -> None:
        """Refuse settings that only ONNX has where another format is made."""
        if self.layout not in get_args(Layout):
            raise InputError(f"unknown layout '{self.layout}'; accepted: {', '.join(get_args(Layout))}.")
        others = [name for name in formats if name != "onnx"]
        if self.layout == "nchw" and others:
            why = "its convolutions read NHWC" if others[0] == "tflite" else "edgeseg writes it as NHWC"
            raise InputError(f"{others[0]} has no layout nchw: {why}. Omit `layout`, or export onnx alone.")
        if self.opset is None:
            return
        if others:
            raise InputError(f"{others[0]} has no opset; omit `opset`, or export onnx alone.")
        if self.opset not in OPSETS:
            raise InputError(
                f"opset {self.opset} is not written; accepted: {OPSETS[0]} to {OPSETS[-1]}, {DEFAULT_OPSET} by default."
            )

    def _check_static(self, recipe: Recipe, quantization: Quantization) -> None:
        """Refuse an artifact with integer activations that cannot be made."""
        cuts = quantization.method not in (None, "minmax")
        if cuts and self.target in VERSION_CHECKING and recipe.precision == "int8":
            raise InputError(
                f"int8 for the target {self.target} is calibrated by the whole measured range, not by "
                f"{quantization.method}; omit `method`."
            )
        if quantization.rescue and quantization.data is None:
            raise InputError("a rescue needs images to measure the accuracy on; give `data='DIR'`.")
        if quantization.rescue and self.target in VERSION_CHECKING:
            raise InputError(
                f"a rescue keeps ops in float, which the target {self.target} does not run; omit `rescue`."
            )
        if quantization.data is None and quantization.calibration is None:
            without = " dynamic needs none." if recipe.format == "tflite" else ""
            raise InputError(
                f"{recipe.precision} needs images to calibrate with, as the model will see them; give `data='DIR'`."
                f"{without}"
            )
        if self.output_kind != "argmax" and not self._in_bytes(recipe):
            two = "; of two classes it also gives `output_kind='softmax'`" if recipe.precision == "int8" else ""
            raise InputError(
                f"{recipe.precision} gives a class map of bytes{two}. Omit `output_kind={self.output_kind!r}`, "
                "or ask for fp16 or dynamic, which have scores."
            )


def _require_converter(file_format: Format) -> None:
    """Raise ``BackendUnavailable`` where the package that makes a format is not installed."""
    package = {"mnn": "MNN", "openvino": "openvino"}.get(file_format)
    if package is not None and find_spec(package) is None:
        raise missing_extra(f"the format {file_format}", file_format)


def _check_backend() -> None:
    """Refuse Keras on anything but TensorFlow, which the converters trace.

    A model that was trained on another backend is a file like any other.
    """
    import keras

    if (backend := keras.config.backend()) != "tensorflow":
        raise InputError(
            f"export needs Keras' TensorFlow backend, this is {backend}: unset KERAS_BACKEND for this command; "
            "a .keras file that was trained on another backend exports as it is."
        )
