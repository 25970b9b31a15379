"""Receive an address whose protocol PyAV's FFmpeg lacks through the ffmpeg program, which passes the bytes on."""

from __future__ import annotations

import shutil
import subprocess
import threading
import weakref
from collections import deque

from edgeseg.errors import BackendUnavailable

#: Schemes that the FFmpeg in PyAV's wheels is built without ("Protocol not found", 18.1); the program may have them.
PROGRAMS_OWN = frozenset({"srt"})


class Relay:
    """An ffmpeg process that receives from an address, as a file: what is read is what the sender sent.

    It ends with ``close``, with this process, and by itself where the sender is silent.

    Args:
        url: the address; other users of this machine see it in the list of processes.
        timeout_s: how long the sender may be silent; ``None`` for no limit.

    Raises:
        BackendUnavailable: there is no ffmpeg on the PATH.
    """

    def __init__(self, url: str, *, timeout_s: float | None) -> None:
        program = shutil.which("ffmpeg")
        if program is None:
            scheme = url.partition("://")[0]
            raise BackendUnavailable(
                f"'{scheme}://' needs the program ffmpeg, for PyAV is built without it, and there is none on the PATH; "
                "install it (apt install ffmpeg, brew install ffmpeg)."
            )
        command = [program, "-nostdin", "-hide_banner", "-loglevel", "error"]
        if timeout_s is not None:
            microseconds = str(round(timeout_s * 1e6))
            command += ["-timeout", microseconds, "-listen_timeout", microseconds]
            command += ["-connect_timeout", str(round(timeout_s * 1e3))]
        # "data" is bytes without a container on both sides: nothing is analyzed here, and nothing waits for it.
        command += ["-f", "data", "-i", url, "-map", "0", "-c", "copy", "-f", "data", "-flush_packets", "1", "pipe:1"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for us
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        # At the end of the interpreter too: where the sender is silent, nobody else may be there to close it.
        self._kill = weakref.finalize(self, self._process.kill)
        self._said: deque[str] = deque(maxlen=20)
        self._listener = threading.Thread(target=self._listen, name="edgeseg-relay-log", daemon=True)
        self._listener.start()

    def read(self, size: int) -> bytes:
        """Return what came, ``size`` bytes at most; nothing after the end."""
        assert self._process.stdout is not None
        return self._process.stdout.read(size)

    def said(self) -> str:
        """End the process and return what it said; the address, with its passwords, may be in it."""
        self.stop()
        self._process.wait()
        self._listener.join()
        return "\n".join(self._said)

    def stop(self) -> None:
        """End the process, from any thread; a ``read`` that waits returns nothing."""
        self._kill()

    def close(self) -> None:
        """End the process and release its pipes; only for the thread that reads."""
        self.said()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._said.append(line.decode(errors="replace").strip())
