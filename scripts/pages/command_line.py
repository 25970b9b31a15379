"""Write the reference of the command line: a page for each command, from click's own help."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from edgeseg.cli import COMMANDS, cli
from edgeseg.cli._groups import GroupedCommand

_FOLDER = "reference/cli"


def paths() -> dict[str, str]:
    """Return the page of each command, in the order of ``edgeseg --help``."""
    return {f"edgeseg {name}": f"{_FOLDER}/{name}.md" for name in COMMANDS}


def pages() -> dict[str, str]:
    """Return the Markdown of each page by its path in the site."""
    return {f"{_FOLDER}/{name}.md": _page(name) for name in COMMANDS}


def _page(name: str) -> str:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return "\n".join(_lines(command, f"edgeseg {name}", "#")) + "\n"


def _lines(command: click.Command, path: str, level: str) -> Iterator[str]:
    """Yield a command's text, its usage, and a table of options under each heading of its help."""
    # The settings of `edgeseg`: a command keeps the name of its --help from the first context that asks.
    context = click.Context(command, info_name=path, **cli.context_settings)
    yield f"{level} {path}"
    for paragraph in inspect.cleandoc(command.help or "").replace("\b\n", "").split("\n\n"):
        yield from ("", _escaped(" ".join(paragraph.split())))
    usage = " ".join(command.collect_usage_pieces(context))
    yield from ("", "```text", f"{path} {usage}", "```", "")
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from _lines(child, f"{path} {name}", level + "#")
        return
    for heading, options in _sections(command, context):
        yield from (f"{level}# {heading}", "", "| option | meaning |", "|---|---|")
        for names, text in options:
            yield f"| `{names.replace('|', chr(92) + '|')}` | {_escaped(' '.join(text.split()))} |"
        yield ""


def _sections(command: click.Command, context: click.Context) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield the headings of a command's help with the names of their options and what they mean."""
    records = {
        parameter.name: record
        for parameter in command.get_params(context)
        if isinstance(parameter, click.Option) and (record := parameter.get_help_record(context)) is not None
    }
    headings = command.headings if isinstance(command, GroupedCommand) else {}
    named = {name for names in headings.values() for name in names}
    for heading, names in [*headings.items(), ("Options", [name for name in records if name not in named])]:
        if shown := [records[name] for name in names if name in records]:
            yield heading, shown


def _escaped(text: str) -> str:
    """Return a help text as Markdown shows it: nothing in it is markup."""
    return re.sub(r"([|*_<\[\]`])", r"\\\1", text)
