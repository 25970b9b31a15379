"""Write files so that nothing is lost: to a temporary name, then a rename; never over an existing file unasked."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import os
import re
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from edgeseg._internal.limits.pairs import split, weights_path
from edgeseg._internal.locks import SUFFIX as LOCK
from edgeseg._internal.locks import abandoned, exclusive
from edgeseg.errors import InputError

# Folders of this process that were rid of what killed processes left; a folder of 100,000 images is listed once.
_cleared: set[Path] = set()

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)  # a file system that has nothing to wait for


@contextmanager
def atomic_path(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that becomes ``path`` when the block ends without an error.

    The temporary file keeps the suffix (libraries look at it) and is removed when the block fails, also on Ctrl-C;
    whatever was at ``path`` before is then still there. After the block the file is on the disk, not only in the
    system's memory: a power loss leaves the old file or the new one, whole. What a killed process left in the folder is
    removed.

    Raises:
        InputError: the file exists and ``overwrite`` is false, another process is writing it, or the folder cannot be
            written.
    """
    path = Path(path)
    refuse_existing(path, overwrite=overwrite)
    with ExitStack() as held:
        stem = _hidden_stem(path)
        # A name of its own, for file systems without locks, where a second writer is not refused.
        temporary = stem.with_name(f"{stem.name}.{secrets.token_hex(4)}{''.join(path.suffixes[-2:])}")
        try:
            held.callback(_remove_empty, _make_folder(path.parent))
            held.enter_context(exclusive(stem.with_name(stem.name + LOCK), f"'{path}'"))
            refuse_existing(path, overwrite=overwrite)  # another process may just have written it
            temporary.touch(exist_ok=False)
        except OSError as error:
            raise InputError(f"folder '{path.parent}' cannot be written: {error.strerror}.") from error
        try:
            yield temporary
            _publish(temporary, path)
        except OSError as error:
            if (
                error.errno is None
            ):  # not from the operating system: a library's own error, with a better text than ours
                raise
            raise InputError(f"'{path}' cannot be written: {error.strerror}.") from error
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def growing_path(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield ``path`` itself, as an empty file, for what is of use while it grows: a killed process leaves it so.

    Other processes that write it are refused meanwhile. A block that fails leaves what it wrote, and removes a file
    without a byte.

    Raises:
        InputError: the file exists and ``overwrite`` is false, another process is writing it, or the folder cannot be
            written.
    """
    path = Path(path)
    refuse_existing(path, overwrite=overwrite)
    stem = _hidden_stem(path)
    with ExitStack() as held:
        try:
            held.callback(_remove_empty, _make_folder(path.parent))
            held.enter_context(exclusive(stem.with_name(stem.name + LOCK), f"'{path}'"))
            refuse_existing(path, overwrite=overwrite)  # another process may just have written it
            path.unlink(missing_ok=True)  # who has the old file open keeps it
            path.touch(exist_ok=False)
        except OSError as error:
            raise InputError(f"folder '{path.parent}' cannot be written: {error.strerror}.") from error
        try:
            yield path
        finally:
            if path.exists() and not path.stat().st_size:
                path.unlink(missing_ok=True)


@contextmanager
def appending_path(path: Path) -> Iterator[None]:
    """Keep other processes from writing a file that grows over several runs, such as a log, while the block runs.

    Raises:
        InputError: another process is writing it, or its folder cannot be written.
    """
    stem = _hidden_stem(path)
    with ExitStack() as held:
        try:
            held.callback(_remove_empty, _make_folder(path.parent))
            held.enter_context(exclusive(stem.with_name(stem.name + LOCK), f"'{path}'"))
        except OSError as error:
            raise InputError(f"folder '{path.parent}' cannot be written: {error.strerror}.") from error
        yield


@contextmanager
def writing_folder(folder: Path) -> Iterator[None]:
    """Keep other processes from writing a folder whose files belong together, such as a run's, while the block runs.

    Raises:
        InputError: another process is writing it, or it cannot be written.
    """
    with ExitStack() as held:
        try:
            held.callback(_remove_empty, _make_folder(folder))
            held.enter_context(exclusive(folder / LOCK, f"'{folder}'"))
        except OSError as error:
            raise InputError(f"folder '{folder}' cannot be written: {error.strerror}.") from error
        yield


def cache_folder() -> Path:
    """Return the user's folder for what can be had again; it need not exist.

    By the XDG base directory specification: ``~/.cache`` where the variable does not say.

    Raises:
        InputError: there is no home folder.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(base) if Path(base).is_absolute() else Path("~/.cache").expanduser()) / "edgeseg"
    except RuntimeError as error:
        raise InputError("this user has no home folder; name one for files in the variable XDG_CACHE_HOME.") from error


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise ``InputError`` when ``path`` exists and must not be overwritten; call it before long work, not after.

    A device or a pipe, such as ``/dev/null`` or ``/dev/stdout``, is always refused: a rename would put the file in its
    place.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"'{path}' is a device or a pipe; name a file.")
    if path.exists() and not overwrite:
        raise InputError(f"'{path}' exists; give `overwrite=True` or another place.")


