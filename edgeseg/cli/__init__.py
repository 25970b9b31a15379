"""Run the ``edgeseg`` command: each sub-command is a module, imported when it is called.

Exit status: 0 done; 1 ran, but a gate failed; 2 wrong use or a missing part, with one line on stderr; 3 nothing can be
concluded (``compare --strict``).
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from collections.abc import Sequence

import click

from edgeseg import __version__
from edgeseg._internal.text import printable
from edgeseg.cli._groups import Group
from edgeseg.cli._summaries import COMMANDS
from edgeseg.cli._words import in_flags, running
from edgeseg.errors import EdgesegError, did_you_mean

# Characters of an error's line; a name in it may have any number.
_LONGEST_LINE = 2000
_CANNOT_BE_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


class _LazyGroup(Group):
    """Finds a sub-command by its module's name, so that start-up imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

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


#: What somebody who typed ``edgeseg`` alone can type next: each works as it is, with the packaged files.
FIRST_STEPS = {
    "edgeseg camera --visualize blur": "blur the background of your webcam; q ends",
    "edgeseg benchmark": "measure the packaged model on this machine",
    "edgeseg doctor": "see what is installed, and the command for what is missing",
}


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(__version__, prog_name="edgeseg")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Put a Keras segmentation model on an edge device: export, prove, run, measure."""
    if ctx.invoked_subcommand is None:
        width = max(map(len, FIRST_STEPS))
        for line, effect in FIRST_STEPS.items():
            click.echo(f"{line:{width}}  # {effect}")


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        args: the arguments; those of the process when omitted.

    Returns:
        The exit status.
    """
    _open_missing_streams()
    _escape_what_streams_lack()
    try:
        # The words that were typed are the context's object: a model card has them.
        words = tuple(sys.argv[1:] if args is None else args)
        result = cli.main(args, prog_name="edgeseg", standalone_mode=False, obj=words)
        sys.stdout.flush()  # here, and not when Python exits: a full disk or a closed pipe can still be reported
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        return 2
    except click.ClickException as error:
        return _fail(in_flags(error.format_message(), _running(args)), 2)
    except EdgesegError as error:
        return _fail(in_flags(str(error), _running(args)), 2)
    except ImportError as error:
        from edgeseg.cli._system_libraries import advice

        return _fail(advice(error), 2)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted; unfinished files were discarded.", 130)
    except BrokenPipeError:
        return _reader_left()
    except SystemExit as error:
        if error.code != 1:
            raise
        return _reader_left()  # how click and rich end on a closed pipe; nothing else in here exits
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return _fail(f"a name is longer than this system allows: '{str(error.filename)[:100]}'.", 2)
        if error.errno not in _CANNOT_BE_WRITTEN:
            raise
        where = f"'{error.filename}'" if error.filename else "standard output"
        _drop_output()
        return _fail(f"{where} cannot be written: {error.strerror}.", 2)
    return result if isinstance(result, int) else 0


def _running(args: Sequence[str] | None) -> click.Command:
    return running(cli, list(sys.argv[1:] if args is None else args))


def _open_missing_streams() -> None:
    """Replace standard streams that a process was started without (``>&-``) by some that lead nowhere.

    Python has None for them, and the next file that is opened would get their descriptor, and what native code prints.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - for as long as the process


def _escape_what_streams_lack() -> None:
    """Let the standard streams escape what their encoding lacks, where a terminal is not UTF-8, and not fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _reader_left() -> int:
    """Return the status of a program whose reader went away, as in ``| head``; there is no one left to tell."""
    _drop_output()
    return 128 + 13  # SIGPIPE's


def _drop_output() -> None:
    """Send stdout nowhere; otherwise Python tries to write the rest again when it exits, and reports the failure."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _fail(message: str, status: int) -> int:
    line = printable(" ".join(message.split()))
    print(f"edgeseg: {line if len(line) <= _LONGEST_LINE else line[:_LONGEST_LINE] + ' ...'}", file=sys.stderr)
    return status
