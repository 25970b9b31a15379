"""List the zoo and the packaged weights (``edgeseg models``)."""

from __future__ import annotations

from typing import get_args

import click

from edgeseg.choices import TableStyle
from edgeseg.cli import _options
from edgeseg.cli._summaries import help_of
from edgeseg.cli._terminal import print_json, print_markdown, print_table


@click.command("models", help=help_of("models", "Parameters are for 21 classes, GFLOPs are at the default size."))
@click.option(
    "--format",
    "style",
    type=click.Choice(get_args(TableStyle)),
    default="table",
    show_default=True,
    help="A table for people, or Markdown.",
)
@_options.as_json
def command(style: TableStyle, as_json: bool) -> None:
    """Run ``edgeseg models``."""
    import dataclasses

    from edgeseg.models.opening import packaged_spec
    from edgeseg.models.zoo.table import ZOO

    packaged = {name: packaged_spec(name) for name in ZOO}
    if as_json:
        models = [
            {
                **dataclasses.asdict(model),
                "packaged_classes": None if (spec := packaged[name]) is None else list(spec.class_names),
            }
            for name, model in ZOO.items()
        ]
        print_json({"format_version": 1, "models": models})
        return
    columns = ["Model", ">Parameters", ">GFLOPs", ">Default H,W", ">Stride", "Packaged", "Weights that fit"]
    rows = [
        [
            name,
            f"{model.parameters / 1e6:.2f} M",
            f"{model.gflops:g}",
            f"{model.default_size[0]},{model.default_size[1]}",
            str(model.stride),
            "-" if (spec := packaged[name]) is None else f"{spec.num_classes} classes",
            model.weights_from,
        ]
        for name, model in ZOO.items()
    ]
    (print_markdown if style == "md" else print_table)(columns, rows)