def require_writable_folder(folder: Path) -> None:
    """Raise ``InputError`` when files could not be written into a folder; call it before long work, not after.

    A missing folder is not created: the first file does that, so that a command that is refused leaves nothing.
    """
    try:
        places = (folder.absolute(), *folder.absolute().parents)
        nearest = next(place for place in places if place.is_symlink() or place.exists())
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise InputError(f"folder '{folder}' cannot be written: {error.strerror}.") from error


@contextmanager
def scratch_folder(prefix: str = "edgeseg-") -> Iterator[Path]:
    """Make a folder for files that are needed during the block only, and remove it.

    Args:
        prefix: of its name.

    Raises:
        InputError: the system's temporary folder is full or cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=prefix) as folder:
            yield Path(folder)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise InputError(
            f"the temporary folder '{tempfile.gettempdir()}' cannot be written: {error.strerror}; name another one in "
            "the environment variable TMPDIR."
        ) from error


def write_bytes(path: str | Path, data: bytes, *, overwrite: bool = False) -> None:
    """Write a whole file at once through ``atomic_path``."""
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(data)


def write_artifact(path: Path, data: bytes, *, overwrite: bool = False) -> None:
    """Write an artifact through ``atomic_path``: one file, or the two of an OpenVINO model.

    The weights come first: whoever reads in between, or after a kill in between, finds them under a graph that has the
    hash of others, and is told so.

    Args:
        path: the file; the other one is beside it.
        data: the artifact, of two files as ``pairs`` joins them.
        overwrite: whether existing files may be replaced.
    """
    weights = weights_path(path)
    if weights is None:
        write_bytes(path, data, overwrite=overwrite)
        return
    for each in (path, weights):
        refuse_existing(each, overwrite=overwrite)
    graph, content = split(data)
    write_bytes(weights, content, overwrite=overwrite)
    write_bytes(path, graph, overwrite=overwrite)


def write_text(path: str | Path, text: str, *, overwrite: bool = False) -> None:
    """Write a text as UTF-8; what UTF-8 lacks, such as a byte of a file name that was none, is escaped as in Python."""
    write_bytes(path, text.encode(errors="backslashreplace"), overwrite=overwrite)


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows as comma-separated lines, quoted where a comma or a quote needs it."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def sha256(data: bytes) -> str:
    """Return the hexadecimal SHA-256 of some bytes."""
    return hashlib.sha256(data).hexdigest()


def _hidden_stem(path: Path) -> Path:
    """Return what the names of a file's lock and temporary file begin with: ``.model.0a1b2c3d``.

    Only a part of the name: one that is longer than the file's own may exceed the allowed length.
    """
    return path.with_name(f".{path.stem[:16]}.{sha256(os.fsencode(path.name))[:8]}")


def _make_folder(folder: Path) -> list[Path]:
    """Create a folder where it is missing, so that it is there after a power loss; clear it of what was abandoned.

    Returns:
        The folders that were missing, the innermost first.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        _sync(place.parent)
    known = folder.absolute()
    if known not in _cleared:
        _cleared.add(known)
        _remove_abandoned(folder)
    return missing


def _remove_empty(created: list[Path]) -> None:
    """Remove folders that were created for a file that did not come to be."""
    for folder in created:
        try:
            folder.rmdir()
        except OSError:  # it has files, or another process has removed it
            return


def _remove_abandoned(folder: Path) -> None:
    """Remove the temporary files of processes that were killed; those of a living one have a lock that is held."""
    try:
        with os.scandir(folder) as entries:  # of a million files, only those that may be such
            names = [entry.name for entry in entries if entry.name.startswith(".")]
    except PermissionError:  # a folder may be writable and not readable
        return
    for name in names:
        owned = re.fullmatch(r"(\..*\.[0-9a-f]{8})" + re.escape(LOCK), name, re.DOTALL)
        if owned is None:
            continue
        with abandoned(folder / name) as is_dead:
            for left in names if is_dead else ():
                if left != name and (left == owned[1] or left.startswith(f"{owned[1]}.")):
                    (folder / left).unlink(missing_ok=True)


def _publish(temporary: Path, path: Path) -> None:
    """Give a finished file its name.

    The order counts: a file system may write a rename before the bytes of the file, and a crash between them leaves an
    empty file under the name.
    """
    _sync(temporary)
    os.replace(temporary, path)  # noqa: PTH105 - a test records the calls of os
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(handle)
