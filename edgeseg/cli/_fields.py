"""Make options from the fields of the dataclass that they fill, so that no choice or default is typed twice."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, cast, get_args, get_origin

import click

from edgeseg._internal.fields import field_of, kinds_of

F = TypeVar("F", bound=Callable[..., Any])


def default_of(settings: type, name: str) -> Any:
    """Return the default of a dataclass's field."""
    field = field_of(settings, name)
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def choices_of(settings: type, name: str) -> tuple[str, ...]:
    """Return the names that a field accepts; empty where they are not a closed set."""
    for kind in kinds_of(settings, name):
        if get_origin(kind) is Literal:
            return get_args(kind)
    return ()


def option(
    settings: type,
    name: str,
    *,
    help: str,  # noqa: A002 - click's word
    flag: str | None = None,
    type: click.ParamType[Any] | None = None,  # noqa: A002 - click's word
    if_omitted: str | None = None,
    **attributes: Any,
) -> Callable[[F], F]:
    """Make the option that fills a field.

    A ``Literal`` becomes a choice, a ``bool`` a pair of flags (``--x/--no-x``); the option has the field's default, and
    shows it.

    Args:
        settings: the dataclass.
        name: of the field, which is the name of the command's argument.
        help: one sentence about it.
        flag: its name on the command line; the field's when ``None``.
        type: of the value, where the annotation does not say everything, such as a range.
        if_omitted: what ``None`` means, shown as the default.
        **attributes: other arguments of ``click.option``.
    """
    default = default_of(settings, name)
    flag = flag or f"--{name.replace('_', '-')}"
    if bool in kinds_of(settings, name):
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    elif type is None:
        choices = choices_of(settings, name)
        type = click.Choice(choices) if choices else click.types.convert_type(kinds_of(settings, name)[0])  # noqa: A001
    attributes = {"default": default, "show_default": if_omitted or default is not None, **attributes}
    return click.option(flag, name, type=type, help=help, **attributes)


def collect(argument: str, make: Callable[..., Any], *options: Callable[[Any], Any]) -> Callable[[F], F]:
    """Give a command one argument in place of several options.

    Args:
        argument: its name.
        make: gets the options by their names; returns the argument.
        *options: in the order in which the help lists them.
    """
    names = _names_of(options)

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def collected(*args: Any, **values: Any) -> Any:
            value = make(**{name: values.pop(name) for name in names})
            return function(*args, **{argument: value}, **values)

        return cast("F", functools.reduce(lambda decorated, each: each(decorated), reversed(options), collected))

    return decorate


def _names_of(options: Sequence[Callable[[Any], Any]]) -> tuple[str, ...]:
    """Return the names by which click hands over the values of some options."""

    def command() -> None: ...

    for each in options:
        each(command)
    return tuple(str(param.name) for param in command.__click_params__)  # type: ignore[attr-defined]
