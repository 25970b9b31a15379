"""Print tables, progress and JSON for the commands, and silence native libraries."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from edgeseg._internal.progress import Progress, StepProgress
from edgeseg._internal.text import printable


def print_json(value: dict[str, Any]) -> None:
    """Print the one machine-readable object on stdout; NaN and infinity become null."""
    from edgeseg._internal.json import as_json

    print(json.dumps(as_json(value), indent=2, allow_nan=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None) -> None:
    """Print a table for people on stdout; columns that begin with ``>`` are aligned to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if title:
        say(title)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(
            Text(printable(column.lstrip(">"))), justify="right" if column.startswith(">") else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))  # Text, as rich would take "edgeseg[train]" for markup
    # In a pipe rich assumes 80 columns and folds; a file has no width.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    console.print(table)


def print_markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in Markdown, for a README."""
    rows = [[printable(cell).replace("|", r"\|") for cell in row] for row in rows]
    print(f"| {' | '.join(column.lstrip('>') for column in columns)} |")
    print(f"|{'|'.join('---:' if column.startswith('>') else '---' for column in columns)}|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """Show progress on a terminal's stderr, nothing in a pipe; yield ``update(done, total)``."""
    with progress_of_steps() as update:
        yield lambda done, total: update(what, done, total)


@contextmanager
def progress_of_steps() -> Iterator[StepProgress]:
    """Show the progress of work in several steps; yield ``update(step, done, total)``."""
    if not sys.stderr.isatty():
        yield lambda step, done, total: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda step, done, total: bar.update(
            task, description=escape(printable(step)), completed=done, total=total
        )


def say(text: str) -> None:
    """Print one line for people on stdout, whatever the names in it are."""
    print(printable(text))


def note(text: str) -> None:
    """Print one line for people on stderr, whatever the names in it are."""
    print(printable(text), file=sys.stderr, flush=True)


class _OneLine(logging.Formatter):
    """Writes a warning as one line, whatever the names in it are."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return printable(super().formatMessage(record))


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
