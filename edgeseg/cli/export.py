"""``edgeseg export``: a Keras model to TFLite and ONNX files, each proven against the model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from edgeseg.choices import CalibrationMethod, Format, Layout, OutputKind, Precision, Target
from edgeseg.cli import _options
from edgeseg.cli._export_results import note_cuts, print_results
from edgeseg.cli._terminal import note, print_json, progress_of_steps, quiet_native_logs, size_text

if TYPE_CHECKING:
    from edgeseg.datasets import DataSource
    from edgeseg_converters import ExportResult


@click.command("export")
@click.argument("model", required=False)
@click.option("--format", "formats", type=_options.NamesType(get_args(Format)), default="tflite", show_default=True)
@click.option(
    "--precision", "precisions", type=_options.NamesType(get_args(Precision)), default="fp32", show_default=True
)
@click.option("--weights", type=click.Path(), help="Weights file for a zoo model.")
@click.option(
    "--allow-missing",
    type=_options.NamesType(),
    help="Layers that may stay without weights, with commas between; 'head' is the last.",
)
@click.option("--num-classes", type=click.IntRange(2), help="Classes of a zoo model.")
@_options.custom_objects
@_options.imgsz
@_options.feeding
@_options.output
@click.option("--output-kind", type=click.Choice(get_args(OutputKind)), default="argmax", show_default=True)
@click.option(
    "--target",
    type=click.Choice(get_args(Target)),
    default="generic",
    show_default=True,
    help="What will run it: generic runs anywhere, a delegate's name may use ops that only that one has.",
)
@click.option(
    "--layout",
    type=click.Choice(get_args(Layout)),
    default="nhwc",
    show_default=True,
    help="Axis order of an ONNX file's input and scores; TFLite is nhwc.",
)
@click.option("--opset", type=int, help="Version of ONNX's operators, 13 to 18; 17 when left out.")
@_options.dataset(
    required=False,
    help="Images to verify and calibrate with and to measure the accuracy on: a labeled data set or a folder.",
)
@click.option("--split", default="val", show_default=True, help="Split of a labeled data set to verify and measure on.")
@click.option("--num-images", type=click.IntRange(1), default=8, show_default=True, help="Images to verify with.")
@click.option(
    "--calibration-split", default="train", show_default=True, help="Split of a labeled data set to calibrate on."
)
@click.option("--num-calibration-samples", type=click.IntRange(1), default=100, show_default=True)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the choice of calibration images."
)
@click.option(
    "--calibration-method",
    type=click.Choice(get_args(CalibrationMethod)),
    help="How the ranges of an ONNX file follow from the images; percentile when left out. TFLite has no choice.",
)
@click.option(
    "--max-drop",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help="Points of mIoU that integers may cost.",
)
@click.option(
    "--max-class-drop", type=click.FloatRange(0), default=3.0, show_default=True, help="The same for any one class."
)
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1),
    default=0.95,
    show_default=True,
    help="Share of pixels that must keep their class in integers, where there are no labels.",
)
@click.option("--rescue/--no-rescue", default=False, help="Where that is not met, keep the costliest ops in float.")
@click.option(
    "--report/--no-report",
    default=True,
    show_default=True,
    help="Of integer precisions with --data: MODEL.report.html and .json beside the artifacts.",
)
@click.option("--verify/--no-verify", default=True, help="Prove each artifact against the Keras model.")
@click.option("--optimize/--no-optimize", default=True, help="Apply the speed-ups that change no result.")
@click.option("--output-dir", type=click.Path(file_okay=False, path_type=Path), default=Path(), show_default=True)
@_options.overwrite
@_options.as_json
def command(
    model: str | None,
    formats: tuple[Format, ...],
    precisions: tuple[Precision, ...],
    weights: str | None,
    allow_missing: tuple[str, ...] | None,
    num_classes: int | None,
    custom_objects: str | None,
    imgsz: tuple[int, int] | None,
    mean: tuple[float, float, float] | None,
    std: tuple[float, float, float] | None,
    output: str | None,
    output_kind: OutputKind,
    target: Target,
    layout: Layout,
    opset: int | None,
    data: DataSource | None,
    split: str,
    num_images: int,
    calibration_split: str,
    num_calibration_samples: int,
    seed: int,
    calibration_method: CalibrationMethod | None,
    max_drop: float,
    max_class_drop: float,
    min_agreement: float,
    rescue: bool,
    report: bool,
    verify: bool,
    optimize: bool,
    output_dir: Path,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Export MODEL (a zoo name, or a .keras or .h5 file; the packaged model when left out)."""
    import edgeseg.models.opening as opening
    from edgeseg._internal.files import refuse_existing, require_writable_folder
    from edgeseg.coverage import ask_coverage
    from edgeseg.datasets import is_labeled, open_classes
    from edgeseg.errors import missing_extra

    quiet_native_logs()
    opening.precheck(model, imgsz)
    try:
        from edgeseg_converters import AccuracyGate, Exporter, ExportOptions, Quantization, Recipe
        from edgeseg_converters.images import collect
    except ModuleNotFoundError as error:
        raise missing_extra("edgeseg export", "convert") from error

    exporter = Exporter(
        [Recipe(f, p) for f in formats for p in precisions],
        options=ExportOptions(target=target, output_kind=output_kind, layout=layout, opset=opset, optimize=optimize),
        quantization=Quantization(
            data=data,
            split=split,
            calibration_split=calibration_split,
            num_calibration_samples=num_calibration_samples,
            seed=seed,
            gate=AccuracyGate(max_drop, max_class_drop, min_agreement),
            rescue=rescue,
            method=calibration_method,
        ),
    )
    samples = collect(data, split=split, count=num_images) if verify else None
    classes = open_classes(data) if data and is_labeled(data) else None
    opened = opening.open_model(
        model,
        opening.ModelRequest(
            weights=weights,
            num_classes=num_classes,
            input_size=imgsz,
            classes=classes,
            allow_missing=allow_missing or (),
            mean=mean,
            std=std,
            custom_objects=_options.read_custom_objects(custom_objects),
            output=output,
        ),
    )
    spec = opened.spec
    if (loaded := opened.weights_report) is not None:
        note(loaded.table())
        left, missing = len(loaded.left_over), len(loaded.missing)
        note(f"{len(loaded.matched)} tensors of '{weights}' are in the model, {left} left over, {missing} missing")
    # Asked before the long work, not after it.
    require_writable_folder(output_dir)
    for recipe in exporter.recipes:
        refuse_existing(output_dir / recipe.file_name(spec.name), overwrite=overwrite)
    measured = report and exporter.quantization.measures(exporter.recipes)
    page = output_dir / f"{spec.name}.report.html" if measured else None
    for path in [page, page.with_suffix(".json")] if page else []:
        refuse_existing(path, overwrite=overwrite)

    saved: list[tuple[Path, ExportResult]] = []
    with progress_of_steps() as update:
        for made in exporter.run(opened.model, spec, samples=samples, progress=update):
            result = dataclasses.replace(made, coverage=ask_coverage(made.data))
            saved.append((_save(result, output_dir, overwrite), result))
            note(f"{saved[-1][0]}  {size_text(len(result.data))}  {result.seconds:.1f} s")
            note_cuts(*saved[-1])
        if page:
            from edgeseg_converters.report import save
            from edgeseg_converters.report.build import report_of

            save(report_of([result for _, result in saved], update), page, overwrite=overwrite)
    if as_json:
        print_json({"format_version": 1, "artifacts": [result.to_dict(path) for path, result in saved]})
    else:
        print_results(saved)
        if page:
            print(f"Report: {page}")
    failed = [(path, result.failure) for path, result in saved if result.failure]
    for path, reason in failed:
        note(f"edgeseg: {path} {reason}.")
    return 1 if failed else 0


def _save(result: ExportResult, folder: Path, overwrite: bool) -> Path:
    """An artifact that failed its proof is kept for study, under a name that no script picks up."""
    name = Path(result.file_name)
    if result.failure:
        name = name.with_name(f"{name}.rejected")
        overwrite = True  # of an earlier rejected file
    return result.save(folder / name, overwrite)
