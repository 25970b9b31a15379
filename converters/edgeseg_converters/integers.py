"""Integer artifacts for ``export``: quantize, hold against the float model, rescue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from edgeseg.errors import InputError
from edgeseg.runtime import open_artifact
from edgeseg.segmenter import Segmenter
from edgeseg.spec import Format, ModelSpec, OutputKind, Target
from edgeseg_converters.accuracy import Accuracy, Baseline, Gate, Pictures, baseline, compare
from edgeseg_converters.calibrate import CalibrationSet, Stability
from edgeseg_converters.engines import VERSION_CHECKING, Engine, open_engine
from edgeseg_converters.recipes import DEFAULT_OPSET, Recipe
from edgeseg_converters.rescue import Rescue, rescue, sensitivity

#: Told what is done now, how far it is, and how far it goes.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Quantization:
    """What the integer precisions of an export need.

    Attributes:
        calibration: pictures that show the model its activations; the static precisions need them.
        pictures: what the accuracy is measured on; ``None`` leaves the gate out.
        gate: what may be lost.
        rescue: whether to look for ops to keep in float where the gate is not passed.
        progress: called while pictures are run.
    """

    calibration: CalibrationSet | None = None
    pictures: Pictures | None = None
    gate: Gate = field(default_factory=Gate)
    rescue: bool = False
    progress: Progress | None = None


@dataclass(frozen=True)
class Quantized:
    """An integer artifact and what is known of it.

    Attributes:
        data: the file.
        float_data: the float file that it was made from, with an input of its own.
        float_spec: how to feed that one.
        engine: the tool that quantized.
        calibration: the pictures; ``None`` for ``dynamic``.
        stability: whether they were enough; ``None`` where the tool keeps the ranges to itself.
        accuracy: beside the float model; ``None`` without pictures.
        rescue: what was kept in float; ``None`` where none was needed or asked for.
        unrescued: the file before the rescue, and its accuracy.
        baseline: what the float model said on the pictures of the gate.
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

    def to_dict(self) -> dict[str, Any]:
        """The field ``quantization`` in the JSON of ``export``."""
        found = self.stability
        return {
            "engine": self.engine,
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "stability": None if found is None else {"disagreement": found.disagreement, "ok": found.stable},
            "accuracy": None if self.accuracy is None else self.accuracy.to_dict(),
            "rescue": None if self.rescue is None else self.rescue.to_dict(),
        }


def check_quantization(recipe: Recipe, target: Target, output_kind: OutputKind, settings: Quantization) -> None:
    """Raise ``InputError`` for what cannot be made, before the long work.

    Args:
        recipe: any; a float precision is fine.
        target: what will run it.
        output_kind: what the artifact gives.
        settings: see ``Quantization``.
    """
    if settings.rescue and recipe.is_static and settings.pictures is None:
        raise InputError("a rescue needs pictures to measure the accuracy on; give --data DIR.")
    if settings.rescue and recipe.is_static and target in VERSION_CHECKING:
        raise InputError(f"a rescue keeps ops in float, which the target {target} does not run; leave --rescue out.")
    if recipe.is_static and settings.calibration is None:
        raise InputError(
            f"{recipe.precision} needs pictures to calibrate with, as the model will see them; give --data DIR, "
            "in Python data=. Without pictures there are fp16 and dynamic."
        )
    if recipe.is_static and output_kind != "argmax":
        raise InputError(
            f"{recipe.precision} gives a class map of bytes; leave --output-kind {output_kind} out, "
            "or ask for fp16 or dynamic, which have scores."
        )


class Integers:
    """Makes the integer artifacts of one export; a float model is measured once."""

    def __init__(self, settings: Quantization) -> None:
        self._settings = settings
        self._baselines: dict[bytes, Baseline] = {}

    def make(self, frozen: Any, spec: ModelSpec, recipe: Recipe, opset: int = DEFAULT_OPSET) -> Quantized:
        """Quantize, measure, and rescue where that was asked for.

        Args:
            frozen: what ``frozen.trace`` made for ``spec``.
            spec: of the artifact.
            recipe: of an integer precision.
            opset: of an ONNX file.

        Raises:
            InputError: a picture does not decode.
            UnsupportedModel: the model does not convert.
        """
        settings = self._settings
        calibration = settings.calibration if recipe.is_static else None
        engine = open_engine(frozen, spec, recipe.format, calibration, opset)
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
        return Quantized(
            data,
            engine.float_data,
            engine.float_spec,
            engine.name,
            calibration,
            stability,
            accuracy,
            rescued,
            unrescued,
            self._baselines.get(engine.float_data),
        )

    def _needed(self, engine: Engine, data: bytes, file_format: Format) -> Accuracy:
        accuracy = self._measure(engine, data, file_format)
        assert accuracy is not None  # there were pictures for the first artifact
        return accuracy

    def _measure(self, engine: Engine, data: bytes, file_format: Format) -> Accuracy | None:
        settings = self._settings
        if settings.pictures is None:
            return None
        if engine.float_data not in self._baselines:
            with _open(engine.float_data, file_format, engine.float_spec) as segmenter:
                progress = self._progress("accuracy of the float model")
                self._baselines[engine.float_data] = baseline(segmenter, settings.pictures, progress)
        with _open(data, file_format) as segmenter:
            progress = self._progress("accuracy in integers")
            return compare(self._baselines[engine.float_data], segmenter, settings.gate, progress)

    def _progress(self, what: str) -> Callable[[int, int], None] | None:
        progress = self._settings.progress
        return None if progress is None else lambda done, total: progress(what, done, total)


def _open(data: bytes, file_format: Format, spec: ModelSpec | None = None) -> Segmenter:
    return Segmenter(open_artifact(data, file_format), spec=spec)
