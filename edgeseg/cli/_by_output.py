"""Define option values that hold for every output of a model, or for some of them by their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import click

from edgeseg.choices import LossKind
from edgeseg.errors import InputError
from edgeseg.training.loss_names import loss_kind


class LossType(click.ParamType[Any]):
    """``dice``, or ``mask=dice,edge=cross-entropy``."""

    name = "loss"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str | None:
        """Return the words as they are typed; click would write them in capitals."""
        return f"[{'|'.join(get_args(LossKind))}|OUTPUT=LOSS,...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse; a name that is no loss is a usage error that suggests the closest."""
        if isinstance(value, Mapping):
            return value
        losses = _named(self, str(value), param, ctx) if "=" in str(value) else str(value)
        try:
            for name in (losses,) if isinstance(losses, str) else losses.values():
                loss_kind(name)
        except InputError as error:
            self.fail(str(error), param, ctx)
        return losses


class OutputWeightsType(click.ParamType[Any]):
    """``1,0.4`` in the order of the outputs, or ``mask=1,edge=0.4``."""

    name = "X,Y,...|OUTPUT=X,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse; what is no number is a usage error."""
        if isinstance(value, Mapping | tuple):
            return value
        text = str(value)
        try:
            if "=" in text:
                return {name: float(weight) for name, weight in _named(self, text, param, ctx).items()}
            return tuple(float(weight) for weight in text.split(","))
        except ValueError:
            self.fail(f"'{text}' is not accepted; give numbers with commas between, or OUTPUT=X,...", param, ctx)


def _named(
    kind: click.ParamType[Any], text: str, param: click.Parameter | None, ctx: click.Context | None
) -> dict[str, str]:
    """Return the values of ``A=X,B=Y`` by their names."""
    values: dict[str, str] = {}
    for part in text.split(","):
        name, _, value = (side.strip() for side in part.partition("="))
        if not name or not value:
            kind.fail(f"'{part}' is not OUTPUT=VALUE, of '{text}'.", param, ctx)
        if name in values:
            kind.fail(f"the output '{name}' is given twice.", param, ctx)
        values[name] = value
    return values
