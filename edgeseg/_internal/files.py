"""Write files so that nothing is lost: to a temporary name, then a rename; never over an existing file unasked."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeseg.errors import InputError


@contextmanager
def atomic_path(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that becomes ``path`` when the block ends without an error.

    The temporary file keeps the suffix (libraries look at it) and is removed when the block fails, also on Ctrl-C;
    whatever was at ``path`` before is then still there.

    Raises:
        InputError: the file exists and ``overwrite`` is false, or the folder cannot be written.
    """
    path = Path(path)
    refuse_existing(path, overwrite=overwrite)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Only a part of the name: a temporary name that is longer than the file's own may exceed the allowed length.
        suffix = "".join(path.suffixes[-2:])
        handle, name = tempfile.mkstemp(prefix=f".{path.stem[:16]}.", suffix=suffix, dir=path.parent)
    except OSError as error:
        raise InputError(f"folder '{path.parent}' cannot be written: {error.strerror}.") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes private files; an artifact is meant to be shared
        temporary.replace(path)
    except OSError as error:
        if error.errno is None:  # not from the operating system: a library's own error, with a better text than ours
            raise
        raise InputError(f"'{path}' cannot be written: {error.strerror}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise ``InputError`` when ``path`` exists and must not be overwritten; call it before long work, not after.

    A device or a pipe, such as ``/dev/null`` or ``/dev/stdout``, is always refused: a rename would put the file in its
    place.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"'{path}' is a device or a pipe; name a file.")
    if path.exists() and not overwrite:
        raise InputError(f"'{path}' exists; give --overwrite (overwrite=True) or another place.")


def require_writable_folder(folder: Path) -> None:
    """Create the folder where it is missing; raise ``InputError`` when it is not writable, before the long work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"folder '{folder}' cannot be written: {error.strerror}.") from error


def write_bytes(path: str | Path, data: bytes, *, overwrite: bool = False) -> None:
    """Write a whole file at once through ``atomic_path``."""
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(data)


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows as comma-separated lines, quoted where a comma or a quote needs it."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def sha256(data: bytes) -> str:
    """Return the hexadecimal SHA-256 of some bytes."""
    return hashlib.sha256(data).hexdigest()
