"""Export a Keras model to TFLite, ONNX, MNN and OpenVINO files, each proven against the model (``edgeseg export``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edgeseg._internal.limits.pairs import REJECTED
from edgeseg.choices import (
    Format,
    Layout,
    OutputKind,
    Precision,
    Target,
)
from edgeseg.cli import _completion, _model, _options
from edgeseg.cli._export_results import note_cuts, note_half, print_results
from edgeseg.cli._fields import choices_of, collect, default_of, option
from edgeseg.cli._groups import GroupedCommand
from edgeseg.cli._model import ModelOptions
from edgeseg.cli._summaries import help_of
from edgeseg.cli._terminal import note, print_json, progress_of_steps, quiet_native_logs, say, size_text
from edgeseg.cli._words import in_flags
from edgeseg.errors import EdgesegError, InputError
from edgeseg_converters.options import DEFAULT_METHOD, ExportOptions, Quantization
from edgeseg_converters.recipes import DEFAULT_OPSET, OPSETS, AccuracyGate, Recipe

if TYPE_CHECKING:
    from edgeseg._internal.progress import StepProgress
    from edgeseg.datasets import DataSource
    from edgeseg_converters import ExportResult


class _Command(GroupedCommand):
    headings = {  # noqa: RUF012 - click's own attributes are so
        "Model": _model.OPTIONS,
        "Files": ("formats", "precisions", "output_kind", "target", "layout", "opset", "optimize", "half_arithmetic"),
        "Data": (*_options.DATASET, "split"),
        "Verification": ("verify", "num_images", "proof"),
        "Quantization": (
            "calibration_split", "num_calibration_samples", "seed", "method", "ptq", "max_drop", "max_class_drop",
            "min_agreement", "rescue",
        ),
        "Results": ("name", "output_dir", "report", *_options.RESULTS),
    }  # fmt: skip


@dataclass(frozen=True)
class _Verification:
    """Whether the artifacts are proven, on how many images, and whether the proof is saved beside them."""

    verify: bool
    num_images: int | None
    proof: bool


@dataclass(frozen=True, kw_only=True)
class _Results:
    """What the artifacts are called, and where they and the report go."""

    name: str | None
    output_dir: Path
    report: bool
    overwrite: bool
    as_json: bool


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


def _quantization(*, max_drop: float, max_class_drop: float, min_agreement: float, **settings: Any) -> Quantization:
    gate = AccuracyGate(max_drop=max_drop, max_class_drop=max_class_drop, min_agreement=min_agreement)
    return Quantization(gate=gate, **settings)


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
@collect(
    "verification",
    _Verification,
    click.option(
        "--verify/--no-verify", default=True, show_default=True, help="Prove each artifact against the Keras model."
    ),
    click.option(
        "--num-images",
        type=click.IntRange(1),
        help="Images to verify with.  [default: 8; 4 where the model takes 40 billion operations for one]",
    ),
    click.option(
        "--proof/--no-proof",
        default=True,
        show_default=True,
        help="Write MODEL.proof.zip, for edgeseg verify on the device; at most 8 images and 3 MB.",
    ),
)
@collect(
    "quantization",
    _quantization,
    option(Quantization, "split", help="Split of a labeled data set to verify and measure on."),
    option(Quantization, "calibration_split", help="Split of a labeled data set to calibrate on."),
    option(Quantization, "num_calibration_samples", type=click.IntRange(1), help="Images to calibrate with, at most."),
    option(Quantization, "seed", type=click.IntRange(0), help="Seed of the choice of calibration images."),
    option(
        Quantization,
        "method",
        flag="--calibration-method",
        help="How the ranges of the activations follow from the images; the targets nnapi and edgetpu take minmax.",
        if_omitted=f"{DEFAULT_METHOD}, minmax of w8a16",
    ),
    option(
        Quantization,
        "ptq",
        help="Before int8: equalize the channels, to the bit the same in float; best does it where it helps.",
    ),
    option(AccuracyGate, "max_drop", type=click.FloatRange(0), help="Points of mIoU that quantization may cost."),
    option(
        AccuracyGate,
        "max_class_drop",
        type=click.FloatRange(0),
        help="Points of IoU that quantization may cost any one class.",
    ),
    option(
        AccuracyGate,
        "min_agreement",
        type=click.FloatRange(0, 1),
        help="Share of pixels that must keep their class after quantization, where there are no labels.",
    ),
    option(Quantization, "rescue", help="If that is not met, keep the costliest ops in float."),
)
@collect(
    "results",
    _Results,
    _model.name,
    click.option(
        "--output-dir", type=_options.FOLDER, default=Path(), show_default=True, help="Folder for the artifacts."
    ),
    click.option(
        "--report/--no-report",
        default=True,
        show_default=True,
        help="Write MODEL.report.html and .json beside the artifacts, for integer precisions with --data.",
    ),
    _options.overwrite,
    _options.as_json,
)
def command(
    model: str | None,
    recipes: list[Recipe],
    request: ModelOptions,
    options: ExportOptions,
    data: DataSource | None,
    verification: _Verification,
    quantization: Quantization,
    results: _Results,
) -> int:
    """Run ``edgeseg export``."""
    from edgeseg.models.opening import precheck

    quiet_native_logs()
    asked = click.get_current_context().get_parameter_source("proof") is ParameterSource.COMMANDLINE
    if asked and verification.proof and not verification.verify:
        raise InputError("--proof needs what the Keras model says: omit --no-verify.")
    precheck(model, request.imgsz, request.model_options)
    quantization = dataclasses.replace(quantization, data=data)
    with progress_of_steps("loading TensorFlow") as update:
        saved, page = _export(model, request, recipes, options, quantization, verification, results, update)
        refused = proof = None
        try:
            proof = _save_proof(saved, verification, results, update)
        except EdgesegError as error:  # what was made is told first
            refused = error
    if results.as_json:
        files = {"proof": None if proof is None else str(proof)}
        print_json({"format_version": 1, "artifacts": [result.to_dict(path) for path, result in saved], **files})
    else:
        print_results(saved)
        if proof:
            say(f"Proof: {proof}")
        if page:
            say(f"Report: {page}")
    if refused is not None:
        raise refused
    failed = [(path, result.failure) for path, result in saved if result.failure]
    for path, reason in failed:
        note(f"edgeseg: {path} {reason}.")
    return 1 if failed else 0


def _export(
    model: str | None,
    request: ModelOptions,
    recipes: list[Recipe],
    options: ExportOptions,
    quantization: Quantization,
    verification: _Verification,
    results: _Results,
    progress: StepProgress,
) -> tuple[list[tuple[Path, ExportResult]], Path | None]:
    """Make and save the artifacts and the report; return the artifacts with their paths, and the report's path."""
    from edgeseg._internal.files import refuse_existing, require_writable_folder
    from edgeseg._internal.limits.pairs import files_of
    from edgeseg.coverage import ask_coverage
    from edgeseg.datasets import is_labeled, open_classes
    from edgeseg.errors import missing_extra

    try:
        from edgeseg_converters import Exporter
        from edgeseg_converters.images import collect as collect_images
        from edgeseg_converters.verification.proof import existing_proof
    except ModuleNotFoundError as error:
        raise missing_extra("edgeseg export", "convert") from error

    data = quantization.data
    quantization = dataclasses.replace(quantization, learned=_model.learned_ranges(model))
    exporter = Exporter(recipes, options=options, quantization=quantization)
    samples = None
    if verification.verify:
        samples = collect_images(data, split=quantization.split, count=verification.num_images)
    classes = open_classes(data) if data and is_labeled(data) else None
    progress("opening the model", 0, 0)
    opened = request.open(model, classes)
    spec = opened.spec.replace(name=results.name or request.name_of(opened.spec))
    # Checked before the long work, not after it.
    output_dir, overwrite = results.output_dir, results.overwrite
    require_writable_folder(output_dir)
    for recipe in exporter.recipes:
        for path in files_of(output_dir / recipe.file_name(spec.name)):
            refuse_existing(path, overwrite=overwrite)
    measured = results.report and exporter.quantization.measures(exporter.recipes)
    page = output_dir / f"{spec.name}.report.html" if measured else None
    for path in _report_files(page, [recipe.file_name(spec.name) for recipe in exporter.recipes]) if page else ():
        refuse_existing(path, overwrite=overwrite)
    if verification.verify and verification.proof:
        existing_proof(output_dir, spec.name, overwrite=overwrite)

    saved: list[tuple[Path, ExportResult]] = []
    for exported in exporter.run(opened.model, spec, samples=samples, progress=progress):
        proof = exported.verification
        if proof is not None:
            proof = dataclasses.replace(proof, reason=in_flags(proof.reason))
        result = dataclasses.replace(
            exported, verification=proof, coverage=ask_coverage(exported.data, exported.recipe.format)
        )
        saved.append((_save(result, output_dir, overwrite), result))
        note(f"{saved[-1][0]}  {size_text(len(result.data))}  {result.seconds:.1f} s")
        note_cuts(*saved[-1])
        note_half(*saved[-1])
    if page:
        from edgeseg_converters.report import save
        from edgeseg_converters.report.build import report_of

        save(report_of([result for _, result in saved], progress), page, overwrite=overwrite)
    return saved, page


