"""Export a Keras model to TFLite, ONNX, MNN and OpenVINO files, each proven against the model (``edgeseg export``)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeseg.choices import (
    Format,
    Layout,
    OutputKind,
    Precision,
    Target,
)
from edgeseg.cli import _artifact_files, _completion, _model, _options, _quantization
from edgeseg.cli._artifact_files import Results, Verification
from edgeseg.cli._fields import choices_of, collect, default_of, option
from edgeseg.cli._groups import GroupedCommand
from edgeseg.cli._model import ModelOptions
from edgeseg.cli._summaries import help_of
from edgeseg.cli._terminal import progress_of_steps, quiet_native_logs
from edgeseg_converters.options import ExportOptions, Quantization
from edgeseg_converters.recipes import DEFAULT_OPSET, OPSETS, Recipe

if TYPE_CHECKING:
    from edgeseg._internal.progress import StepProgress
    from edgeseg.datasets import DataSource
    from edgeseg_converters import ExportResult


class _Command(GroupedCommand):
    headings = {  # noqa: RUF012 - click's own attributes are so
        "Model": _model.OPTIONS,
        "Files": ("formats", "precisions", "output_kind", "target", "layout", "opset", "optimize", "half_arithmetic"),
        "Data": (*_options.DATASET, "split"),
        "Verification": _artifact_files.VERIFICATION,
        "Quantization": (*_quantization.CALIBRATION, *_quantization.GATE, "rescue"),
        "Results": _artifact_files.RESULTS,
    }


def _recipes(*, formats: tuple[Format, ...], precisions: tuple[Precision, ...]) -> list[Recipe]:
    return [Recipe(name, precision) for name in formats for precision in precisions]


def _options_of(
    *,
    output_kind: OutputKind,
    target: Target,
    layout: Layout,
    opset: int | None,
    optimize: bool,
    half_arithmetic: bool | None,
) -> ExportOptions:
    return ExportOptions(
        target=target,
        output_kind=output_kind,
        layout=layout,
        opset=opset,
        optimize=optimize,
        half_arithmetic=half_arithmetic,
    )


@click.command(
    "export",
    cls=_Command,
    help=help_of("export", "MODEL is a zoo name, or a .keras or .h5 file; the packaged model when omitted."),
)
@click.argument("model", required=False, shell_complete=_completion.models)
@collect(
    "recipes",
    _recipes,
    click.option(
        "--format",
        "formats",
        type=_options.NamesType(choices_of(Recipe, "format")),
        default=default_of(Recipe, "format"),
        show_default=True,
        help="Formats to make, with commas between.",
    ),
    click.option(
        "--precision",
        "precisions",
        type=_options.NamesType(choices_of(Recipe, "precision")),
        default=default_of(Recipe, "precision"),
        show_default=True,
        help="Precisions of each format, with commas between. fp16 and dynamic shrink only the weights; int8 and "
        "w8a16 quantize the whole model, with --data.",
    ),
)
@_model.options
@collect(
    "options",
    _options_of,
    option(ExportOptions, "output_kind", help="What a file returns: a class map, or scores of each class."),
    option(
        ExportOptions,
        "target",
        help="What will run it: generic runs anywhere; a delegate's name allows ops that only it has.",
    ),
    option(ExportOptions, "layout", help="Axis order of an ONNX file's input and scores; TFLite is nhwc."),
    option(
        ExportOptions,
        "opset",
        help=f"Version of ONNX's operators, {OPSETS[0]} to {OPSETS[-1]}.",
        if_omitted=str(DEFAULT_OPSET),
    ),
    option(ExportOptions, "optimize", help="Apply the speed-ups that change no result."),
    option(
        ExportOptions,
        "half_arithmetic",
        help="Let an fp16 .tflite compute in half precision on CPUs that do so natively.",
        if_omitted="where its answers remain right",
    ),
)
@_options.dataset(
    required=False,
    help="Images to verify and calibrate with and to measure the accuracy on: a labeled data set or a folder.",
)
@_artifact_files.verification("the Keras model")
@_quantization.options
@_artifact_files.results(_model.name)
def command(
    model: str | None,
    recipes: list[Recipe],
    request: ModelOptions,
    options: ExportOptions,
    data: DataSource | None,
    verification: Verification,
    quantization: Quantization,
    results: Results,
) -> int:
    """Run ``edgeseg export``."""
    from edgeseg.models.opening import precheck

    quiet_native_logs()
    verification.check()
    precheck(model, request.imgsz, request.model_options)
    quantization = dataclasses.replace(quantization, data=data)
    with progress_of_steps("loading TensorFlow") as update:
        saved, page = _export(model, request, recipes, options, quantization, verification, results, update)
        proof, refused = _artifact_files.save_proof(saved, verification, results, update)
    return _artifact_files.finish(saved, page, proof, refused, results)


def _export(
    model: str | None,
    request: ModelOptions,
    recipes: list[Recipe],
    options: ExportOptions,
    quantization: Quantization,
    verification: Verification,
    results: Results,
    progress: StepProgress,
) -> tuple[list[tuple[Path, ExportResult]], Path | None]:
    """Make and save the artifacts and the report; return the artifacts with their paths, and the report's path."""
    from edgeseg.datasets import is_labeled, open_classes
    from edgeseg.errors import missing_extra

    try:
        from edgeseg_converters import Exporter
    except ModuleNotFoundError as error:
        raise missing_extra("edgeseg export", "convert") from error

    data = quantization.data
    quantization = dataclasses.replace(quantization, learned=_model.learned_ranges(model))
    exporter = Exporter(recipes, options=options, quantization=quantization)
    samples = verification.samples(quantization)
    classes = open_classes(data) if data and is_labeled(data) else None
    progress("opening the model", 0, 0)
    opened = request.open(model, classes)
    spec = opened.spec.replace(name=results.name or request.name_of(opened.spec))
    page = _artifact_files.report_path(spec.name, exporter.recipes, quantization, verification, results)
    made = exporter.run(opened.model, spec, samples=samples, progress=progress)
    return _artifact_files.save_all(made, page, results, progress), page
