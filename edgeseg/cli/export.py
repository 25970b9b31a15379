"""``edgeseg export``: a Keras model to TFLite and ONNX files, each proven against the model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from edgeseg.cli import _options
from edgeseg.cli._terminal import note, print_json, print_table, quiet_native_logs, size_text
from edgeseg.spec import Format, Layout, OutputKind, Precision, Target

if TYPE_CHECKING:
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
@click.option("--data", type=click.Path(), help="Pictures to verify with: a labelled data set or a folder.")
@click.option("--split", default="val", show_default=True, help="Split of a labelled data set.")
@click.option("--num-images", type=click.IntRange(1), default=8, show_default=True, help="Pictures to verify with.")
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
    data: str | None,
    split: str,
    num_images: int,
    verify: bool,
    optimize: bool,
    output_dir: Path,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Export MODEL (a zoo name, or a .keras or .h5 file; the packaged model when left out)."""
    import edgeseg.models.source as source
    from edgeseg.dataset import read_classes
    from edgeseg.errors import missing_extra
    from edgeseg.files import refuse_existing, require_writable_folder

    quiet_native_logs()
    source.precheck(model, imgsz)
    try:
        from edgeseg_converters import Recipe, export_all, rules_for
        from edgeseg_converters.coverage import ask_coverage
        from edgeseg_converters.recipes import check_options
        from edgeseg_converters.samples import collect
    except ModuleNotFoundError as error:
        raise missing_extra("edgeseg export", "convert") from error

    recipes = [Recipe(f, p) for f in formats for p in precisions]
    check_options(formats, layout, opset)
    for name in formats:
        rules_for(name, target)  # refused before the model is opened, not after
    samples = collect(data, split=split, count=num_images) if verify else None
    classes = read_classes(Path(data) / "classes.json") if data and (Path(data) / "classes.json").exists() else None
    opened = source.open_model(
        model,
        weights=weights,
        num_classes=num_classes,
        input_size=imgsz,
        classes=classes,
        allow_missing=allow_missing or (),
        mean=mean,
        std=std,
        custom_objects=_options.read_custom_objects(custom_objects),
        output=output,
    )
    spec = opened.spec
    if (report := opened.weights_report) is not None:
        note(report.table())
        left, missing = len(report.left_over), len(report.missing)
        note(f"{len(report.matched)} tensors of '{weights}' are in the model, {left} left over, {missing} missing")
    # Asked before the long work, not after it.
    require_writable_folder(output_dir)
    for recipe in recipes:
        refuse_existing(output_dir / recipe.file_name(spec.name), overwrite=overwrite)

    saved: list[tuple[Path, ExportResult]] = []
    for made in export_all(
        opened.model,
        spec,
        recipes,
        target=target,
        output_kind=output_kind,
        samples=samples,
        optimize=optimize,
        layout=layout,
        opset=opset,
    ):
        result = dataclasses.replace(made, coverage=ask_coverage(made.data))
        saved.append((_save(result, output_dir, overwrite), result))
        note(f"{saved[-1][0]}  {size_text(len(result.data))}  {result.seconds:.1f} s")
        _note_cuts(*saved[-1])
    if as_json:
        print_json({"format_version": 1, "artifacts": [result.to_dict(path) for path, result in saved]})
    else:
        _print_for_people(saved)
    failed = [(path, proof.reason) for path, result in saved if (proof := result.verification) and not proof.passed]
    for path, reason in failed:
        note(f"edgeseg: {path} failed its verification: {reason}.")
    return 1 if failed else 0


def _save(result: ExportResult, folder: Path, overwrite: bool) -> Path:
    """An artifact that failed its proof is kept for study, under a name that no script picks up."""
    name = Path(result.file_name)
    if result.verification and not result.verification.passed:
        name = name.with_suffix(f".rejected{name.suffix}")
        overwrite = True  # of an earlier rejected file
    return result.save(folder / name, overwrite)


def _note_cuts(path: Path, result: ExportResult) -> None:
    """Warn of a model that an accelerator cannot take in one piece."""
    for coverage in result.coverage:
        if coverage.cut:
            reasons = "; ".join(dict.fromkeys(left.reason for left in coverage.left))
            note(
                f"edgeseg: {path.name} is cut in pieces on {coverage.accelerator}: {coverage.summary}. {reasons}. "
                f"See edgeseg inspect {path}"
            )


def _print_for_people(saved: list[tuple[Path, ExportResult]]) -> None:
    rows = []
    for path, result in saved:
        proof = result.verification
        checked = ["-", "-", "not verified"]
        if proof:
            checked = [
                f"{proof.argmax_agreement:.3%}",
                f"{proof.max_abs_error:.1e}",
                "ok" if proof.passed else "FAILED",
            ]
        rows.append([str(path), size_text(len(result.data)), *checked, f"{result.seconds:.1f} s"])
    print_table(["File", ">Size", ">Same class", ">Max error", "Verification", ">Time"], rows)
    for path, result in saved:
        for coverage in result.coverage:
            left = f"; left: {coverage.left_ops}" if coverage.left else ""
            print(f"{path.name} on {coverage.accelerator}: {coverage.summary}{left}")
    first, result = saved[0]
    if result.verification:
        print(f"Verified on {result.verification.num_images} images ({result.verification.images}) against Keras.")
        if result.verification.keras_movement is not None:
            worst = max(p.unstable_share for _, r in saved if (p := r.verification))
            print(
                f"Pooling indices: where two values tie but for rounding, either may win; {worst:.2%} of the pixels "
                f"moved. Keras' own logits move by {result.verification.keras_movement:.1e} of the largest when the "
                "input moves by one rounding."
            )
        other_ties = [p.other_ties for _, r in saved if (p := r.verification) and p.other_ties is not None]
        if other_ties:
            print(
                f"Pooling by the delegate's own op: of equal maxima LiteRT's CPU took another than Keras in "
                f"{max(other_ties):.2%} of the windows."
            )
    for rule, sites in result.rewrites.counts():
        print(f"Rewritten: {rule} at {sites} sites, largest difference {result.rewrites.max_abs_error(rule):.0e}.")
    print(f"Next: edgeseg inspect {first}  |  edgeseg predict {first} PICTURE --save out")
