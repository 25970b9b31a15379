"""Quantize somebody's float ``.tflite`` or ``.onnx``: prepare it, prove that, quantize it, and verify the bytes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeseg._internal.progress import StepProgress
from edgeseg._internal.versions import __version__, installed_version
from edgeseg.choices import Format, OutputKind, Precision
from edgeseg.datasets import Data, is_labeled, open_classes
from edgeseg.errors import InputError, UnsupportedModel, VerificationFailed
from edgeseg.opening import InputDescription
from edgeseg.spec import ModelSpec, Provenance
from edgeseg_converters.exporter import ExportResult
from edgeseg_converters.images import Samples, collect
from edgeseg_converters.options import ExportOptions, Quantization
from edgeseg_converters.quantization.artifact.model import FloatModel, format_of
from edgeseg_converters.quantization.engines import FloatFile
from edgeseg_converters.quantization.make import Integers, QuantizationImages
from edgeseg_converters.recipes import Recipe
from edgeseg_converters.verification.comparison import Reference, verify
from edgeseg_converters.verification.file_reference import reference_of_file

_TOOLS: dict[Format, tuple[str, ...]] = {
    "tflite": ("ai-edge-litert", "litert-quantizer"),
    "onnx": ("onnx", "onnxruntime"),
}


def quantize(
    path: str | Path,
    *,
    precision: Precision = "int8",
    data: Data | None = None,
    description: InputDescription | None = None,
    verify: bool = True,
    options: ExportOptions | None = None,
    quantization: Quantization | None = None,
) -> ExportResult:
    """Quantize a float segmentation file, and prove the artifact against it.

    Args:
        path: a ``.tflite`` or ``.onnx`` file of any origin, with or without ModelSpec, or a packaged one by its name.
        precision: ``int8``, ``dynamic`` and ``w8a16`` of a ``.tflite``; ``int8`` of an ``.onnx``.
        data: images to verify with, to calibrate with and to measure the accuracy on; see ``export``.
        description: how to feed a file without ModelSpec.
        verify: whether to prove the artifact.
        options: the kind of output.
        quantization: see ``export``.

    Returns:
        The artifact, with a ModelSpec inside; nothing is written.

    Raises:
        InputError: the file is damaged, has integers already, or nothing says how it is fed; see
            ``ExportOptions.check``.
        UnsupportedModel: the file has what integers do not, or the quantizer does not take it.
        VerificationFailed: the artifact disagrees with the file, or lost accuracy, by more than its gate allows.

    Examples:
        >>> description = InputDescription(mean=(0, 0, 0), std=(255, 255, 255), class_names=("person",))
        >>> quantize("selfie.onnx", data="people/", description=description).save("out/")
    """
    quantization = quantization or Quantization()
    if data is not None:
        quantization = dataclasses.replace(quantization, data=data)
    quantizer = Quantizer([Recipe(format_of(path), precision)], options=options, quantization=quantization)
    samples = collect(data, split=quantization.split) if verify else None
    classes = open_classes(data).names if data is not None and is_labeled(data) else None
    model = FloatModel.open(path, description or InputDescription(), classes=classes)
    (result,) = quantizer.run(model, samples=samples)
    if result.failure:
        raise VerificationFailed(f"{result.file_name} {result.failure}.")
    return result


class Quantizer:
    """Makes integer artifacts of a float file, which is run once for reference.

    The settings are checked when a quantizer is created, so that a mistake is reported before a file is opened.
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
            recipes: what to make, of the format of the file.
            options: the kind of output.
            quantization: images, gate and rescue.

        Raises:
            InputError: a precision has no integers, or see ``ExportOptions.check``.
        """
        self.recipes = tuple(recipes)
        self.options = options or ExportOptions()
        self.quantization = quantization or Quantization()
        for recipe in self.recipes:
            if not recipe.is_quantized:
                raise InputError(f"{recipe.precision} has no integers; accepted: int8, dynamic and w8a16.")
        self.options.check(self.recipes, self.quantization)

    def run(
        self,
        model: FloatModel,
        *,
        name: str | None = None,
        samples: Samples | None = None,
        progress: StepProgress | None = None,
    ) -> Iterator[ExportResult]:
        """Make the artifacts, each when it is consumed.

        What is made of the file to be quantized has to give the same in float first.

        Args:
            model: the file.
            name: of the model; the file's when omitted.
            samples: images to verify with; no verification when ``None``.
            progress: called at the start of each step, with a total of 0, and while images are run.

        Yields:
            One result for each recipe, also when a gate failed.

        Raises:
            InputError: the images or their labels do not go with the file, or it does not run.
            UnsupportedModel: it cannot be quantized; the text says why.
        """
        work = _Work(model, name or model.spec.name, self.options.output_kind, samples, progress)
        self.options.check_classes(self.recipes, model.spec.num_classes)
        images = QuantizationImages.collect(self.quantization, self.recipes, model.spec)  # before the long work
        integers = Integers(self.quantization, images, progress=progress)
        for recipe in self.recipes:
            start = time.perf_counter()
            work.step(f"{recipe.precision}: preparing the file")
            spec = work.spec(recipe)
            source, expected = work.prepared(spec)
            work.step(f"{recipe.precision}: quantizing")
            quantized = integers.make_of_file(source, spec, recipe)
            if expected:
                work.step(f"{recipe.precision}: verifying")
            yield ExportResult(
                data=quantized.data,
                recipe=recipe,
                spec=spec,
                rewrites=None,
                verification=verify(expected, quantized.data, recipe) if expected else None,
                seconds=time.perf_counter() - start,
                quantized=quantized,
                reference=expected,
            )


class _Work:
    """Prepares a float file once for each kind of input, and runs it once for reference."""

    def __init__(
        self,
        model: FloatModel,
        name: str,
        output_kind: OutputKind,
        samples: Samples | None,
        progress: StepProgress | None,
    ) -> None:
        self._model, self._name, self._kind = model, name, output_kind
        self._samples, self._progress = samples, progress
        self._prepared: dict[bool, FloatFile] = {}
        self._expected: Reference | None = None

    def step(self, what: str) -> None:
        if self._progress:
            self._progress(what, 0, 0)

    def spec(self, recipe: Recipe) -> ModelSpec:
        """Return how to feed an artifact, and how it is made."""
        versions = {name: installed_version(name) for name in _TOOLS[recipe.format]}
        known = {name: version for name, version in versions.items() if version is not None}
        origin = self._model.spec.provenance.source or self._model.file.path.name
        made = Provenance(source=origin, precision=recipe.precision, tools={"edgeseg": __version__, **known})
        return self._model.artifact_spec(
            name=self._name, output_kind=self._kind, takes_bytes=recipe.is_static, made=made
        )

    def prepared(self, spec: ModelSpec) -> tuple[FloatFile, Reference | None]:
        """Return the float file for an artifact, and the answers of the file as it was given; proven to be the same."""
        takes_bytes = spec.dtype == "uint8"
        if takes_bytes not in self._prepared:
            self._prepared[takes_bytes] = source = self._model.float_file(spec)
            if self._samples:
                self._expected = self._expected or self._reference(source, self._samples)
                self._prove(source, self._expected)
        return self._prepared[takes_bytes], self._expected

    def _reference(self, source: FloatFile, samples: Samples) -> Reference:
        self.step("running the float file")
        spec = self._model.artifact_spec(name=self._name, output_kind=self._kind, takes_bytes=False, made=Provenance())
        with self._model.segmenter() as given:
            return reference_of_file(given, source.data, source.format, spec, samples)

    def _prove(self, source: FloatFile, expected: Reference) -> None:
        proof = verify(expected, source.data, Recipe(source.format, self._model.precision))
        if not proof.passed:
            raise UnsupportedModel(
                f"'{self._model.file.path}' is not quantized, as what edgeseg makes of it in float is not the same: "
                f"{proof.reason}. Please report it."
            )
