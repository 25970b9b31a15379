"""``edgeseg models``: the zoo and the packaged weights."""

from __future__ import annotations

import click

from edgeseg.cli import _options
from edgeseg.cli._terminal import print_json, print_table


@click.command("models")
@_options.as_json
def command(as_json: bool) -> None:
    """List the zoo and the packaged weights."""
    import dataclasses

    from edgeseg.models.source import packaged_spec
    from edgeseg.models.zoo import ZOO

    packaged = {name: packaged_spec(name) for name in ZOO}
    if as_json:
        rows = [
            {
                **dataclasses.asdict(model),
                "packaged_classes": None if (spec := packaged[name]) is None else list(spec.class_names),
            }
            for name, model in ZOO.items()
        ]
        print_json({"format_version": 1, "models": rows})
        return
    print_table(
        ["Model", ">Parameters", ">Default H,W", ">Stride", "Packaged", "Weights that fit"],
        [
            [
                name,
                f"{model.parameters / 1e6:.2f} M",
                f"{model.default_size[0]},{model.default_size[1]}",
                str(model.stride),
                "-" if (spec := packaged[name]) is None else f"{spec.num_classes} classes",
                model.weights_from,
            ]
            for name, model in ZOO.items()
        ],
    )
