"""Read a GStreamer pipeline: by OpenCV where it was built with GStreamer, else by ``gst-launch-1.0``."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Sequence

import cv2

from edgeseg._internal.text import masked
from edgeseg.errors import BackendUnavailable, InputError
from edgeseg.sources.cameras.process import FrameProcess, Program
from edgeseg.sources.cameras.y4m import Y4m
from edgeseg.sources.devices import Device
from edgeseg.sources.opencv import quiet_opencv

LAUNCH = "gst-launch-1.0"
_INSTALL = {
    "linux": "sudo apt install gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good",
    "darwin": "brew install gstreamer",
}

#: What an ``appsink`` may be told in ``gst-launch-1.0``, which has none: whether frames wait for their time, and what
#: changes nothing, as the newest frame is used.
_SINK = re.compile(r"(sync|drop|max-buffers|name|emit-signals)=(.+)")

#: GStreamer converts what the pipeline delivers, whose colors it knows. BT.601 in limited range is what most sources
#: have; some of them deliver it where full range is asked for, and say that it was that.
_FRAMES = ("!", "videoconvert", "!", "video/x-raw,format=I420,colorimetry=bt601", "!", "y4menc")


def install() -> str:
    """Return the command that installs GStreamer on this system, or where it is to be had."""
    return _INSTALL.get(sys.platform, "https://gstreamer.freedesktop.org/download/")


def pipeline(text: str, *, timeout_s: float) -> Device:
    """Return the device that a pipeline is.

    Args:
        text: as for ``gst-launch-1.0``, ending in ``! appsink`` or without a sink.
        timeout_s: how long it may deliver no image.

    Raises:
        InputError: it is none.
        BackendUnavailable: neither OpenCV nor the PATH has GStreamer.
    """
    if cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        return OpencvPipeline(text)
    return LaunchedPipeline(text, timeout_s=timeout_s)


class OpencvPipeline:
    """A pipeline that ends in an ``appsink``, in OpenCV."""

    stem = "pipeline"

    def __init__(self, text: str) -> None:
        """Set the pipeline; it is not opened yet."""
        self._text = text
        self.name = masked(f"gst:{text}")

    def open(self) -> cv2.VideoCapture:
        """Start the pipeline; ``InputError`` when it does not run."""
        with quiet_opencv():
            capture = cv2.VideoCapture(self._text, cv2.CAP_GSTREAMER)
        if capture.isOpened():
            return capture
        capture.release()
        raise InputError(f"'{self.name}' does not run; try it with {LAUNCH}, and end it in '! appsink'.")

    def may_recover(self) -> bool:
        """Return False: a pipeline that ended does not start again."""
        return False


class LaunchedPipeline:
    """A pipeline in a process of its own, which writes its frames to a pipe."""

    stem = "pipeline"

    def __init__(self, text: str, *, timeout_s: float) -> None:
        """Set the pipeline; it is not started yet.

        Args:
            text: as for ``gst-launch-1.0``; quotes are a shell's, and there is no shell.
            timeout_s: how long it may deliver no image.

        Raises:
            InputError: it is empty, has a quote without end, or ends in a sink that shows or writes the frames itself,
                or in an ``appsink`` that is told what only OpenCV's GStreamer does.
            BackendUnavailable: the program is not on the PATH.
        """
        self.name = masked(f"gst:{text}")
        self._elements = ending_in_a_pipe(text)
        self._timeout_s = timeout_s
        program = shutil.which(LAUNCH)
        if program is None:
            raise BackendUnavailable(
                f"'gst:' needs GStreamer, which this OpenCV has not, and the program {LAUNCH} is not on the PATH. "
                f"Install it: {install()}"
            )
        self._program = program

    def open(self) -> FrameProcess:
        """Start the pipeline; ``InputError`` where no image comes."""
        command = [self._program, "--quiet", *self._elements]
        return FrameProcess(self.name, Program(command=command, frames=Y4m), timeout_s=self._timeout_s)

    def may_recover(self) -> bool:
        """Return False: a pipeline that ended does not start again."""
        return False


def ending_in_a_pipe(text: str) -> Sequence[str]:
    """Return the words of a pipeline that writes Y4M to its standard output.

    Args:
        text: a pipeline that ends in an ``appsink``, whose ``sync`` is kept, or without a sink.

    Raises:
        InputError: as of ``LaunchedPipeline``.
    """
    name = masked(f"gst:{text}")
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"'{name}' is no pipeline: a quote has no end.") from error
    start = len(words) - words[::-1].index("!") if "!" in words else 0
    sink = words[start:]
    if not sink:
        raise InputError(f"'{name}' is no pipeline; an example: gst:v4l2src ! videoconvert ! appsink")
    sync = "true"
    if sink[0] == "appsink" and start:
        for word in re.sub(" ?= ?", "=", " ".join(sink[1:])).split():
            told = _SINK.fullmatch(word)
            if told is None:
                raise InputError(
                    f"'{name}' sets '{word.partition('=')[0]}' of its appsink, which {LAUNCH} cannot; accepted: sync, "
                    "drop, max-buffers, name and emit-signals. Caps go before it: ! video/x-raw,width=320 ! appsink"
                )
            sync = told[2] if told[1] == "sync" else sync
        words = words[: start - 1]
    elif sink[0].endswith("sink"):
        raise InputError(f"'{name}' ends in {sink[0]}, which keeps the frames; end it in '! appsink'.")
    return [*words, *_FRAMES, "!", "fdsink", "fd=1", f"sync={sync}"]
