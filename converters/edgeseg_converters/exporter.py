"""Export a Keras model: rewrite, freeze, convert or quantize it, and verify the bytes."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from edgeseg._internal.fields import short_repr
from edgeseg._internal.files import sha256, write_artifact
from edgeseg._internal.limits.pairs import weights_path
from edgeseg._internal.progress import StepProgress
from edgeseg._internal.versions import __version__, installed_version
from edgeseg.choices import Format, InputDtype, Precision
from edgeseg.coverage import Coverage
from edgeseg.datasets import Data
from edgeseg.errors import InputError, UnsupportedModel, VerificationFailed
from edgeseg.html.notebook import html_table
from edgeseg.models.keras_graph import graph_of
from edgeseg.models.keras_internals import layers_within
from edgeseg.proof import Proof
from edgeseg.spec import ModelSpec, Provenance
from edgeseg_converters.images import Samples, collect
from edgeseg_converters.keras_model.float32 import float32_policy
from edgeseg_converters.keras_model.freeze import trace
from edgeseg_converters.keras_model.prepare import PreparedModel
from edgeseg_converters.keras_model.steadiness import pools_with_indices
from edgeseg_converters.keras_model.training_mode import note_training, untouched
from edgeseg_converters.keras_model.unsupported_ops import ForeignOps, refuse_quantized, with_layers
from edgeseg_converters.mnn.convert import to_mnn
from edgeseg_converters.onnx.convert import to_onnx
from edgeseg_converters.openvino.convert import to_openvino
from edgeseg_converters.options import ExportOptions, Quantization
from edgeseg_converters.quantization.domain_shift import compare
from edgeseg_converters.quantization.engines import float_spec
from edgeseg_converters.quantization.learned import LearnedLimits
from edgeseg_converters.quantization.make import Integers, QuantizationImages, Quantized
from edgeseg_converters.recipes import DEFAULT_OPSET, Recipe
from edgeseg_converters.rewrites import Refused, Rewrite, RewriteResult, rules_for
from edgeseg_converters.rewrites.base import rewrite_graph
from edgeseg_converters.rewrites.ops.base import OpRewrite, rewrite_ops
from edgeseg_converters.tflite.convert import to_tflite
from edgeseg_converters.verification.comparison import Reference, Verification, explained, reference, verify
from edgeseg_converters.verification.half_arithmetic import HalfVerification, with_half_arithmetic
from edgeseg_converters.verification.proof import make_proof

_log = logging.getLogger(__name__)

_TOOLS: dict[Format, tuple[str, ...]] = {
    "tflite": ("tensorflow", "keras", "ai-edge-litert"),
    "onnx": ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime"),
    "mnn": ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "MNN"),
    "openvino": ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "openvino"),
}

#: What makes the formats that start from an ONNX file.
_MAKERS = {"mnn": to_mnn, "openvino": to_openvino}


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """One artifact.

    Attributes:
        data: the file's bytes; of an OpenVINO model those of the ``.xml``, then those of its ``.bin``.
        recipe: format and precision.
        spec: the ModelSpec inside it.
        rewrites: what was replaced before converting, with the proof of each site, and what was refused; ``None`` of a
            file that was made from another one.
        verification: the proof; ``None`` when it was not requested.
        seconds: time to convert and to verify, in seconds.
        coverage: which ops the chosen accelerators run; empty when none was chosen.
        quantized: for an integer precision: the calibration, the accuracy, and what was rescued.
        reference: what the model that it was made from says of the images that verified; ``None`` where nothing was
            verified. One for all artifacts of an export.
        half: of an fp16 ``.tflite`` file: whether it asks for half precision, and why not; ``None`` for others, and
            where ``options.half_arithmetic`` is ``False``.
    """

    __repr__ = short_repr

    data: bytes
    recipe: Recipe
    spec: ModelSpec
    rewrites: RewriteResult | None
    verification: Verification | None
    seconds: float
    coverage: tuple[Coverage, ...] = ()
    quantized: Quantized | None = None
    reference: Reference | None = None
    half: HalfVerification | None = None

    @property
    def replaced(self) -> tuple[tuple[str, int, float], ...]:
        """Each rewrite that was applied, at how many sites, and the largest difference that was measured there."""
        done = self.rewrites
        return () if done is None else tuple((rule, sites, done.max_abs_error(rule)) for rule, sites in done.counts())

    @property
    def failure(self) -> str:
        """Which gate failed and why, in a sentence; empty when all requested gates passed."""
        if self.verification and not self.verification.passed:
            return f"failed its verification: {self.verification.reason}"
        if self.half and self.half.rejected:
            return f"cannot have half arithmetic, as {self.half.reason}"
        accuracy = self.quantized.accuracy if self.quantized else None
        return f"failed its accuracy gate: {accuracy.reason}" if accuracy and not accuracy.passed else ""

    @property
    def file_name(self) -> str:
        """``<model>.<precision>.<format>``."""
        return self.recipe.file_name(self.spec.name)

    def _repr_html_(self) -> str:
        """Return what the artifact is and how it was proven as a table, for a notebook."""
        proof = self.verification
        rows = [
            ("size", f"{len(self.data) / 1e6:.2f} MB"),
            ("rewrites", ", ".join(f"{rule} ({sites})" for rule, sites, _ in self.replaced) or "none"),
            ("same class", f"{proof.argmax_agreement:.2%} of the pixels" if proof else "not verified"),
            ("gates", self.failure or "passed"),
        ]
        return html_table(rows, head=("", self.file_name))

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write the artifact, to a temporary name first; an OpenVINO model also a ``.bin`` beside it.

        Args:
            path: a file, or a folder that gets ``file_name``.
            overwrite: whether an existing file may be replaced.

        Returns:
            The file's path.

        Raises:
            InputError: the file exists, or cannot be written; or it is an OpenVINO model's and has another ending.
        """
        path = Path(path)
        if path.is_dir():
            path = path / self.file_name
        if self.recipe.format == "openvino" and weights_path(path) is None:
            raise InputError(f"an OpenVINO model is saved as an .xml, which its weights are beside; got '{path}'.")
        write_artifact(path, self.data, overwrite=overwrite)
        return path

    def proof(self) -> Proof:
        """Make the proof that travels beside the artifact: images, what Keras says of them, and the gates.

        Returns:
            The proof, whose ``save`` writes ``MODEL.proof.zip``; ``edgeseg.proof.verify`` reads it.

        Raises:
            InputError: the artifact was not verified, or failed.
        """
        if self.reference is None:
            raise InputError(f"{self.file_name} was not verified: a proof needs `verify=True`.")
        if self.failure:
            raise InputError(f"{self.file_name} {self.failure}, so that there is no proof of it.")
        return make_proof(self.reference).with_artifacts({self.file_name: sha256(self.data)})

    def to_dict(self, path: Path) -> dict[str, Any]:
        """Return an entry of ``artifacts`` in ``edgeseg export --json``."""
        return {
            "path": str(path),
            "format": self.recipe.format,
            "precision": self.recipe.precision,
            "target": self.spec.provenance.target,
            "size_bytes": len(self.data),
            "sha256": sha256(self.data),
            "rewrites": [
                {"rule": rule, "sites": sites, "max_abs_error": error} for rule, sites, error in self.replaced
            ],
            "verification": None if self.verification is None else dataclasses.asdict(self.verification),
            "half_arithmetic": None if self.half is None else dataclasses.asdict(self.half),
            "coverage": [part.to_dict() for part in self.coverage],
            "quantization": None if self.quantized is None else self.quantized.to_dict(),
            "seconds": round(self.seconds, 3),
        }


