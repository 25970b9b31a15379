"""The ``edgeseg`` command: one module a sub-command, imported when it is called.

Exit status: 0 done; 1 ran, but a gate failed; 2 wrong use or a missing part, with one line on stderr.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Sequence

import click

from edgeseg import __version__
from edgeseg.errors import EdgesegError, did_you_mean

#: In the order a newcomer needs them.
COMMANDS = (
    "models",
    "export",
    "inspect",
    "predict",
    "camera",
    "evaluate",
    "benchmark",
    "compare",
    "data",
    "train",
    "doctor",
)


class _LazyGroup(click.Group):
    """Finds a sub-command by its module's name, so that start-up pays for none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"edgeseg.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            hint = did_you_mean(args[0], COMMANDS)
            raise click.UsageError(f"unknown command '{args[0]}'.{hint} Accepted: {', '.join(COMMANDS)}.")
        return super().resolve_command(ctx, args)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgeseg")
def cli() -> None:
    """Put a Keras segmentation model on an edge device: export, prove, run, measure."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        args: the arguments; those of the process when left out.

    Returns:
        The exit status.
    """
    try:
        result = cli.main(args, prog_name="edgeseg", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        return 2
    except click.ClickException as error:
        return _fail(error.format_message(), 2)
    except EdgesegError as error:
        return _fail(str(error), 2)
    except ImportError as error:
        if not re.search(r"\blib(GL|gthread|glib)\b", str(error)):
            return _fail(f"{error.name or 'a package'} cannot be loaded: {error}", 2)
        # OpenCV's wheel expects the system's libGL and GLib, which a bare container lacks.
        return _fail(f"OpenCV cannot be loaded ({error}). On Debian and Ubuntu: apt install libgl1 libglib2.0-0", 2)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted; files that were not finished are not there.", 130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe went away; nobody is left to tell
        return 141
    return result if isinstance(result, int) else 0


def _fail(message: str, status: int) -> int:
    print(f"edgeseg: {' '.join(message.split())}", file=sys.stderr)
    return status
