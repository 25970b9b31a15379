"""Read raw frames from a program that writes them to a pipe: the newest one wins, and the program ends with us."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg._internal.text import escaped, masked
from edgeseg.errors import InputError
from edgeseg.sources.cameras import guard
from edgeseg.sources.cameras.i420 import I420
from edgeseg.sources.pacing import SenderClock

_log = logging.getLogger("edgeseg.sources")

#: What a line of a program's log may have, and how many of its lines are kept.
_LONGEST_LINE, _MOST_LINES = 4096, 40

#: How an error begins in the logs of rpicam-apps and gst-launch-1.0; lines about closing down may follow it.
_ERROR = re.compile(r"ERROR: |WARNING: erroneous pipeline: ")

#: A program that was told to end has this long before it is killed; ``guard`` gives it a part of that.
_CLOSING_S = 1.0

#: How long a frame waits for its time stamp, which is written after it, and how many in a row may lack it until none is
#: waited for.
_STAMP_S, _MOST_UNSTAMPED = 0.5, 3

#: The frame rate is measured by the time stamps of so many first frames.
_MEASURED = 5

#: Time stamps that are kept: cameras have fewer buffers.
_MOST_STAMPS = 64

_STAMP = re.compile(rb"SensorTimestamp=(\d{1,19})\s*")


class Frames(Protocol):
    """What a program writes.

    Attributes:
        layout: of a frame in memory; final after the first ``read``.
        fps: frames per second; None where nothing says it.
    """

    layout: I420
    fps: float | None

    @property
    def most_bytes(self) -> int:
        """Memory that ``read`` needs."""

    def read(self, buffer: NDArray[np.uint8]) -> bool:
        """Read the next frame into ``(most_bytes,)`` uint8; False at the end; ``InputError`` where it is none."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program that writes frames.

    Attributes:
        command: the program, and its arguments.
        frames: opens its standard output; ``InputError`` where that has no video.
        stamps: arguments before the path of a file that gets a line ``SensorTimestamp=NANOSECONDS`` after each frame,
            in the time since the system started; empty where it gives none.
        refused: returns why the frames cannot be read, by a line of its log; empty where the line does not say so.
        agreed_fps: returns the frame rate of the one that its time stamps or frames say, None where they do not;
            ``InputError`` where another was asked for.
    """

    __repr__ = short_repr

    command: Sequence[str]
    frames: Callable[[BufferedReader], Frames]
    stamps: Sequence[str] = ()
    refused: Callable[[str], str] = lambda line: ""
    agreed_fps: Callable[[float | None], float | None] = lambda fps: fps

    @property
    def name(self) -> str:
        """The name of the program."""
        return Path(self.command[0]).name


@dataclass(frozen=True)
class _Raw:
    buffer: NDArray[np.uint8]
    number: int
    came_s: float


class FrameProcess:
    """A program that runs: a ``LiveCapture``.

    A thread empties the pipe, so that no frame waits in it: a frame that nobody asked for is replaced by the next.

    Attributes:
        captured_s: when the current frame was captured, or came where the program does not say it.
        reason: why ``grab`` returned False.
        skipped: frames that the current one replaced.
    """

    def __init__(self, name: str, program: Program, *, timeout_s: float) -> None:
        """Start the program and wait for its first frame.

        Args:
            name: of the camera, for messages.
            program: what to run.
            timeout_s: how long it may deliver no image.

        Raises:
            InputError: no frame comes, and the text has the program's own words; or not at the rate that was asked for.
        """
        self.captured_s = 0.0
        self.reason = ""
        self.skipped = 0
        self._program = program
        self._timeout_s = timeout_s
        self._name = name
        self._clock = SenderClock(name)
        self._changed = threading.Condition()
        self._frames: Frames | None = None
        self._newest: _Raw | None = None
        self._current: _Raw | None = None
        self._replaced = 0
        self._stamps: dict[int, int] = {}
        self._stamped = bool(program.stamps)
        self._unstamped = 0  # frames in a row whose stamp did not come
        self._failure = ""
        self._ended = False
        self._stopped = False
        self._said: deque[str] = deque(maxlen=_MOST_LINES)
        self._start()
        if not self._wait():
            self.release()
            raise InputError(f"'{name}' gives no image: {self.reason}.")
        try:
            self._fps = program.agreed_fps(self._delivered_fps())
        except InputError:
            self.release()
            raise

    def grab(self) -> bool:
        """Wait for a frame that was not grabbed yet; False where none comes, and ``reason`` says why."""
        if not self._wait():
            return False
        with self._changed:
            assert self._newest is not None
            self._current, self._newest = self._newest, None
            self.skipped, self._replaced = self._replaced, 0
            self.captured_s = self._captured_s(self._current)
        return True

    def retrieve(self) -> tuple[bool, NDArray[np.uint8]]:
        """Return True and the current frame: ``(h, w, 3)`` uint8 BGR."""
        assert self._frames is not None
        assert self._current is not None
        layout = self._frames.layout
        return True, layout.image(self._current.buffer[: layout.num_bytes])

    def get(self, prop: int) -> float:
        """Return the frame rate for ``cv2.CAP_PROP_FPS``; 0 where nothing says it."""
        return (self._fps or 0.0) if prop == cv2.CAP_PROP_FPS else 0.0

    def stop(self) -> None:
        """End a wait for a frame, from any thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def release(self) -> None:
        """End the program and everything that it started."""
        self.stop()
        assert self._process.stdin is not None
        self._process.stdin.close()  # its guard ends it then
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_CLOSING_S)
        self._kill()  # the guard where it hangs, and what is left where it ended before that, or was killed
        for thread in self._threads:
            thread.join(_CLOSING_S)

    def _kill(self) -> None:
        if sys.platform == "win32":
            self._process.kill()
        else:
            # Nothing is left, or on macOS only what nobody waited for.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _start(self) -> None:
        command = [sys.executable, "-I", "-S", str(Path(guard.__file__)), *self._program.command]
        given: tuple[int, ...] = ()
        work: list[tuple[Callable[[IO[bytes]], None], IO[bytes] | None]] = []
        with contextlib.ExitStack() as files:
            if self._stamped:
                reading, writing = os.pipe()
                stamps = files.enter_context(os.fdopen(reading, "rb"))
                work = [(self._note_stamps, stamps)]
                given = (writing,)
                command += [*self._program.stamps, f"/dev/fd/{writing}"]
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    pass_fds=given,
                    # A group of its own: Ctrl-C is for us, and the program ends when we close its guard's input.
                    start_new_session=True,
                    creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
                )
            finally:
                for descriptor in given:
                    os.close(descriptor)
            files.pop_all()  # the threads close them
        work = [(self._listen, self._process.stderr), (self._read, self._process.stdout), *work]
        self._threads = [
            threading.Thread(target=run, args=(file,), name=f"edgeseg {self._program.name}", daemon=True)
            for run, file in work
        ]
        for thread in self._threads:
            thread.start()

    def _wait(self) -> bool:
        """Return whether there is a frame, after at most ``timeout_s``; the reason is set where there is none."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._newest or self._ended or self._failure or self._stopped, self._timeout_s
            )
            if self._stopped:
                return False
            if self._failure:
                self.reason = f"{self._program.name}: {self._failure}"
                return False
            if self._newest is not None:
                return True
            ended = self._ended
        self.reason = self._how_it_ended() if ended else f"no image came within {self._timeout_s:g} s"
        return False

    def _delivered_fps(self) -> float | None:
        """Return the frame rate by time stamps, or as the frames state it; the first frames pass for it."""
        if not self._stamped:
            assert self._frames is not None
            return self._frames.fps
        with self._changed:
            # The stamp of a frame has come when the next one has.
            self._changed.wait_for(
                lambda: self._ended or self._failure or (self._newest and self._newest.number >= _MEASURED),
                self._timeout_s,
            )
            self._replaced = 0  # the source has not begun
            stamps = [self._stamps[number] for number in sorted(self._stamps)]
        # The shortest: a busy board misses frames, and the sensor has its rate.
        between_ns = min((second - first for first, second in itertools.pairwise(stamps)), default=0)
        return 1e9 / between_ns if between_ns > 0 else None

    def _how_it_ended(self) -> str:
        try:
            status = self._process.wait(_CLOSING_S)
        except subprocess.TimeoutExpired:
            return f"{self._program.name} closed its output"
        if 0 < status - guard.SIGNALED < signal.NSIG:
            return f"{self._program.name} was killed by signal {status - guard.SIGNALED}"
        self._threads[0].join(_CLOSING_S)  # has the last line then
        lines = list(self._said)
        line = next((line for line in lines if _ERROR.match(line)), lines[-1] if lines else "")
        return f"{self._program.name} ended with status {status}" + (f": {line.rstrip('.')}" if line else "")

    def _captured_s(self, raw: _Raw) -> float:
        """Return when a frame was captured, in the time of ``time.perf_counter``; called with the lock held."""
        if not self._stamped:
            return raw.came_s
        self._changed.wait_for(lambda: raw.number in self._stamps or self._ended or self._stopped, _STAMP_S)
        if raw.number not in self._stamps:
            self._unstamped += 1
            if self._unstamped == _MOST_UNSTAMPED:
                self._stamped = False
                _log.warning(
                    "'%s' does not say any more when its frames were captured: their age counts from when they came.",
                    self._name,
                )
            return raw.came_s
        self._unstamped = 0
        return self._clock.captured_s(time.clock_gettime(time.CLOCK_BOOTTIME) - self._stamps[raw.number] / 1e9)

    def _read(self, stdout: IO[bytes]) -> None:
        """Keep the newest frame, as a thread."""
        assert isinstance(stdout, BufferedReader)
        number = 0
        try:
            with stdout:
                frames = self._frames = self._program.frames(stdout)
                # One is written, one is the newest, one is made an image of.
                buffers = [np.empty(frames.most_bytes, np.uint8) for _ in range(3)]
                while frames.read(buffer := self._unused(buffers)):
                    with self._changed:
                        self._replaced += self._newest is not None
                        self._newest = _Raw(buffer, number, time.perf_counter())
                        self._changed.notify_all()
                    number += 1
        except InputError as error:
            try:
                self._process.wait(_CLOSING_S)  # one that failed at the start wrote nothing: its own words say more
            except subprocess.TimeoutExpired:
                self._failure = str(error).rstrip(".")
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _unused(self, buffers: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        with self._changed:
            used = [raw.buffer for raw in (self._newest, self._current) if raw is not None]
        return next(buffer for buffer in buffers if not any(buffer is one for one in used))

    def _listen(self, stderr: IO[bytes]) -> None:
        """Keep the program's last lines, as a thread."""
        with stderr:
            for line in iter(lambda: stderr.readline(_LONGEST_LINE), b""):
                text = escaped(masked(line.decode(errors="replace").strip()), most=300)
                if not text:
                    continue
                self._said.append(text)
                if failure := self._program.refused(text):
                    with self._changed:
                        self._failure = failure
                        self._changed.notify_all()

    def _note_stamps(self, file: IO[bytes]) -> None:
        """Keep when each frame was captured, as a thread."""
        number = 0
        with file:
            for line in iter(lambda: file.readline(_LONGEST_LINE), b""):
                if match := _STAMP.fullmatch(line):
                    with self._changed:
                        self._stamps[number] = int(match[1])
                        self._stamps.pop(number - _MOST_STAMPS, None)
                        self._changed.notify_all()
                    number += 1