def export(
    model: keras.Model,
    *,
    format: Format = Recipe.format,  # noqa: A002 - the field's word, and the command line's
    precision: Precision = Recipe.precision,
    spec: ModelSpec | None = None,
    data: Data | None = None,
    verify: bool = True,
    options: ExportOptions | None = None,
    quantization: Quantization | None = None,
) -> ExportResult:
    """Convert a Keras model and prove the artifact against it.

    Args:
        model: from ``(B, H, W, 3)`` to logits or probabilities ``(B, h, w, C)``; with one channel, the foreground is
            above 0 (logits) or 0.5 (probabilities). A subclassed model is converted without rewrites. When its input
            size is not fixed, ``spec`` gives it.
        format: ``tflite``, ``onnx``, ``mnn`` or ``openvino``.
        precision: ``fp32``, ``fp16``, and the integer ones ``dynamic``, ``int8`` and ``w8a16``.
        spec: how to feed the model. When omitted, a zoo model's own is used, else nameless classes and pixels in
            [-1, 1], or unscaled pixels for a model that takes integers or begins with a Rescaling or Normalization.
        data: images to verify with, to calibrate with and to measure the accuracy on: a labeled data set, whose
            ``train`` split calibrates and whose ``val`` split measures, or a folder. When omitted, the images of an
            installed package verify, and ``int8`` and ``w8a16`` are refused unless ``quantization`` has images.
        verify: whether to prove the artifact.
        options: half arithmetic, target, kind of output, layout and the like; see ``ExportOptions``.
        quantization: splits, number of calibration images, accuracy gate and rescue of the integer precisions.

    Returns:
        The artifact; nothing is written.

    Raises:
        InputError: the input size is not fixed and there is no ``spec``, or see ``ExportOptions.check``.
        UnsupportedModel: the model cannot be converted; the text says why.
        VerificationFailed: the artifact disagrees with the model, or lost accuracy, by more than its gate allows.

    Examples:
        >>> export(model, format="tflite", precision="fp16").save("model.fp16.tflite")
    """
    quantization = quantization or Quantization()
    if data is not None:
        quantization = dataclasses.replace(quantization, data=data)
    exporter = Exporter([Recipe(format, precision)], options=options, quantization=quantization)
    samples = collect(data, split=quantization.split) if verify else None
    (result,) = exporter.run(model, spec, samples=samples)
    if result.failure:
        raise VerificationFailed(f"{result.file_name} {result.failure}.")
    return result


