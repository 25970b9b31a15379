"""Print the help of commands: options under headings (``GroupedCommand``), in color on a terminal (``Command``)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence

import click


class Formatter(click.HelpFormatter):
    """Writes headings in bold and the names of options and commands in cyan, where a terminal shows them."""

    def __init__(self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None) -> None:
        super().__init__(indent_increment, width, max_width)
        # https://no-color.org; a dumb terminal prints the codes.
        terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self._colored = terminal and not os.environ.get("NO_COLOR")

    def write_heading(self, heading: str) -> None:
        """Write the heading of a section."""
        super().write_heading(self._styled(heading, bold=True))

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """Write the first line."""
        super().write_usage(prog, args, self._styled("Usage:", bold=True) + " " if prefix is None else prefix)

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write names and what they mean."""
        super().write_dl([(self._styled(name, fg="cyan"), text) for name, text in rows], col_max, col_spacing)

    def _styled(self, text: str, *, fg: str | None = None, bold: bool | None = None) -> str:
        return click.style(text, fg=fg, bold=bold) if self._colored else text


class _Context(click.Context):
    formatter_class = Formatter


class Command(click.Command):
    """Has a colored help."""

    context_class = _Context


class Group(click.Group):
    """Has a colored help, and so have its commands."""

    context_class = _Context
    command_class = Command


class GroupedCommand(Command):
    """Lists the options under headings; ``--help``, which no heading names, comes last, under click's own.

    Attributes:
        headings: the names of parameters under each heading, in the order of the help.
    """

    headings: Mapping[str, Sequence[str]] = {}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, each under the first heading that names its parameter."""
        records = {
            param.name: param.get_help_record(ctx) for param in self.get_params(ctx) if isinstance(param, click.Option)
        }
        named = {name for names in self.headings.values() for name in names}
        rest = [name for name in records if name not in named]
        for heading, names in [*self.headings.items(), ("Options", rest)]:
            shown = [record for name in names if (record := records.get(name)) is not None]
            if shown:
                with formatter.section(heading):
                    formatter.write_dl(shown)
