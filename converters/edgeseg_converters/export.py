"""``export``: a Keras model in, proven bytes out."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from edgeseg import __version__
from edgeseg._internal.files import sha256, write_bytes
from edgeseg._internal.versions import installed_version
from edgeseg.choices import CalibrationMethod, Format, InputDtype, Layout, OutputKind, Precision, Target
from edgeseg.coverage import Coverage
from edgeseg.datasets import Data
from edgeseg.errors import UnsupportedModel, VerificationFailed
from edgeseg.models.opening import assumed_spec
from edgeseg.models.preprocessing import zoo_model_of
from edgeseg.spec import ModelSpec, Provenance
from edgeseg_converters.images import Samples, collect
from edgeseg_converters.keras_model.float32 import float32_policy
from edgeseg_converters.keras_model.freeze import check, trace
from edgeseg_converters.keras_model.output_head import read_head
from edgeseg_converters.keras_model.prepare import note_opaque, prepare
from edgeseg_converters.keras_model.training_mode import note_training, untouched
from edgeseg_converters.keras_model.unsupported_ops import ForeignOps, with_layers
from edgeseg_converters.onnx.convert import to_onnx
from edgeseg_converters.quantization.domain_shift import compare
from edgeseg_converters.quantization.make import Integers, Quantization, Quantized, check_quantization
from edgeseg_converters.recipes import DEFAULT_OPSET, Recipe, check_backend, check_options
from edgeseg_converters.rewrites import Refused, Rewrite, RewriteResult, Rules, rewrite, rules_for
from edgeseg_converters.tflite.convert import to_tflite
from edgeseg_converters.verification import Verification, reference, verify

_log = logging.getLogger(__name__)

_TOOLS: dict[Format, tuple[str, ...]] = {
    "tflite": ("tensorflow", "keras", "ai-edge-litert"),
    "onnx": ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime"),
}


@dataclass(frozen=True)
class ExportResult:
    """One artifact.

    Attributes:
        data: the file's bytes.
        recipe: format and precision.
        spec: the ModelSpec inside it.
        rewrites: what was replaced before converting, with the proof of each place, and what was not.
        verification: the proof; ``None`` when it was not asked for.
        seconds: time to convert and to verify, in seconds.
        coverage: what the accelerators that were asked take of it; empty when none was asked.
        quantized: of an integer precision: how it was calibrated, its accuracy, and what was rescued.
    """

    data: bytes
    recipe: Recipe
    spec: ModelSpec
    rewrites: RewriteResult
    verification: Verification | None
    seconds: float
    coverage: tuple[Coverage, ...] = ()
    quantized: Quantized | None = None

    @property
    def failure(self) -> str:
        """Which gate failed and why, in a sentence; empty where all that were asked are passed."""
        if self.verification and not self.verification.passed:
            return f"failed its verification: {self.verification.reason}"
        accuracy = self.quantized.accuracy if self.quantized else None
        return f"failed its accuracy gate: {accuracy.reason}" if accuracy and not accuracy.passed else ""

    @property
    def file_name(self) -> str:
        """``<model>.<precision>.<format>``."""
        return self.recipe.file_name(self.spec.name)

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write the artifact, to a temporary name first.

        Args:
            path: a file, or a folder that gets ``file_name``.
            overwrite: whether an existing file may be replaced.

        Returns:
            The file's path.

        Raises:
            InputError: the file exists, or cannot be written.
        """
        path = Path(path)
        if path.is_dir():
            path = path / self.file_name
        write_bytes(path, self.data, overwrite=overwrite)
        return path

    def to_dict(self, path: Path) -> dict[str, Any]:
        """One entry of ``artifacts`` in ``edgeseg export --json``."""
        return {
            "path": str(path),
            "format": self.recipe.format,
            "precision": self.recipe.precision,
            "target": self.spec.provenance.target,
            "size_bytes": len(self.data),
            "sha256": sha256(self.data),
            "rewrites": [
                {"rule": rule, "sites": sites, "max_abs_error": self.rewrites.max_abs_error(rule)}
                for rule, sites in self.rewrites.counts()
            ],
            "verification": None if self.verification is None else dataclasses.asdict(self.verification),
            "coverage": [found.to_dict() for found in self.coverage],
            "quantization": None if self.quantized is None else self.quantized.to_dict(),
            "seconds": round(self.seconds, 3),
        }