def export_all(
    model: keras.Model,
    spec: ModelSpec,
    recipes: Sequence[Recipe],
    *,
    samples: Samples | None = None,
    options: ExportOptions | None = None,
    quantization: Quantization | None = None,
    progress: StepProgress | None = None,
) -> Iterator[ExportResult]:
    """Convert a model to several artifacts: ``Exporter`` in one call.

    Args:
        model: see ``export``.
        spec: how to feed the model; the input size is obeyed.
        recipes: what to make.
        samples: images to verify with, such as ``images.collect`` finds; no verification when ``None``.
        options: see ``export``.
        quantization: see ``export``.
        progress: called at the start of each step, with a total of 0, and while images are run.

    Returns:
        One result for each recipe, made when it is consumed, also when a gate failed.

    Raises:
        InputError: see ``ExportOptions.check``.

    Examples:
        >>> recipes = [Recipe("tflite", "int8"), Recipe("onnx", "int8")]
        >>> quantization = Quantization(data="data/", gate=AccuracyGate(max_drop=0.5), rescue=True)
        >>> results = list(export_all(model, spec, recipes, quantization=quantization))
    """
    exporter = Exporter(recipes, options=options, quantization=quantization)
    return exporter.run(model, spec, samples=samples, progress=progress)


class Exporter:
    """Makes artifacts of a model, which is run once for reference and rewritten once for each set of rules.

    The settings are checked when an exporter is created, so that a mistake is reported before a model is opened.

    Examples:
        >>> exporter = Exporter([Recipe("tflite", "fp16")], options=ExportOptions(target="gpu"))
        >>> for result in exporter.run(model, spec, samples=samples):
        ...     result.save("out/")
    """

    def __init__(
        self,
        recipes: Sequence[Recipe],
        *,
        options: ExportOptions | None = None,
        quantization: Quantization | None = None,
    ) -> None:
        """Check the settings.

        Args:
            recipes: what to make.
            options: target, kind of output, layout and the like.
            quantization: images, gate and rescue of the integer precisions.

        Raises:
            InputError: see ``ExportOptions.check``.
        """
        self.recipes = tuple(recipes)
        self.options = options or ExportOptions()
        self.quantization = quantization or Quantization()
        self.options.check(self.recipes, self.quantization)

    def run(
        self,
        model: keras.Model,
        spec: ModelSpec | None = None,
        *,
        samples: Samples | None = None,
        progress: StepProgress | None = None,
    ) -> Iterator[ExportResult]:
        """Make the artifacts, each when it is consumed.

        The reference is the model as it was given, so that the proof covers the rewrites as well.

        Args:
            model: see ``export``.
            spec: how to feed the model; see ``export``.
            samples: images to verify with; no verification when ``None``.
            progress: called at the start of each step, with a total of 0, and while images are run.

        Yields:
            One result for each recipe, also when a gate failed.

        Raises:
            InputError: the model has no input size, or does not fit the spec or the images.
            UnsupportedModel: the model cannot be converted; the text says why.
        """

        def step(what: str) -> None:
            if progress:
                progress(what, 0, 0)

        if self.options.half_arithmetic and not samples:
            raise InputError("half arithmetic is proven on images: omit `verify=False`, or `half_arithmetic=True`.")
        step("reading the model")
        prepared = PreparedModel.of(model, spec, self.options, samples)
        self.options.check_classes(self.recipes, prepared.spec.num_classes)
        images = QuantizationImages.collect(self.quantization, self.recipes, prepared.spec)  # before the long work
        note_training(prepared.graph)
        if samples:
            samples = samples.for_model(prepared.graph.operations())
            step("running the Keras model")
        with untouched(prepared.model), float32_policy():
            expected = reference(prepared, samples) if samples else None
            domain = compare(prepared.graph, images.calibration, prepared.spec) if images.calibration else None
        takes = [self.quantization.takes_learned(recipe, self.options.target) for recipe in self.recipes]
        learned = None
        if any(takes) and self.quantization.learned is not None:
            learned = LearnedLimits(self.quantization.learned, prepared.model, prepared.spec)
        integers = Integers(self.quantization, images, domain=domain, learned=learned, progress=progress)
        if expected:
            radius = expected.spec.receptive_radius
            prepared = dataclasses.replace(prepared, spec=prepared.spec.replace(receptive_radius=radius))
        plans = [_Plan.of(recipe, self.options, learned=one) for recipe, one in zip(self.recipes, takes, strict=True)]
        rewritten_and_frozen = _FrozenModels(prepared, plans)
        for recipe, plan in zip(self.recipes, plans, strict=True):
            start = time.perf_counter()
            name = f"{recipe.format} {recipe.precision}"
            step(f"{name}: rewriting")
            frozen = rewritten_and_frozen.take(plan)
            artifact_spec = self._artifact_spec(prepared, recipe, frozen)
            step(f"{name}: converting")
            data, quantized = self._make(recipe, frozen, artifact_spec, integers)
            if expected:
                step(f"{name}: verifying")
            half = None
            if recipe.has_half_arithmetic and self.options.half_arithmetic is not False:
                required = bool(self.options.half_arithmetic)
                data, half = with_half_arithmetic(data, artifact_spec, expected, required=required)
            verification = verify(expected, data, recipe) if expected else None
            if expected and verification:
                verification = explained(
                    verification, expected, data, recipe, frozen=frozen.function, model=prepared.model
                )
            yield ExportResult(
                data=data,
                recipe=recipe,
                spec=artifact_spec,
                rewrites=frozen.rewrites,
                verification=verification,
                seconds=time.perf_counter() - start,
                quantized=quantized,
                reference=expected,
                half=half,
            )

    def _artifact_spec(self, prepared: PreparedModel, recipe: Recipe, frozen: _FrozenModel) -> ModelSpec:
        """Return how to feed an artifact, and how it was made."""
        versions = {name: installed_version(name) for name in _TOOLS[recipe.format]}
        tools = {"edgeseg": __version__, **{name: version for name, version in versions.items() if version is not None}}
        provenance = Provenance(
            source=prepared.spec.provenance.source or prepared.model.name,
            precision=recipe.precision,
            target=self.options.target,
            rewrites=frozen.rewrites.counts(),
            tools=tools,
            model_options=prepared.spec.provenance.model_options,
        )
        return prepared.spec.replace(dtype=frozen.plan.dtype, provenance=provenance)

    def _make(
        self, recipe: Recipe, frozen: _FrozenModel, spec: ModelSpec, integers: Integers
    ) -> tuple[bytes, Quantized | None]:
        """Return the bytes of an artifact, and how it was quantized for an integer precision."""
        opset = self.options.opset or DEFAULT_OPSET
        refuse_quantized(frozen.function, frozen.given)
        try:
            if recipe.is_quantized:
                quantized = integers.make(frozen.function, spec, recipe, opset)
                return quantized.data, quantized
            if recipe.format == "tflite":
                return to_tflite(frozen.function, spec), None
            if recipe.format == "onnx":
                return to_onnx(frozen.function, spec, opset=opset), None
            if recipe.format == "mnn":
                _refuse_pooling_indices(frozen.given, spec)
            return _MAKERS[recipe.format](to_onnx(frozen.function, float_spec(spec), opset=opset), spec), None
        except UnsupportedModel as error:
            text = str(with_layers(error, frozen.function, frozen.given) if isinstance(error, ForeignOps) else error)
            refused = "; ".join(f"'{r.site}' could not be replaced: {r.reason}" for r in frozen.refused_swaps)
            raise UnsupportedModel(f"{text} {refused}." if refused else text) from error


