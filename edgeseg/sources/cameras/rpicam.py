"""Read a camera on a CSI connector with ``rpicam-vid``, which is ``libcamera-vid`` on older systems.

What it writes with ``--codec yuv420`` is the camera's buffers, one after the other, by its own sources
(github.com/raspberrypi/rpicam-apps, read 2026-11-30): ``encoder/null_encoder.cpp`` hands them on as they are,
``core/rpicam_app.cpp`` asks libcamera for YUV420 in the colors of JPEG (``ColorSpace::Sycc``: full range, BT.601), and
``output/output.cpp`` writes a frame and then its metadata, in which ``SensorTimestamp`` is when its first row was
exposed, in nanoseconds since the system started. Its log goes to standard error.
"""

from __future__ import annotations

import re
import shutil
from io import BufferedReader

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import BackendUnavailable, InputError
from edgeseg.sources.cameras.i420 import I420
from edgeseg.sources.cameras.process import FrameProcess, Program
from edgeseg.sources.cameras.settings import DEFAULT_FPS, DEFAULT_SIZE_WH, CameraSettings

PROGRAMS = ("rpicam-vid", "libcamera-vid")
INSTALL = "sudo apt install rpicam-apps"

# The ISPs of Raspberry Pi 4 and 5 pad rows of luma in YUV420 to 64 bytes, so that those of chroma are aligned to 32:
# github.com/raspberrypi/linux/pull/4419, github.com/raspberrypi/rpicam-apps/issues/188, `align_stream` of picamera2.
_ALIGNED = 64

#: libcamera's line about what it was asked for, and may have adjusted.
_CONFIGURED = re.compile(r"configuring streams: \(0\) (\d{1,6})x(\d{1,6})-(\w+)")

#: What Boost's parser says of an option that an old program does not have.
_NO_STAMPS = re.compile(r"unrecogni[sz]ed option '--metadata")


class CsiCamera:
    """A camera of Raspberry Pi, by its number in ``rpicam-hello --list-cameras``."""

    def __init__(self, index: int, settings: CameraSettings, *, timeout_s: float) -> None:
        """Set which camera, and what is asked of it; it is not opened yet.

        Args:
            index: from 0.
            settings: a size of even sides; 640x480 at 30 a second where omitted, as the program itself.
            timeout_s: how long it may deliver no image.

        Raises:
            InputError: it cannot deliver that.
            BackendUnavailable: neither program is on the PATH.
        """
        self.name = f"csi:{index}"
        self.stem = f"csi{index}"
        self._index = index
        self._timeout_s = timeout_s
        self._stamps = True
        settings.refuse_format(self.name)
        self._settings = settings
        self._size_wh = settings.size_wh or DEFAULT_SIZE_WH
        if self._size_wh[0] % 2 or self._size_wh[1] % 2:
            raise InputError(
                "`CameraSettings(size_wh=...)` of {} has even sides, got {}x{}.".format(self.name, *self._size_wh)
            )
        program = next(filter(None, map(shutil.which, PROGRAMS)), None)
        if program is None:
            raise BackendUnavailable(
                f"'{self.name}' needs the program rpicam-vid, which is not on the PATH. Install it with: {INSTALL}"
            )
        self._program = program

    def open(self) -> FrameProcess:
        """Start the program; ``InputError`` where no image comes, or not at the frame rate that was asked for."""
        if self._stamps:
            try:
                return self._started()
            except InputError as error:
                if not _NO_STAMPS.search(str(error)):
                    raise
                self._stamps = False  # of 2023 and before: nothing says the frame rate, and ages count from arrival
        return self._started()

    def may_recover(self) -> bool:
        """Return False: a program that ended does not start again."""
        return False

    def _started(self) -> FrameProcess:
        width, height = self._size_wh
        command = [self._program, "--timeout", "0", "--nopreview", "--camera", str(self._index)]
        command += ["--codec", "yuv420", "--width", str(width), "--height", str(height)]
        command += ["--framerate", f"{self._settings.fps or DEFAULT_FPS:g}", "--flush", "--output", "-"]
        program = Program(
            command=command,
            frames=self._frames,
            stamps=("--metadata-format", "txt", "--metadata") if self._stamps else (),
            refused=self._refused,
            agreed_fps=lambda fps: self._settings.agreed_fps(self.name, fps),
        )
        return FrameProcess(self.name, program, timeout_s=self._timeout_s)

    def _frames(self, file: BufferedReader) -> Blocks:
        width, height = self._size_wh
        layout = I420.aligned(width, height, luma=_ALIGNED, chroma=_ALIGNED // 2, full_range=True)
        return Blocks(file, layout)

    def _refused(self, line: str) -> str:
        match = _CONFIGURED.search(line)
        if match is None:
            return ""
        size_wh = int(match[1]), int(match[2])
        if size_wh == self._size_wh and match[3] == "YUV420":
            return ""
        return "the camera gives {}x{} in {} in place of {}x{} in YUV420".format(*size_wh, match[3], *self._size_wh)


class Blocks:
    """Raw frames without anything between them: ``Frames`` of a program whose size is known."""

    fps: float | None = None

    def __init__(self, file: BufferedReader, layout: I420) -> None:
        """Set what the file has."""
        self.layout = layout
        self._file = file

    @property
    def most_bytes(self) -> int:
        """Bytes of a frame."""
        return self.layout.num_bytes

    def read(self, buffer: NDArray[np.uint8]) -> bool:
        """Read the next frame into ``(most_bytes,)`` uint8; False at the end."""
        return self._file.readinto(buffer) == buffer.size  # type: ignore[arg-type]
