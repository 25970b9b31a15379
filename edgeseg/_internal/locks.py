"""Tell the writers of one place apart: a lock file says who writes there, and the system frees it when its owner dies.

The lock is the system's (``flock``), not the file: a process id may be that of another container or machine, and a
process of the same number may have started since. On a system or file system without such locks nothing is refused, and
nothing counts as abandoned.
"""

from __future__ import annotations

import errno
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgeseg.errors import InputError

#: How the names of lock files end; a lock on a whole folder has this name in it.
SUFFIX = ".edgeseg-lock"

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_FLAGS = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
_MOST_SAID = 200  # bytes that are read of what a lock file says


@contextmanager
def exclusive(lock: Path, what: str) -> Iterator[None]:
    """Hold a lock file while the block runs, and remove it at the end.

    Args:
        lock: the file; its folder exists.
        what: what is written, as the start of a sentence.

    Raises:
        InputError: another process holds it, or another place of this one; the text says which and since when.
        OSError: the file cannot be made.
    """
    handle = _take(lock, what)
    try:
        os.ftruncate(handle, 0)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        os.write(handle, f"process {os.getpid()} on {platform.node()} since {since}".encode())
        yield
    finally:
        _remove(lock, handle)


@contextmanager
def abandoned(lock: Path) -> Iterator[bool]:
    """Yield whether the owner of a lock file is dead; if so, hold it while the block runs, and remove it then."""
    try:
        handle = os.open(lock, _FLAGS)
    except OSError:  # removed by its owner just now, or another user's
        yield False
        return
    if _locked(handle) and _is_at(lock, handle):
        try:
            yield True
        finally:
            _remove(lock, handle)
    else:
        os.close(handle)
        yield False


def _take(lock: Path, what: str) -> int:
    while True:
        handle = os.open(lock, _FLAGS | os.O_CREAT, 0o666)
        if _locked(handle) is False:
            said = os.read(handle, _MOST_SAID).decode(errors="replace")
            os.close(handle)
            raise InputError(
                f"{what} is being written by {said or 'another process'}; wait until it ends, or name another place."
            )
        if _is_at(lock, handle):
            return handle
        os.close(handle)  # its last owner removed it between the two calls


def _locked(handle: int) -> bool | None:
    """Lock an open file without waiting; ``None`` where the system has no such locks."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def _is_at(lock: Path, handle: int) -> bool:
    try:
        return os.path.samestat(lock.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _remove(lock: Path, handle: int) -> None:
    """Remove a lock file that is held. Before it is freed: whoever gets it next must see that it is gone."""
    with suppress(OSError):
        lock.unlink(missing_ok=True)
    os.close(handle)
