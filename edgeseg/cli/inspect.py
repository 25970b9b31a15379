"""Show what is in an artifact (``edgeseg inspect``)."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING, get_args

import click

from edgeseg._internal.text import counted
from edgeseg.choices import SnippetLanguage
from edgeseg.cli import _artifacts, _completion, _options
from edgeseg.cli._groups import Command
from edgeseg.cli._summaries import help_of
from edgeseg.cli._terminal import print_json, print_table, progress, quiet_native_logs, say, size_text
from edgeseg.cli._words import in_flags
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from edgeseg.inspection import Inspection, Usage
    from edgeseg.runtime import TensorInfo
    from edgeseg.spec import ModelSpec


@click.command(
    "inspect",
    cls=Command,
    help=help_of("inspect", _artifacts.HELP.replace(", .xml (OpenVINO), .keras or .h5", " or .xml (OpenVINO)")),
)
@click.argument("artifact", required=False, shell_complete=_completion.artifacts)
@click.option(
    "--accelerator",
    "accelerators",
    type=_options.NamesType(),
    help="Accelerators to show the coverage of, such as cpu,gpu,nnapi.",
    show_default="all that are known for the format",
)
@click.option(
    "--snippet",
    type=click.Choice(get_args(SnippetLanguage)),
    help="Print a program for this artifact, in place of what is in it; it needs the runtime and no edgeseg.",
)
@_options.as_json
def command(
    artifact: str | None, accelerators: tuple[str, ...] | None, snippet: SnippetLanguage | None, as_json: bool
) -> None:
    """Run ``edgeseg inspect``."""
    from edgeseg.inspection import inspect
    from edgeseg.models.zoo.options import option_texts

    if snippet and (as_json or accelerators):
        raise InputError("--snippet prints a program and nothing else: omit --json and --accelerator.")
    quiet_native_logs()
    artifact = _artifacts.artifact_or_default(artifact)
    with progress(f"opening {artifact}"):
        inspection = inspect(artifact, () if snippet else accelerators)
    if snippet:
        from edgeseg.snippets import write_snippet

        click.echo(write_snippet(inspection, snippet), nl=False)
        return
    reasons = {accelerator: in_flags(reason) for accelerator, reason in inspection.not_asked.items()}
    inspection = dataclasses.replace(
        inspection, not_asked=reasons, usage=dataclasses.replace(inspection.usage, note=in_flags(inspection.usage.note))
    )
    if as_json:
        print_json({"format_version": 1, **inspection.to_dict()})
        return
    rows = [["file", f"{inspection.path}  {size_text(inspection.size_bytes)}"], ["sha256", inspection.sha256]]
    rows += [
        ["opened by", inspection.runtime],
        ["inputs", _tensors(inspection.inputs)],
        ["outputs", _tensors(inspection.outputs)],
    ]
    spec = inspection.spec
    if spec is None:
        rows.append(["spec", "none: this file was not made by edgeseg"])
    else:
        provenance = spec.provenance
        rows += [
            ["model", f"{spec.name}, from {provenance.source}, {provenance.precision}"],
            *([["options", option_texts(provenance.model_options)]] if provenance.model_options else []),
            ["image", _image(spec)],
            ["normalize", f"{spec.color_order}, {spec.scaling}, {spec.dtype}"],
            *([["rasters", spec.rasters]] if spec.rasters else []),
            ["output", spec.output_kind],
            *([["receptive field", _receptive_field(spec)]] if spec.receptive_radius is not None else []),
            [counted(spec.num_classes, "class"), ", ".join(spec.class_names)],
            ["rewrites", ", ".join(f"{rule} x{sites}" for rule, sites in provenance.rewrites) or "none"],
            ["made with", ", ".join(f"{tool} {version}" for tool, version in provenance.tools.items())],
        ]
    half = inspection.half_arithmetic
    if half is not None and (half.asked or (spec is not None and spec.provenance.precision == "fp16")):
        rows.append(["arithmetic", half.sentence])
    if inspection.ops is None:
        rows.append(["ops", "not shown: the package that knows this format's schema is not installed"])
    else:
        ops = ", ".join(f"{name} x{count}" for name, count in inspection.ops.items())
        rows.append([counted(sum(inspection.ops.values()), "op"), ops])
    print_table(["", ""], rows)
    _print_coverage(inspection)
    _print_usage(artifact, inspection.usage)


def _image(spec: ModelSpec) -> str:
    """Return how an image gets the input's size: ``letterbox to 384,480 (H,W), bilinear, nhwc``."""
    rounding = "" if spec.letterbox_rounding == "round" else f", sides by {spec.letterbox_rounding}"
    return f"{spec.fit} to {spec.input_size[0]},{spec.input_size[1]} (H,W){rounding}, {spec.resize}, {spec.layout}"


def _receptive_field(spec: ModelSpec) -> str:
    """Return how much of an image changes a pixel: ``45,45 (H,W)``."""
    if not isinstance(spec.receptive_radius, tuple):
        return "the whole input"
    height, width = (2 * radius + 1 for radius in spec.receptive_radius)
    return f"{height},{width} (H,W)"


def _print_usage(artifact: str, usage: Usage) -> None:
    """Print how images are fed, and the next command to type."""
    say("")
    if usage.spec is not None:
        spec = usage.spec
        say(f"feed: {_image(spec)}, {spec.color_order}, {_scaling(spec)}")
        say(f"classes: {', '.join(spec.class_names)}")
    if usage.note:
        say(f"note: {usage.note}")
    if usage.spec is not None or usage.options:
        say(f"next: {shlex.join(['edgeseg', 'predict', artifact, 'IMAGE', '--save', 'out.png', *usage.options])}")


def _scaling(spec: ModelSpec) -> str:
    return "bytes as they are" if spec.dtype == "uint8" else spec.scaling


def _print_coverage(inspection: Inspection) -> None:
    for coverage in inspection.coverage:
        how = "asked" if coverage.source == "asked" else "from a table"
        say("")
        say(f"{coverage.accelerator}: {coverage.summary}, {how}: {coverage.source_note}")
        for left in coverage.left:
            say(f"    {left.op} x{left.count}: {left.reason}")
    for accelerator, reason in inspection.not_asked.items():
        say("")
        say(f"{accelerator}: not asked: {reason}")


def _tensors(tensors: Iterable[TensorInfo]) -> str:
    return ", ".join(f"{tensor.name} {list(tensor.shape)} {tensor.dtype}" for tensor in tensors)