@dataclass(frozen=True)
class _Plan:
    """What two artifacts must share to start from one frozen function.

    Attributes:
        swaps: the rules without which the model does not convert.
        rules: all rules.
        ops: the rules for the ops of the frozen function.
        dtype: of the input; the static precisions take bytes and normalize inside.
    """

    swaps: tuple[Rewrite, ...]
    rules: tuple[Rewrite, ...]
    ops: tuple[OpRewrite, ...]
    dtype: InputDtype

    @classmethod
    def of(cls, recipe: Recipe, options: ExportOptions, *, learned: bool) -> _Plan:
        rules = rules_for(recipe.format, options.target)
        chosen = rules.in_order(optimize=options.optimize, precision=recipe.precision, learned=learned)
        return cls(rules.swaps, chosen, rules.ops, "uint8" if recipe.is_static else "float32")


@dataclass(frozen=True)
class _FrozenModel:
    """A model rewritten and frozen by a plan.

    Attributes:
        given: the model before the rewrites.
        plan: has the rules that were applied.
        rewrites: their results.
        function: the frozen function that the converters take.
    """

    given: keras.Model
    plan: _Plan
    rewrites: RewriteResult
    function: Any

    @classmethod
    def of(cls, prepared: PreparedModel, plan: _Plan) -> _FrozenModel:
        head = prepared.head
        with float32_policy():
            rewrites = rewrite_graph(head.model, head.graph, plan.rules)
            fed = prepared.spec.replace(dtype=plan.dtype)
            function = trace(rewrites.model, fed, probabilities=head.probabilities)
            rewrites = rewrites.followed_by(
                [rule.name for rule in plan.ops], *rewrite_ops(function, plan.ops, rewrites.model)
            )
        frozen = cls(prepared.model, plan, rewrites, function)
        for refused in frozen.refused_swaps:
            _log.warning("'%s' is converted as it is: %s", refused.site, refused.reason)
        _note_opaque(rewrites, plan.swaps)
        return frozen

    @property
    def refused_swaps(self) -> list[Refused]:
        """The sites where a rule that the model needs did not hold."""
        names = {rule.name for rule in self.plan.swaps} | {rule.name for rule in self.plan.ops}
        return [refused for refused in self.rewrites.refused if refused.rule in names]


