"""Quantize a float .tflite or .onnx of any origin, proven against the file itself (``edgeseg quantize``)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from edgeseg.choices import INTEGERS, OutputKind, Precision
from edgeseg.cli import _artifact_files, _completion, _model, _options, _quantization
from edgeseg.cli._artifact_files import Results, Verification
from edgeseg.cli._fields import option
from edgeseg.cli._groups import GroupedCommand
from edgeseg.cli._summaries import help_of
from edgeseg.cli._terminal import progress_of_steps, quiet_native_logs
from edgeseg_converters.options import ExportOptions, Quantization
from edgeseg_converters.recipes import Recipe

if TYPE_CHECKING:
    from edgeseg._internal.progress import StepProgress
    from edgeseg.datasets import DataSource
    from edgeseg.opening import InputDescription
    from edgeseg_converters import ExportResult

_PRECISIONS = tuple(name for name in get_args(Precision) if name in INTEGERS)

_DETAILS = """\
FILE is a float .tflite or .onnx, from PyTorch, MediaPipe or elsewhere, or a packaged file by its name. How it is fed is
read in it, or said by the options of the model. What it answers is the reference: artifacts are proven against it, and
compared with it on the labels of --data, class by class.
"""


class _Command(GroupedCommand):
    headings = {  # noqa: RUF012 - click's own attributes are so
        "Model": _options.MODEL_DESCRIPTION,
        "Files": ("precisions", "output_kind"),
        "Data": (*_options.DATASET, "split"),
        "Verification": _artifact_files.VERIFICATION,
        "Quantization": (*_quantization.CALIBRATION, *_quantization.GATE, "rescue"),
        "Results": _artifact_files.RESULTS,
    }


_name = click.option(
    "--name",
    callback=_model.checked_name,
    help="Name of the model: in its files, and of them.",
    show_default="FILE's, without its ending",
)


@click.command("quantize", cls=_Command, help=help_of("quantize", _DETAILS))
@click.argument("file", shell_complete=_completion.artifacts)
@_options.model_description
@click.option(
    "--precision",
    "precisions",
    type=_options.NamesType(_PRECISIONS),
    default="int8",
    show_default=True,
    help="Precisions to make, with commas between; an .onnx has int8 alone. dynamic shrinks only the weights, without "
    "--data.",
)
@option(ExportOptions, "output_kind", help="What an artifact returns: a class map, or scores of each class.")
@_options.dataset(
    required=False,
    help="Images to calibrate and verify with and to measure the accuracy on: a labeled data set or a folder.",
)
@_artifact_files.verification("FILE")
@_quantization.options
@_artifact_files.results(_name)
def command(
    file: str,
    description: InputDescription,
    precisions: tuple[Precision, ...],
    output_kind: OutputKind,
    data: DataSource | None,
    verification: Verification,
    quantization: Quantization,
    results: Results,
) -> int:
    """Run ``edgeseg quantize``."""
    quiet_native_logs()
    verification.check()
    quantization = dataclasses.replace(quantization, data=data)
    with progress_of_steps("loading TensorFlow") as update:
        options = ExportOptions(output_kind=output_kind)
        saved, page = _quantize(file, description, precisions, options, quantization, verification, results, update)
        proof, refused = _artifact_files.save_proof(saved, verification, results, update)
    return _artifact_files.finish(saved, page, proof, refused, results)


def _quantize(
    file: str,
    description: InputDescription,
    precisions: tuple[Precision, ...],
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
        from edgeseg_converters.quantization.artifact.model import FloatModel, format_of
        from edgeseg_converters.quantizer import Quantizer
    except ModuleNotFoundError as error:
        raise missing_extra("edgeseg quantize", "convert") from error

    data = quantization.data
    recipes = [Recipe(format_of(file), precision) for precision in precisions]
    quantizer = Quantizer(recipes, options=options, quantization=quantization)
    progress("opening the file", 0, 0)
    classes = open_classes(data).names if data and is_labeled(data) else None
    model = FloatModel.open(file, description, classes=classes)
    name = results.name or model.spec.name
    samples = verification.samples(quantization)
    page = _artifact_files.report_path(name, recipes, quantization, verification, results)
    made = quantizer.run(model, name=name, samples=samples, progress=progress)
    return _artifact_files.save_all(made, page, results, progress), page