def _save_proof(
    saved: list[tuple[Path, ExportResult]], verification: _Verification, results: _Results, progress: StepProgress
) -> Path | None:
    """Save the proof of the artifacts that passed, and return its path; ``None`` where there is none."""
    from edgeseg._internal.files import sha256
    from edgeseg_converters.verification.proof import save_proof

    passed = [result for _, result in saved if not result.failure]
    if not (verification.proof and passed) or passed[0].reference is None:
        return None
    progress("making the proof", 0, 0)
    artifacts = {result.file_name: sha256(result.data) for result in passed}
    reference, name = passed[0].reference, passed[0].spec.name
    return save_proof(reference, name, artifacts, results.output_dir, overwrite=results.overwrite)


def _report_files(page: Path, artifacts: Sequence[str]) -> list[Path]:
    """Return what may be written with the report of artifacts of these names."""
    from edgeseg_converters.report.model_explorer import KINDS, file_name

    overlays = [page.with_name(file_name(artifact, kind)) for artifact in artifacts for kind in KINDS]
    return [page, page.with_suffix(".json"), *overlays]


def _save(result: ExportResult, folder: Path, overwrite: bool) -> Path:
    """Save an artifact; one that failed its proof is kept for study, under a name that no script picks up."""
    name = Path(result.file_name)
    if result.failure:
        name = name.with_name(f"{name}{REJECTED}")
        overwrite = True  # of an earlier rejected file
    return result.save(folder / name, overwrite)
