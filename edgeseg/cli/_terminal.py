"""Print tables, progress and JSON for the commands, and silence native libraries."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TextIO

import click

from edgeseg._internal.progress import Progress, StepProgress
from edgeseg._internal.text import printable
from edgeseg.cli._words import in_flags


def print_json(value: dict[str, Any]) -> None:
    """Print the one machine-readable object on stdout; NaN and infinity become null."""
    from edgeseg._internal.json import as_json

    print(json.dumps(as_json(value), indent=2, allow_nan=False))


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None, alarming: str = ""
) -> None:
    """Print a table for people on stdout; columns that begin with ``>`` are aligned to the right.

    Lines fold between words. Where the words of a row are wider than the terminal together, each row is a block of
    lines, so that names and commands can be read and copied.

    Args:
        columns: the heads.
        rows: the cells.
        title: a line above.
        alarming: the end of cells that a terminal shows in red.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if title:
        say(title)
    heads = [printable(column.lstrip(">")) for column in columns]
    cells = [[printable(cell) for cell in row] for row in rows]
    # In a pipe rich assumes 80 columns and folds; a file has no width, and no line that ends in blanks.
    width = Console().width if sys.stdout.isatty() else _FILE_WIDTH
    least = [max(map(_longest_word, column)) for column in zip(heads, *cells, strict=True)]
    if sum(least) + _GAP * (len(heads) - 1) > width:
        _print_blocks(heads, cells)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, head, word in zip(columns, heads, least, strict=True):
        justify: Literal["left", "right"] = "right" if column.startswith(">") else "left"
        table.add_column(Text(head), justify=justify, overflow="fold", min_width=word)
    for row in cells:
        # Text, as rich would take "edgeseg[train]" for markup
        table.add_row(*(Text(cell, "bold red" if alarming and cell.endswith(alarming) else "") for cell in row))
    console = Console(highlight=False, width=width)
    if sys.stdout.isatty():
        console.print(table)
        return
    with console.capture() as capture:
        console.print(table)
    print("\n".join(line.rstrip() for line in capture.get().splitlines()))


#: Columns of a table in a file, and blanks between two columns.
_FILE_WIDTH, _GAP = 160, 2


def _longest_word(text: str) -> int:
    return max(map(len, text.split()), default=0)


def _print_blocks(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print each row as lines of a head and a value, the first value above them; empty values are omitted."""
    width = max(map(len, heads))
    for number, (first, *rest) in enumerate(rows):
        print(*([""] if number else []), first, sep="\n")
        for head, cell in zip(heads[1:], rest, strict=True):
            if cell:
                print(f"  {head:{width}}  {cell}")


def print_markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in Markdown, for a README."""
    rows = [[printable(cell).replace("|", r"\|") for cell in row] for row in rows]
    print(f"| {' | '.join(column.lstrip('>') for column in columns)} |")
    print(f"|{'|'.join('---:' if column.startswith('>') else '---' for column in columns)}|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """Show the progress of one step of work, see ``progress_of_steps``; yield ``update(done, total)``."""
    with progress_of_steps(what) as update:
        yield lambda done, total: update(what, done, total)


@contextmanager
def progress_of_steps(what: str = "") -> Iterator[StepProgress]:
    """Show on stderr how far the work is: a bar on a terminal; in a pipe a line after ten seconds, then one a minute.

    Args:
        what: what is done before the first update.

    Yields:
        ``update(step, done, total)``; a total of 0 is one that is not known.
    """
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True, highlight=False), transient=True) as bar:
        task = bar.add_task(escape(printable(what)), total=None)

        def update(step: str, done: int, total: int) -> None:
            bar.tasks[0].total = total or None  # update() takes None for no change
            text = f"{step}  {done}/{total}" if total else step
            bar.update(task, description=escape(printable(text)), completed=done)

        yield update


class _Lines:
    """Notes how far the work is, where nobody may be watching: a log gets few lines, and short work none."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _FIRST_LINE_S

    def __call__(self, step: str, done: int, total: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _NEXT_LINE_S
            note(f"{step}: {done} of {total}" if total else step)


#: Seconds after which work in a pipe is noted, for the first time and again.
_FIRST_LINE_S, _NEXT_LINE_S = 10, 60


def say(text: str) -> None:
    """Print one line for people on stdout, whatever the names in it are."""
    print(printable(text))


def note(text: str) -> None:
    """Print one line for people on stderr, whatever the names in it are."""
    print(printable(text), file=sys.stderr, flush=True)


def tell(text: str) -> None:
    """Print a line of the library for people on stderr, as the command line says it."""
    note(in_flags(text))


class _OneLine(logging.Formatter):
    """Writes a warning as one line, whatever the names in it are, and as the command line says it."""

    def __init__(self, form: str) -> None:
        super().__init__(form)
        context = click.get_current_context(silent=True)  # which other threads lack
        self._command = context.command if context else None

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        text = super().formatMessage(record)
        return printable(in_flags(text, self._command) if record.name.startswith("edgeseg") else text)


def quiet_native_logs() -> None:
    """Keep what TensorFlow and LiteRT print from C++ off the terminal; Python's own output stays.

    They write to file descriptors 2 and 1 before any setting of theirs is read. ``EDGESEG_NATIVE_LOGS=1`` shows it all.
    """
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, force=True)
    logging.getLogger().handlers[0].setFormatter(_OneLine("edgeseg: %(message)s"))
    if os.environ.get("EDGESEG_NATIVE_LOGS") == "1":
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in ("absl", "tensorflow", "tf2onnx", "onnxruntime"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("rasterio", "tifffile"):  # they log each tag of a damaged file, and then raise
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.stderr = _own_descriptor(sys.stderr, 2)
    logging.getLogger().handlers[0].setStream(sys.stderr)  # type: ignore[attr-defined]
    # LiteRT's GPU accelerator writes to stdout, where a reader of --json would find it.
    sys.stdout = _own_descriptor(sys.stdout, 1)


def _own_descriptor(stream: TextIO, number: int) -> TextIO:
    """Return a stream with the same target, whose descriptor is not the one that native code writes to."""
    try:
        if stream.fileno() != number:
            return stream
    except (OSError, ValueError):  # a stream without a descriptor, as in a test
        return stream
    stream.flush()
    line_buffering = number == 2 or stream.isatty()
    errors = "backslashreplace" if number == 2 else stream.errors
    copy = os.fdopen(os.dup(number), "w", 1 if line_buffering else -1, encoding=stream.encoding, errors=errors)
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, number)
    os.close(sink)
    return copy


def size_text(size_bytes: int) -> str:
    """Return a size as ``9.84 MB``; 1 MB is a million bytes."""
    return f"{size_bytes / 1e6:.2f} MB"