def export(
    model: keras.Model,
    *,
    format: Format = "tflite",  # noqa: A002 - the field's word, and the command line's
    precision: Precision = "fp32",
    target: Target = "generic",
    output_kind: OutputKind = "argmax",
    spec: ModelSpec | None = None,
    data: Data | None = None,
    verify: bool = True,
    optimize: bool = True,
    calibration_method: CalibrationMethod | None = None,
    rescue: bool = False,
    output: str | None = None,
    layout: Layout = "nhwc",
    opset: int | None = None,
) -> ExportResult:
    """Convert a Keras model and prove the artifact against it.

    What it has no argument for, such as the splits, the number of calibration images and the limits of the accuracy
    gate, ``export_all`` takes as a ``Quantization`` and as ``Samples``.

    Args:
        model: from ``(B, H, W, 3)`` to logits or probabilities ``(B, h, w, C)``; of one channel, the foreground is
            above 0 and 0.5. A subclassed model is converted without rewrites. Where its size is not fixed, ``spec``
            gives it.
        format: ``tflite`` or ``onnx``.
        precision: ``fp32``, ``fp16``, and the integer ones ``dynamic``, ``int8`` and ``w8a16``.
        target: ``generic`` uses builtin ops that run anywhere; a delegate's name may use what that delegate has.
        output_kind: ``argmax`` gives a uint8 class map, ``softmax`` and ``logits`` float32 scores.
        spec: how to feed the model; a zoo model's own when left out, else nameless classes and [-1, 1], or
            the pixels as they are for a model that takes integers or begins with a Rescaling or Normalization of them.
        data: images to verify with, to calibrate with and to measure the accuracy on: a labeled data set, of which
            ``train`` calibrates and ``val`` measures, or a folder. Where it is left out, an installed package's
            images verify, and ``int8`` and ``w8a16`` are refused.
        verify: whether to prove the artifact.
        optimize: whether to apply the speed-ups, which change nothing beyond float rounding.
        calibration_method: how the ranges of an ONNX file follow from what was seen: ``minmax``, ``entropy``, or
            ``percentile`` when left out.
        rescue: whether to keep ops in float where an integer precision does not pass its accuracy gate.
        output: which output, of a model with several.
        layout: ``nchw`` gives an ONNX file that takes ``(1, 3, H, W)`` and gives scores ``(1, C, h, w)``.
        opset: version of ONNX's operators, 13 to 18; 17 when left out.

    Returns:
        The artifact; nothing is written.

    Raises:
        InputError: the input size is not fixed and there is no ``spec``, or there is no such output, layout or opset.
        UnsupportedModel: the model cannot be converted; the text says why.
        VerificationFailed: the artifact disagrees with the model beyond its gate, or lost more accuracy than its gate
            allows.

    Example:
        >>> export(model, format="tflite", precision="fp16").save("model.fp16.tflite")
    """
    samples = collect(data, split="val", count=8) if verify else None
    recipe = Recipe(format, precision)
    model = prepare(model, spec.input_size if spec else None, output)
    spec = spec or infer_spec(model)
    (result,) = export_all(
        model,
        spec,
        [recipe],
        target=target,
        output_kind=output_kind,
        samples=samples,
        optimize=optimize,
        layout=layout,
        opset=opset,
        quantization=Quantization.of([recipe], data, spec, rescue=rescue, method=calibration_method),
    )
    if result.failure:
        raise VerificationFailed(f"{result.file_name} {result.failure}.")
    return result