def _refuse_pooling_indices(model: keras.Model, spec: ModelSpec) -> None:
    """Raise ``UnsupportedModel`` for a model whose answer depends on the places of maxima, where MNN runs it."""
    if pools_with_indices(model, (1, *spec.input_size, 3)):
        raise UnsupportedModel(
            f"'{spec.name}' is not for MNN: it takes the places of maxima from poolings, and MNN's Winograd kernels "
            "round by so much that nearly equal values change places. No file can ask MNN to go without them. Export "
            "it as tflite, onnx or openvino."
        )


class _FrozenModels:
    """One frozen model for each plan, made on first use and freed after the last."""

    def __init__(self, prepared: PreparedModel, plans: Sequence[_Plan]) -> None:
        self._prepared = prepared
        self._left = Counter(plans)
        self._made: dict[_Plan, _FrozenModel] = {}

    def take(self, plan: _Plan) -> _FrozenModel:
        frozen = self._made.pop(plan, None) or _FrozenModel.of(self._prepared, plan)
        self._left[plan] -= 1
        if self._left[plan]:  # each holds all weights
            self._made[plan] = frozen
        return frozen


def _note_opaque(rewrites: RewriteResult, swaps: Sequence[Rewrite]) -> None:
    """Warn of subclassed models, whose layers no rewrite can look into, and name what was not replaced there."""
    layers = {id(node.operation): node.operation for node in rewrites.graph.nodes}
    for layer in layers.values():
        inside = getattr(layer, "_operation", layer)  # the layer without its activation
        if not isinstance(inside, keras.Model) or graph_of(inside) is not None:
            continue
        in_ops = {applied.rule for applied in rewrites.applied}  # what is in the frozen function needs no graph
        rules = {rule.layer_class: rule.name for rule in swaps if rule.name not in in_ops}
        not_replaced = [
            f"{rules[type(inner).__name__]} for '{inner.name}'"
            for inner in layers_within(inside)
            if type(inner).__name__ in rules
        ]
        _log.warning(
            "'%s' is a subclassed model, which has no graph: it is converted as it is, without speed-ups%s; "
            "build it with keras.Model(inputs, outputs) for them",
            inside.name,
            f" and without {', '.join(not_replaced)}" if not_replaced else "",
        )
