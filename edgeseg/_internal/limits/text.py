"""Read text files of bounded size."""

from __future__ import annotations

from pathlib import Path

from edgeseg.errors import InputError

#: Bytes of the largest table of classes or colors that is read: about a million short lines.
MAX_TABLE = 1 << 24
#: Bytes, and lines, of the largest list of files.
MAX_LIST, MAX_LIST_LINES = 1 << 26, 1_000_000


def read_text(path: str | Path, most: int, *, encoding: str = "utf-8") -> str:
    """Return the text of a file, without reading more than is accepted, from a pipe without an end either.

    Args:
        path: the file.
        most: bytes that it may have.
        encoding: of the file.

    Raises:
        InputError: it has more.
        OSError: it cannot be read.
        UnicodeDecodeError: it is no text of that encoding.
    """
    with open(path, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise InputError(f"'{path}' has more than {most >> 20} MiB, too much for a file of its kind.")
    return data.decode(encoding)
