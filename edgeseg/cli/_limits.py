"""Define ``--max-image-pixels``, which sets an environment variable: data is read in several processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from edgeseg._internal.limits.images import MAX_IMAGE_PIXELS, VARIABLE

F = TypeVar("F", bound=Callable[..., Any])


def image_limit(**attributes: Any) -> Callable[[F], F]:
    """Make the option; it holds for the command and for the processes that it starts.

    Args:
        **attributes: arguments of ``click.option``.
    """
    return click.option(
        "--max-image-pixels",
        type=click.IntRange(1),
        callback=_set,
        help="Refuse images whose header claims more.",
        show_default=f"{VARIABLE}, else {MAX_IMAGE_PIXELS}",
        **attributes,
    )


def _set(ctx: click.Context, param: click.Parameter, value: int | None) -> int | None:
    if value is not None:
        earlier = os.environ.get(VARIABLE, "")
        ctx.call_on_close(lambda: os.environ.update({VARIABLE: earlier}))
        os.environ[VARIABLE] = str(value)
    return value
