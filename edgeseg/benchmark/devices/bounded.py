"""Bound what a program that talks to a device writes and how long it takes: the device decides both."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import IO

_POLL_S = 0.1


class Watch:
    """Kills a program when it has written too much or takes too long; a context around waiting for it.

    Args:
        process: the program; its output goes to files.
        files: those files.
        most_bytes: what each may have.
        timeout_s: how long the context may last, in seconds.

    Attributes:
        broke: what the program did, to go after a name (``gave no answer within 20 seconds``); empty if it kept to it.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], files: Sequence[IO[bytes]], *, most_bytes: int, timeout_s: float
    ) -> None:
        self.broke = ""
        self._process, self._files = process, files
        self._most_bytes, self._timeout_s = most_bytes, timeout_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="edgeseg-watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()
        self._measure()  # what was written since the last look

    def _watch(self) -> None:
        deadline = time.monotonic() + self._timeout_s
        while not self._done.wait(_POLL_S):
            self._measure()
            if not self.broke and time.monotonic() > deadline:
                self.broke = f"gave no answer within {self._timeout_s:.0f} seconds"
            if self.broke:
                self._process.kill()
                return

    def _measure(self) -> None:
        if not self.broke and any(os.fstat(file.fileno()).st_size > self._most_bytes for file in self._files):
            self.broke = f"answered with more than {self._most_bytes / 2**20:g} MiB"


def text_of(file: IO[bytes], most_bytes: int) -> str:
    """Return the beginning of what a program wrote, as UTF-8; what is none is replaced."""
    file.seek(0)
    return file.read(most_bytes).decode(errors="replace")
