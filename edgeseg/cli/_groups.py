"""List a command's many options under headings (``GroupedCommand``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click


class GroupedCommand(click.Command):
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