def export_all(
    model: keras.Model,
    spec: ModelSpec,
    recipes: Sequence[Recipe],
    *,
    target: Target = "generic",
    output_kind: OutputKind = "argmax",
    samples: Samples | None = None,
    optimize: bool = True,
    layout: Layout = "nhwc",
    opset: int | None = None,
    quantization: Quantization | None = None,
) -> Iterator[ExportResult]:
    """Convert a model to several artifacts; it is run for reference once, and rewritten once for each set of rules.

    The reference is the model as it was given, so that a rewrite is under proof as well.

    Args:
        model: see ``export``.
        spec: how to feed the model; the input size is obeyed.
        recipes: what to make.
        target: see ``export``.
        output_kind: see ``export``.
        samples: images to verify with, such as ``samples.collect`` finds; no verification when ``None``.
        optimize: see ``export``.
        layout: see ``export``.
        opset: see ``export``.
        quantization: images, gate and rescue of the integer precisions, most easily by ``Quantization.of``; without
            it there are float ones and ``dynamic``.

    Yields:
        One result for each recipe as it is done, also when a gate failed.

    Raises:
        InputError: a format has no such target, layout or opset, or an integer precision lacks images.
        UnsupportedModel: the model cannot be converted; the text says why.

    Example:
        >>> recipes = [Recipe("tflite", "int8"), Recipe("onnx", "int8")]
        >>> quantization = Quantization.of(recipes, "data/", spec, gate=AccuracyGate(max_drop=0.5), rescue=True)
        >>> results = list(export_all(model, spec, recipes, quantization=quantization))
    """
    check_backend()
    check_options([recipe.format for recipe in recipes], layout, opset)
    quantization = quantization or Quantization()
    for recipe in recipes:
        check_quantization(recipe, target, output_kind, quantization)
    spec = spec.replace(output_kind=output_kind, layout=layout, dtype="float32")  # an artifact's is its recipe's
    with float32_policy():
        model = prepare(model, spec.input_size)
    check(model, spec)
    note_training(model)
    calibration = quantization.calibration if any(recipe.is_static for recipe in recipes) else None
    with untouched(model), float32_policy():
        head = read_head(model, spec, samples)
        expected = reference(model, spec, samples, head) if samples else None
        integers = Integers(quantization, compare(model, calibration, spec) if calibration else None)
    plans = [_Plan.of(recipe, rules_for(recipe.format, target), optimize) for recipe in recipes]
    prepared: dict[_Plan, tuple[RewriteResult, Any]] = {}
    for number, (recipe, plan) in enumerate(zip(recipes, plans, strict=True)):
        start = time.perf_counter()
        if plan not in prepared:
            with float32_policy():
                rewritten = rewrite(head.model, plan.rules)
                fed = spec.replace(dtype=plan.dtype)
                frozen = trace(rewritten.model, fed, probabilities=head.probabilities)
            for refused in _refused(rewritten, plan.swaps):
                _log.warning("'%s' is converted as it is: %s", refused.site, refused.reason)
            note_opaque(rewritten.model, plan.swaps)
            prepared[plan] = rewritten, frozen
        rewritten, frozen = prepared[plan]
        if plan not in plans[number + 1 :]:
            del prepared[plan]  # every one holds all weights
        found = {name: installed_version(name) for name in _TOOLS[recipe.format]}
        tools = {"edgeseg": __version__, **{name: version for name, version in found.items() if version is not None}}
        source = spec.provenance.source or model.name
        provenance = Provenance(
            source=source, precision=recipe.precision, target=target, rewrites=rewritten.counts(), tools=tools
        )
        made = spec.replace(dtype=plan.dtype, provenance=provenance)
        quantized = None
        try:
            if recipe.is_quantized:
                quantized = integers.make(frozen, made, recipe, opset or DEFAULT_OPSET)
                data = quantized.data
            elif recipe.format == "tflite":
                data = to_tflite(frozen, made)
            else:
                data = to_onnx(frozen, made, opset=opset or DEFAULT_OPSET)
        except UnsupportedModel as error:
            told = with_layers(error, frozen, model) if isinstance(error, ForeignOps) else error
            left = "; ".join(f"'{s.site}' could not be replaced: {s.reason}" for s in _refused(rewritten, plan.swaps))
            raise UnsupportedModel(f"{told} {left}." if left else str(told)) from error
        proof = verify(expected, data, recipe) if expected else None
        seconds = time.perf_counter() - start
        yield ExportResult(data, recipe, made, rewritten, proof, seconds, quantized=quantized)


@dataclass(frozen=True)
class _Plan:
    """What has to be the same for two artifacts to start from one frozen function.

    Attributes:
        swaps: the rules without which the model does not convert.
        rules: all rules.
        dtype: of the input: the integer precisions take bytes and normalize inside.
    """

    swaps: tuple[Rewrite, ...]
    rules: tuple[Rewrite, ...]
    dtype: InputDtype

    @classmethod
    def of(cls, recipe: Recipe, rules: Rules, optimize: bool) -> _Plan:
        chosen = rules.in_order(optimize=optimize, precision=recipe.precision)
        return cls(rules.swaps, chosen, "uint8" if recipe.is_static else "float32")


def _refused(rewritten: RewriteResult, rules: Sequence[Rewrite]) -> list[Refused]:
    names = {rule.name for rule in rules}
    return [refused for refused in rewritten.refused if refused.rule in names]


def infer_spec(model: keras.Model) -> ModelSpec:
    """The spec of a model that came without one: the zoo's where it is one of it, else see ``assumed_spec``."""
    size, channels = model.input_shape[1:3], model.output_shape[-1]
    zoo_model = zoo_model_of(model)
    if zoo_model is not None:
        return zoo_model.default_spec(max(channels, 2), size)
    return assumed_spec(model.name, size, channels, model=model)
