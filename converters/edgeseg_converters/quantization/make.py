"""Integer artifacts for ``export``: quantize, hold against the float model, rescue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeseg._internal.progress import Progress, StepProgress
from edgeseg.choices import CalibrationMethod, Format, OutputKind, Target
from edgeseg.datasets import Data
from edgeseg.errors import InputError
from edgeseg.runtime import open_artifact
from edgeseg.segmenter import Segmenter
from edgeseg.spec import ModelSpec
from edgeseg_converters.calibration import CalibrationSet, Stability, choose
from edgeseg_converters.onnx.calibrate import DEFAULT_METHOD
from edgeseg_converters.quantization.accuracy import (
    Accuracy,
    AccuracyGate,
    Baseline,
    EvaluationImages,
    baseline,
    collect,
    compare,
)
from edgeseg_converters.quantization.domain_shift import Domain
from edgeseg_converters.quantization.engines import VERSION_CHECKING, Engine, open_engine
from edgeseg_converters.quantization.rescue import Rescue, rescue, sensitivity
from edgeseg_converters.recipes import DEFAULT_OPSET, Recipe
from edgeseg_converters.tflite.pooling_ties import same_indices

# Images that pooling indices are compared on: an image has a hundred thousand windows and more.
_NUM_INDEX_IMAGES = 2

#: Told what is done now, how far it is, and how far it goes.


@dataclass(frozen=True)
class Quantization:
    """What the integer precisions of an export need.

    Attributes:
        calibration: images that show the model its activations; the static precisions need them.
        images: what the accuracy is measured on; ``None`` leaves the gate out.
        gate: what may be lost.
        rescue: whether to look for ops to keep in float where the gate is not passed.
        method: how the ranges of an ONNX file follow from what was seen, ``percentile`` when left out; TFLite's are all
            that was seen.
        progress: called while images are run.
    """

    calibration: CalibrationSet | None = None
    images: EvaluationImages | None = None
    gate: AccuracyGate = field(default_factory=AccuracyGate)
    rescue: bool = False
    method: CalibrationMethod | None = None
    progress: StepProgress | None = None

    @classmethod
    def of(
        cls,
        recipes: Sequence[Recipe],
        data: Data | None,
        spec: ModelSpec,
        *,
        calibration_split: str = "train",
        num_calibration_samples: int = 100,
        seed: int = 0,
        split: str = "val",
        gate: AccuracyGate | None = None,
        rescue: bool = False,
        method: CalibrationMethod | None = None,
    ) -> Quantization:
        """Find the images that some recipes need.

        Args:
            recipes: what is made; without an integer precision among them no images are looked for.
            data: a labeled data set, or a folder of images.
            spec: of the model.
            calibration_split: of a labeled data set, to calibrate with.
            num_calibration_samples: how many of it at most.
            seed: of their choice.
            split: of a labeled data set, to measure the accuracy on.
            gate: see the class, and so on.
            rescue: see the class.
            method: see the class.

        Raises:
            InputError: there are no images, or too few, or labels of other classes.
        """
        calibration, images = None, None
        if data is not None and any(recipe.is_quantized for recipe in recipes):
            if any(recipe.is_static for recipe in recipes):
                calibration = choose(data, count=num_calibration_samples, seed=seed, split=calibration_split)
            images = collect(data, split=split, spec=spec)
        return cls(calibration, images, gate or AccuracyGate(), rescue, method)


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """An integer artifact and what is known of it.

    Attributes:
        data: the file.
        float_data: the float file that it was made from, with an input of its own.
        float_spec: how to feed that one.
        engine: the tool that quantized.
        calibration: the images; ``None`` for ``dynamic``.
        stability: whether they were enough; ``None`` where the tool keeps the ranges to itself.
        accuracy: beside the float model; ``None`` without images.
        rescue: what was kept in float; ``None`` where none was needed or asked for.
        unrescued: the file before the rescue, and its accuracy.
        baseline: what the float model said on the images of the gate.
        same_indices: for each pooling with indices, the share of its windows whose maximum is where the float file has
            it, on a few calibration images; ``None`` where there is no custom op for it.
        domain: whether the calibration images are of the kind that the model was trained on; ``None`` where it has
            no memory of those.
        method: how the ranges followed from the images; ``None`` without images.
    """

    data: bytes
    float_data: bytes
    float_spec: ModelSpec
    engine: str
    calibration: CalibrationSet | None
    stability: Stability | None
    accuracy: Accuracy | None
    rescue: Rescue | None = None
    unrescued: tuple[bytes, Accuracy] | None = None
    baseline: Baseline | None = None
    same_indices: tuple[float, ...] | None = None
    domain: Domain | None = None
    method: CalibrationMethod | None = None

    def to_dict(self) -> dict[str, Any]:
        """The field ``quantization`` in the JSON of ``export``."""
        found = self.stability
        return {
            "engine": self.engine,
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "calibration_method": self.method,
            "stability": None if found is None else {"disagreement": found.disagreement, "ok": found.stable},
            "domain": None if self.domain is None else self.domain.to_dict(),
            "accuracy": None if self.accuracy is None else self.accuracy.to_dict(),
            "rescue": None if self.rescue is None else self.rescue.to_dict(),
            "same_indices": self.same_indices,
        }


def check_quantization(recipe: Recipe, target: Target, output_kind: OutputKind, settings: Quantization) -> None:
    """Raise ``InputError`` for what cannot be made, before the long work.

    Args:
        recipe: any; a float precision is fine.
        target: what will run it.
        output_kind: what the artifact gives.
        settings: see ``Quantization``.
    """
    if settings.method and recipe.format == "tflite" and recipe.is_static:
        raise InputError(
            f"TFLite is calibrated by the whole range of what was seen, not by {settings.method}; "
            "leave --calibration-method out, or export onnx alone."
        )
    if settings.rescue and recipe.is_static and settings.images is None:
        raise InputError("a rescue needs images to measure the accuracy on; give --data DIR.")
    if settings.rescue and recipe.is_static and target in VERSION_CHECKING:
        raise InputError(f"a rescue keeps ops in float, which the target {target} does not run; leave --rescue out.")
    if recipe.is_static and settings.calibration is None:
        raise InputError(
            f"{recipe.precision} needs images to calibrate with, as the model will see them; give --data DIR, "
            "in Python data=. Without images there are fp16 and dynamic."
        )
    if recipe.is_static and output_kind != "argmax":
        raise InputError(
            f"{recipe.precision} gives a class map of bytes; leave --output-kind {output_kind} out, "
            "or ask for fp16 or dynamic, which have scores."
        )


class Integers:
    """Makes the integer artifacts of one export; a float model is measured once."""

    def __init__(self, settings: Quantization, domain: Domain | None = None) -> None:
        """Keep what all of them share.

        Args:
            settings: see ``Quantization``.
            domain: of the calibration images.
        """
        self._settings, self._domain = settings, domain
        self._baselines: dict[bytes, Baseline] = {}

    def make(self, frozen: Any, spec: ModelSpec, recipe: Recipe, opset: int = DEFAULT_OPSET) -> Quantized:
        """Quantize, measure, and rescue where that was asked for.

        Args:
            frozen: what ``frozen.trace`` made for ``spec``.
            spec: of the artifact.
            recipe: of an integer precision.
            opset: of an ONNX file.

        Raises:
            InputError: an image does not decode.
            UnsupportedModel: the model does not convert.
        """
        settings = self._settings
        calibration = settings.calibration if recipe.is_static else None
        method = "minmax" if recipe.format == "tflite" else settings.method or DEFAULT_METHOD
        engine = open_engine(frozen, spec, recipe.format, calibration, opset, method)
        data = engine.build()
        accuracy = self._measure(engine, data, recipe.format)
        rescued, unrescued = None, None
        if settings.rescue and accuracy is not None and not accuracy.passed and engine.ops and calibration:
            rescued = rescue(
                sensitivity(engine.ops, engine.logits, self._progress("sensitivity of every op")),
                engine.build,
                lambda made: self._needed(engine, made, recipe.format),
            )
            unrescued = data, accuracy
            data, accuracy = rescued.data, rescued.accuracy
        stability = None if engine.ranges is None else engine.ranges.stability()
        indices = None
        if calibration and recipe.format == "tflite":
            probes = list(calibration.first(_NUM_INDEX_IMAGES).tensors(spec))
            indices = same_indices(engine.float_data, data, probes)
        return Quantized(
            data=data,
            float_data=engine.float_data,
            float_spec=engine.float_spec,
            engine=engine.name,
            calibration=calibration,
            stability=stability,
            accuracy=accuracy,
            rescue=rescued,
            unrescued=unrescued,
            baseline=self._baselines.get(engine.float_data),
            same_indices=indices,
            domain=self._domain if calibration else None,
            method=method if calibration else None,
        )

    def _needed(self, engine: Engine, data: bytes, file_format: Format) -> Accuracy:
        accuracy = self._measure(engine, data, file_format)
        assert accuracy is not None  # there were images for the first artifact
        return accuracy

    def _measure(self, engine: Engine, data: bytes, file_format: Format) -> Accuracy | None:
        settings = self._settings
        if settings.images is None:
            return None
        if engine.float_data not in self._baselines:
            with _open(engine.float_data, file_format, engine.float_spec) as segmenter:
                progress = self._progress("accuracy of the float model")
                self._baselines[engine.float_data] = baseline(segmenter, settings.images, progress)
        with _open(data, file_format) as segmenter:
            progress = self._progress("accuracy in integers")
            return compare(self._baselines[engine.float_data], segmenter, settings.gate, progress)

    def _progress(self, what: str) -> Progress | None:
        progress = self._settings.progress
        return None if progress is None else lambda done, total: progress(what, done, total)


def _open(data: bytes, file_format: Format, spec: ModelSpec | None = None) -> Segmenter:
    return Segmenter(open_artifact(data, file_format), spec=spec)
