"""Send frames to a process that encodes them: the system's ffmpeg, or edgeseg's own for pushed streams."""

from __future__ import annotations

import queue
import shutil
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.files import atomic_path, refuse_existing, require_writable_folder
from edgeseg._internal.text import masked
from edgeseg.errors import BackendUnavailable, InputError, SinkLost
from edgeseg.sinks.base import DiskWatch, OneSize, checked_fps
from edgeseg.sinks.cameras.virtual import no_device

#: The container that a URL's scheme needs; other targets are files to ffmpeg, which goes by their suffix.
STREAM_FORMATS = {
    "rtmp": ("-f", "flv"),
    "rtmps": ("-f", "flv"),
    "rtsp": ("-rtsp_transport", "tcp", "-f", "rtsp"),
    "udp": ("-f", "mpegts"),
    "tcp": ("-f", "mpegts"),
    "srt": ("-f", "mpegts"),
    "http": ("-f", "mpegts"),
    "https": ("-f", "mpegts"),
}


#: Seconds, twice, that a stream's process has to send what it holds when it is closed.
STREAM_CLOSING_S = 0.6


class FfmpegPipe:
    """Sends raw frames to an ``ffmpeg`` process, which encodes them.

    A stream or a virtual camera gets the newest frame: a frame that ffmpeg has no time for is dropped and counted in
    ``dropped``. A file gets every frame. Frames of another size than the first are scaled, with black bars.

    Args:
        target: a URL (``rtmp://``, ``rtsp://``, ``udp://``, ``tcp://``, ``srt://``, ``http://``), the device of a
            v4l2loopback camera (``/dev/video10``), or a file.
        fps: frames per second. A stream carries the time at which each frame was written, so it may be a guess.
        options: ffmpeg's own, put before the target; they override those chosen here (``("-c:v", "h264_v4l2m2m")`` for
            a board's encoder).
        overwrite: whether an existing file may be replaced.
        live: a file's frames carry the time at which they were written, as a stream's do.
        stall_s: seconds without progress after which ffmpeg counts as hung.

    Raises:
        BackendUnavailable: there is no ffmpeg on the PATH.
        InputError: the scheme is not one of these, the device does not exist, or the file exists.
    """

    #: The start of an error's sentence.
    who = "ffmpeg"

    def __init__(
        self,
        target: str,
        *,
        fps: float,
        options: Sequence[str] = (),
        overwrite: bool = False,
        live: bool = False,
        stall_s: float = 10.0,
    ) -> None:
        self._program = self._find_program()
        self._target = target
        self._shown = masked(target, stream_key=True)
        self._kind = _kind(target, self._shown)
        self._fps = checked_fps(fps)
        self._options = tuple(options)
        self._overwrite = overwrite
        self._own_time = live or self._kind != "file"
        self._stall_s = stall_s
        if self._kind == "file":
            refuse_existing(Path(target), overwrite=overwrite)
            require_writable_folder(Path(target).parent)
        self._size = OneSize(f"'{self._shown}'")
        self._frames: queue.Queue[NDArray[np.uint8] | None] = queue.Queue(maxsize=2)
        self._process: subprocess.Popen[bytes] | None = None
        self._file = ExitStack()
        self._watch: DiskWatch | None = None
        self._said: deque[str] = deque(maxlen=20)
        self._closed = False
        self._failed = False
        self.dropped = 0

    def write(self, image_bgr: NDArray[np.uint8], name: str) -> None:
        """Hand over a copy of a frame ``(h, w, 3)`` uint8 BGR; a stream ignores its ``name``.

        Raises:
            SinkLost: ffmpeg ended or hangs, with its own last lines; or the disk is full.
        """
        if self._closed:
            raise ValueError(f"write to '{self._shown}', which is closed")
        image_bgr = self._size.fit(image_bgr)
        if self._process is None:
            self._process = self._start()
        if self._process.poll() is not None or self._broken.is_set():
            raise self._ended()
        if self._watch is not None:
            self._watch.check(image_bgr.nbytes)
        try:
            self._frames.put(image_bgr.copy(), block=self._kind == "file", timeout=self._stall_s)
        except queue.Full:
            self.dropped += 1
            if self._kind == "file" or time.perf_counter() - self._progress_s > self._stall_s:
                raise self._ended() from None

    def close(self) -> None:
        """Let ffmpeg finish, give a file its name, and end the process and its threads.

        Raises:
            SinkLost: ffmpeg could not finish, unless ``write`` has already raised for it.
        """
        self._closed = True
        if self._process is None:
            return
        process, reported = self._process, self._failed
        self._process = None
        with self._file:  # renames a file that was finished, removes one that was not
            error = self._finish(process)
            if error is not None and (self._kind == "file" or not reported):
                raise error

    def _find_program(self) -> str:
        program = shutil.which("ffmpeg")
        if program is None:
            raise BackendUnavailable(
                "'ffmpeg:' needs the program ffmpeg, which is not on the PATH; install it (apt install ffmpeg, "
                "brew install ffmpeg), or save to a video file without 'ffmpeg:'."
            )
        return program

    def head(self, size_hw: tuple[int, int]) -> bytes:
        """Return what the process reads before the frames of ``size_hw``."""
        return b""

    def heard(self, line: str) -> bool:
        """Return whether a line that the process said is no error and was taken."""
        return False

    def command(self, size_hw: tuple[int, int]) -> list[str]:
        """Return the command for frames of ``size_hw``; a file has a temporary name in it at first."""
        height, width = size_hw
        command = [self._program, "-hide_banner", "-loglevel", "error", "-y"]
        command += ["-f", "rawvideo", "-pixel_format", "bgr24", "-video_size", f"{width}x{height}"]
        command += ["-framerate", f"{self._fps:.6f}", "-probesize", "32", "-analyzeduration", "0"]
        if self._own_time:
            command += ["-use_wallclock_as_timestamps", "1"]
        command += ["-i", "pipe:0", "-an", "-pix_fmt", "yuv420p"]  # what players and cameras' readers take
        if height % 2 or width % 2:
            command += ["-vf", "crop=trunc(iw/2)*2:trunc(ih/2)*2"]  # yuv420p halves both sides
        if self._kind == "stream":
            # No look-ahead and no B frames: a frame leaves as soon as it comes. A new viewer waits two seconds at most.
            command += ["-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency"]
            command += ["-g", str(max(1, round(2 * self._fps))), "-flush_packets", "1"]
            command += STREAM_FORMATS[_scheme(self._target)]
        elif self._kind == "device":
            command += ["-f", "v4l2"]
        return [*command, *self._options, self._target]

    def _start(self) -> subprocess.Popen[bytes]:
        assert self._size.size_hw is not None
        command = self.command(self._size.size_hw)
        with ExitStack() as file:
            if self._kind == "file":
                temporary = file.enter_context(atomic_path(self._target, overwrite=self._overwrite))
                self._watch = DiskWatch(temporary, self._target)
                command[-1] = str(temporary.absolute())
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                bufsize=0,
                # A group of its own: Ctrl-C is for us, and ffmpeg ends in order when its input does.
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
            self._file = file.pop_all()
        assert process.stdin is not None
        assert process.stderr is not None
        head = self.head(self._size.size_hw)
        self._progress_s = time.perf_counter()
        self._broken = threading.Event()
        self._feeder = threading.Thread(
            target=self._feed, args=(process.stdin, head), name="edgeseg-ffmpeg", daemon=True
        )
        self._listener = threading.Thread(
            target=self._listen, args=(process.stderr,), name="edgeseg-ffmpeg-log", daemon=True
        )
        self._feeder.start()
        self._listener.start()
        return process

    def _feed(self, stdin: IO[bytes], head: bytes) -> None:
        """Feed frames to ffmpeg, as a thread; after ffmpeg hung up, go on taking frames so that no one waits."""
        left = memoryview(head)
        while True:
            try:
                while left and not self._broken.is_set():
                    left = left[stdin.write(left) :]
            except OSError:
                self._broken.set()
            self._progress_s = time.perf_counter()
            frame = self._frames.get()
            if frame is None:
                break
            left = frame.reshape(-1).data
        try:
            stdin.close()
        except OSError:
            self._broken.set()

    def _listen(self, stderr: IO[bytes]) -> None:
        """Keep ffmpeg's last lines, as a thread, without the key or password that a URL has."""
        with stderr:
            for line in stderr:
                text = line.decode(errors="replace").strip().replace(self._target, self._shown)
                if text and not self.heard(text):
                    self._said.append(text)

    def _finish(self, process: subprocess.Popen[bytes]) -> SinkLost | None:
        """Wait for ffmpeg, at most two times ``stall_s`` and a second; return the error when it did not end well.

        A stream has no more to finish than two frames, and is ended after ``STREAM_CLOSING_S``.
        """
        hung = False
        wait_s = self._stall_s if self._kind == "file" else min(self._stall_s, STREAM_CLOSING_S)
        try:
            self._frames.put(None, timeout=wait_s)
            process.wait(wait_s)
        except (queue.Full, subprocess.TimeoutExpired):
            hung = True
            process.kill()
            process.wait()
            self._broken.set()
            if self._feeder.is_alive():
                self._frames.put(None)
        self._feeder.join()
        self._listener.join(1.0)
        return self._error(hung=hung, status=process.returncode, wait_s=wait_s) if hung or process.returncode else None

    def _ended(self) -> SinkLost:
        """Return the error for a process that ended or hangs; the process is gone afterwards."""
        assert self._process is not None
        self._failed = True
        try:
            status: int | None = self._process.wait(1.0 if self._broken.is_set() else 0)
        except subprocess.TimeoutExpired:
            status = None
            self._process.kill()
            self._process.wait()
        self._listener.join(1.0)
        return self._error(hung=status is None, status=status or 0, wait_s=self._stall_s)

    def _error(self, *, hung: bool, status: int, wait_s: float) -> SinkLost:
        what = f"took no frame for {wait_s:g} s" if hung else f"ended with status {status}"
        details = f": {' | '.join(list(self._said)[-5:])}" if self._said else "."
        return SinkLost(f"{self.who}, writing '{self._shown}', {what}{details}")


def _scheme(target: str) -> str:
    return target.partition("://")[0].lower() if "://" in target else ""


def _kind(target: str, shown: str) -> Literal["stream", "device", "file"]:
    if scheme := _scheme(target):
        if scheme not in STREAM_FORMATS:
            raise InputError(f"'{shown}': accepted schemes are {', '.join(STREAM_FORMATS)}; without one it is a file.")
        return "stream"
    if target.startswith("/dev/"):
        if not Path(target).is_char_device():
            raise no_device(target)
        return "device"
    if not Path(target).suffix:
        raise InputError(f"'{target}' has no suffix for ffmpeg to go by; give a file (out.mp4), a URL or /dev/videoN.")
    return "file"
