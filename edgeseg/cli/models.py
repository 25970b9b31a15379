"""List the zoo and the packaged weights, or describe one architecture (``edgeseg models``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

import click

from edgeseg._internal.text import counted
from edgeseg.choices import TableStyle
from edgeseg.cli import _completion, _options
from edgeseg.cli._groups import Command
from edgeseg.cli._summaries import help_of
from edgeseg.cli._terminal import print_json, print_markdown, print_table, progress, quiet_native_logs, say

if TYPE_CHECKING:
    from edgeseg.models.zoo.entry import ZooModel
    from edgeseg.spec import ModelSpec

_EFFECTS = {
    "tensors": "the weights, which show it",
    "result": "the result; weights alone do not say it",
    "training": "training",
    "form": "the form, not the numbers",
}


@click.command(
    "models",
    cls=Command,
    help=help_of(
        "models",
        "With NAME, the options of that architecture; with --model-option too, the parameters that it then has. "
        "Parameters are for 21 classes, GFLOPs are at the default size.",
    ),
)
@click.argument("name", required=False, shell_complete=_completion.architectures)
@click.option("--describe", metavar="NAME", help="The same as NAME alone.")
@click.option(
    "--format",
    "style",
    type=click.Choice(get_args(TableStyle)),
    default="table",
    show_default=True,
    help="A table for people, or Markdown.",
)
@_options.model_option
@_options.as_json
def command(
    name: str | None, describe: str | None, style: TableStyle, model_options: dict[str, str], as_json: bool
) -> None:
    """Run ``edgeseg models``."""
    from edgeseg.models.opening import packaged_spec
    from edgeseg.models.zoo.table import ZOO, find

    if name and describe and name != describe:
        raise click.UsageError(f"'{name}' and '{describe}' are two architectures; give one.")
    asked = name or describe
    if model_options and not asked:
        raise click.UsageError("--model-option goes with NAME, the architecture that has the option.")
    models = {model.name: model for model in ([find(asked)] if asked else ZOO.values())}
    packaged = {each: packaged_spec(each) for each in models}
    parameters = _parameters(models[asked], model_options) if asked and model_options else None
    if as_json:
        described = [_as_json(model, packaged[each]) for each, model in models.items()]
        if parameters is not None:
            described[0] |= {"parameters": parameters, "gflops": None}
        print_json({"format_version": 1, "models": described})
        return
    print_rows = print_markdown if style == "md" else print_table
    columns = ["Model", ">Parameters", ">GFLOPs", ">Default H,W", ">Stride", "Packaged", "Weights that fit"]
    rows = [
        [
            each,
            f"{(parameters or model.parameters) / 1e6:.2f} M",
            f"{model.gflops:g}" if parameters is None else "-",
            f"{model.default_size[0]},{model.default_size[1]}",
            str(model.stride),
            "-" if (spec := packaged[each]) is None else counted(spec.num_classes, "class") + _files(each),
            model.weights_from,
        ]
        for each, model in models.items()
    ]
    print_rows(columns, rows)
    if asked:
        _describe(models[asked], style)


def _parameters(model: ZooModel, model_options: Mapping[str, str]) -> int:
    """Return the parameters of an architecture with options, which it is built to count."""
    quiet_native_logs()
    with progress(f"building {model.name}"):
        from edgeseg.models import create

        return int(create(model.name, num_classes=21, **model.read_options(model_options)).count_params())


def _describe(model: ZooModel, style: TableStyle) -> None:
    """Print what weights fit an architecture, how they were fed, its options, and what published models they give."""
    from edgeseg.models.encoders.published import PUBLISHED
    from edgeseg.models.zoo.options import as_typed

    say("")
    say(f"{model.description}.")
    for key in model.encoders:
        encoder = PUBLISHED[key]
        downloaded = " or imagenet" if encoder.application or encoder.package else ""
        say(f"Encoder: {encoder.title}; --encoder-weights FILE{downloaded}. FILE: {encoder.file}.")
    if model.published_feeding:
        typed = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in model.published_feeding.items())
        say(f"Its published weights were trained on images by {typed}: give that to export and evaluate.")
    if not model.options:
        say("It has no options.")
        return
    say("Options, as --model-option NAME=VALUE:")
    say("")
    rows = [
        [option.name, option.accepted, as_typed(option.default), option.meaning, _EFFECTS[option.effect]]
        for option in model.options
    ]
    (print_markdown if style == "md" else print_table)(["Option", "Accepted", "Default", "Meaning", "Changes"], rows)
    for variant in model.variants:
        typed = " ".join(f"--model-option {name}={as_typed(value)}" for name, value in variant.options.items())
        say("")
        say(f"{variant.of}: {typed}")


def _as_json(model: ZooModel, packaged: ModelSpec | None) -> dict[str, Any]:
    import dataclasses

    from edgeseg.models.packaged_files import packaged_names

    fields = dataclasses.asdict(model)
    return {
        **fields,
        "packaged_classes": None if packaged is None else list(packaged.class_names),
        "packaged_files": [name for name in packaged_names() if name.startswith(f"{model.name}.")],
    }


def _files(name: str) -> str:
    """Return the precisions of an architecture's packaged files, as they follow the number of classes."""
    from edgeseg.models.packaged_files import PACKAGED

    return f"; {', '.join(PACKAGED[name].precisions)} files" if name in PACKAGED else ""
