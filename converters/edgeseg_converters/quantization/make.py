"""Make the integer artifacts of ``export``: quantize, compare with the float model, rescue."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgeseg._internal.progress import Progress, StepProgress
from edgeseg.choices import CalibrationMethod, Format
from edgeseg.runtime import open_artifact
from edgeseg.segmenter import Segmenter
from edgeseg.spec import ModelSpec
from edgeseg_converters.calibration import CalibrationSet, Stability, choose
from edgeseg_converters.options import Quantization, default_method
from edgeseg_converters.quantization.accuracy import (
    Accuracy,
    Baseline,
    EvaluationImages,
    baseline,
    collect,
    compare,
)
from edgeseg_converters.quantization.domain_shift import Domain
from edgeseg_converters.quantization.engines import Engine, FloatFile, float_file, open_engine, takes_float_files
from edgeseg_converters.quantization.learned import LearnedLimits
from edgeseg_converters.quantization.preparation import Preparation, prepare
from edgeseg_converters.quantization.rescue import Rescue, rescue, sensitivity
from edgeseg_converters.recipes import DEFAULT_OPSET, Recipe
from edgeseg_converters.tflite.pooling_ties import same_indices

# Images that pooling indices are compared on: an image has a hundred thousand windows or more.
_NUM_INDEX_IMAGES = 2


@dataclass(frozen=True)
class QuantizationImages:
    """The images that the integer artifacts of an export need.

    Attributes:
        calibration: images to calibrate with; ``None`` where all artifacts are ``dynamic``.
        evaluation: images to measure the accuracy on; ``None`` omits the gate.
    """

    calibration: CalibrationSet | None = None
    evaluation: EvaluationImages | None = None

    @classmethod
    def collect(cls, settings: Quantization, recipes: Sequence[Recipe], spec: ModelSpec) -> QuantizationImages:
        """Find the images that some recipes need.

        Args:
            settings: where the images are, and which of them to take.
            recipes: the artifacts to make; without an integer precision among them no images are searched.
            spec: of the model.

        Raises:
            InputError: there are no images, or too few, or labels of other classes.
        """
        calibration, evaluation = None, None
        if any(recipe.is_static for recipe in recipes):
            calibration = settings.calibration
            if calibration is None and settings.data is not None:
                calibration = choose(
                    settings.data,
                    count=settings.num_calibration_samples,
                    seed=settings.seed,
                    split=settings.calibration_split,
                )
        if settings.data is not None and settings.measures(recipes):
            evaluation = collect(settings.data, split=settings.split, spec=spec)
        return cls(calibration, evaluation)


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """An integer artifact and what was measured of it.

    Attributes:
        data: the file.
        float_data: the float file that it was made from, with an input of its own.
        float_spec: how to feed the float file.
        engine: the tool that quantized.
        calibration: the images; ``None`` for ``dynamic``.
        stability: whether they were enough; ``None`` where the tool does not give the ranges.
        accuracy: compared with the float model; ``None`` without images.
        rescue: what was kept in float; ``None`` where no rescue was needed or requested.
        unrescued: the file before the rescue, and its accuracy.
        baseline: the answers of the float model on the images of the gate.
        same_indices: for each pooling with indices, the share of its windows with the maximum at the same place as in
            the float file, on a few calibration images; ``None`` where there is no custom op for it.
        domain: whether the calibration images are of the kind that the model was trained on; ``None`` where the model
            has no statistics of those.
        method: derived the ranges from the images; ``None`` without images.
        preparation: what prepared the float file, and what each step gave; ``None`` where nothing was asked for.
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
    preparation: Preparation | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the field ``quantization`` in the JSON of ``export``."""
        stability = self.stability
        return {
            "engine": self.engine,
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "calibration_method": self.method,
            "stability": (
                None if stability is None else {"disagreement": stability.disagreement, "ok": stability.stable}
            ),
            "domain": None if self.domain is None else self.domain.to_dict(),
            "accuracy": None if self.accuracy is None else self.accuracy.to_dict(),
            "rescue": None if self.rescue is None else self.rescue.to_dict(),
            "same_indices": self.same_indices,
            "preparation": None if self.preparation is None else self.preparation.to_dict(),
        }


@dataclass(frozen=True)
class _Built:
    """An artifact before any rescue, and what it was made of."""

    engine: Engine
    data: bytes
    accuracy: Accuracy | None
    preparation: Preparation | None

    @property
    def failed(self) -> bool:
        """Whether the gate was measured and is not met."""
        return self.accuracy is not None and not self.accuracy.passed

    @property
    def score(self) -> float:
        """How accurate it is, for a comparison with others on the same images: mIoU, or without labels agreement."""
        if self.accuracy is None:
            return math.nan
        _, mean_iou = self.accuracy.mean_iou or (math.nan, math.nan)
        return self.accuracy.agreement if math.isnan(mean_iou) else mean_iou


class Integers:
    """Makes the integer artifacts of one export; each float model is measured once."""

    def __init__(
        self,
        settings: Quantization,
        images: QuantizationImages,
        *,
        domain: Domain | None = None,
        learned: LearnedLimits | None = None,
        progress: StepProgress | None = None,
    ) -> None:
        """Keep what all artifacts share.

        Args:
            settings: see ``Quantization``.
            images: to calibrate and to measure with.
            domain: of the calibration images.
            learned: ranges of the precision that a training learned; the channels then stay as they are.
            progress: called while images are run.
        """
        self._settings, self._images, self._domain, self._told = settings, images, domain, progress
        self._learned = learned
        self._baselines: dict[bytes, Baseline] = {}

    def make(self, frozen: Any, spec: ModelSpec, recipe: Recipe, opset: int = DEFAULT_OPSET) -> Quantized:
        """Convert a Keras model to a float file, and do what ``make_of_file`` does.

        Args:
            frozen: made by ``freeze.trace`` for ``spec``.
            spec: of the artifact.
            recipe: of an integer precision.
            opset: of an ONNX file.

        Raises:
            InputError: an image does not decode.
            UnsupportedModel: the model does not convert.
        """
        return self.make_of_file(float_file(frozen, spec, recipe.format, opset), spec, recipe, frozen=frozen)

    def make_of_file(self, original: FloatFile, spec: ModelSpec, recipe: Recipe, *, frozen: Any = None) -> Quantized:
        """Quantize a float file, measure, and rescue where requested.

        Args:
            original: takes the image and gives the class map or the scores as ``float_file`` makes it.
            spec: of the artifact.
            recipe: of an integer precision.
            frozen: what the file was made from, where ``takes_float_files`` says no.

        Raises:
            InputError: an image does not decode.
            UnsupportedModel: the quantizer does not take the file.
        """
        settings = self._settings
        calibration = self._images.calibration if recipe.is_static else None
        method = settings.method or default_method(recipe.precision)
        learned = self._learned if settings.takes_learned(recipe, spec.provenance.target) else None
        watched = calibration and replace(calibration, progress=self._progress("calibrating"))
        preparation = None
        prepared = recipe.precision == "int8" and settings.ptq_steps and takes_float_files(spec, recipe.format)
        if learned is not None:
            method, prepared = settings.method or "minmax", False  # of what has no learned range
        if calibration and prepared:
            preparation = prepare(original, spec, recipe.format, calibration, settings, progress=self._told)

        def build(stage: Preparation | None) -> _Built:
            source, used = (stage.file, stage.method) if stage else (original, method)
            engine = open_engine(source, spec, recipe.format, watched, used, frozen=frozen, learned=learned)
            if self._told:
                self._told("quantizing", 0, 0)
            data = engine.build()
            return _Built(engine, data, self._measure(original, data, recipe.format), stage)

        made = _best_stage(preparation, build)
        engine, data, accuracy = made.engine, made.data, made.accuracy
        rescued, unrescued = None, None
        if settings.rescue and accuracy is not None and not accuracy.passed and engine.ops and calibration:
            rescued = rescue(
                sensitivity(engine.ops, engine.logits, self._progress("sensitivity of every op")),
                engine.build,
                lambda artifact: self._needed(original, artifact, recipe.format),
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
            baseline=self._baselines.get(original.data),
            same_indices=indices,
            domain=self._domain if calibration else None,
            method=engine.method if calibration else None,
            preparation=made.preparation,
        )

    def _needed(self, original: FloatFile, data: bytes, file_format: Format) -> Accuracy:
        accuracy = self._measure(original, data, file_format)
        assert accuracy is not None  # there were images for the first artifact
        return accuracy

    def _measure(self, original: FloatFile, data: bytes, file_format: Format) -> Accuracy | None:
        """Compare an artifact with the float file as it was before it was prepared."""
        images = self._images.evaluation
        if images is None:
            return None
        if original.data not in self._baselines:
            with _open(original.data, original.format, original.spec) as segmenter:
                progress = self._progress("accuracy of the float model")
                self._baselines[original.data] = baseline(segmenter, images, progress)
        with _open(data, file_format) as segmenter:
            progress = self._progress("accuracy in integers")
            return compare(self._baselines[original.data], segmenter, self._settings.gate, progress)

    def _progress(self, what: str) -> Progress | None:
        progress = self._told
        return None if progress is None else lambda done, total: progress(what, done, total)


def _best_stage(preparation: Preparation | None, build: Callable[[Preparation | None], _Built]) -> _Built:
    """Build with all steps; where the gate fails, with fewer, the last ones first, until it passes.

    Where it never does, the most accurate file is returned. So the steps cannot cost a file its gate.
    """
    tried = [build(preparation)]
    while tried[-1].failed and (last := tried[-1].preparation) and (fewer := last.without_last()):
        tried.append(build(fewer))
    return max(tried, key=lambda made: made.score) if tried[-1].failed else tried[-1]


def _open(data: bytes, file_format: Format, spec: ModelSpec | None = None) -> Segmenter:
    return Segmenter(open_artifact(data, file_format), spec=spec)
