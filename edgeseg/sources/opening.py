"""Open a source from what a user types."""

from __future__ import annotations

import re
import stat
import sys
from pathlib import Path
from urllib.parse import urlsplit

import cv2

from edgeseg._internal.text import masked
from edgeseg.errors import InputError, did_you_mean
from edgeseg.sources.base import Source
from edgeseg.sources.detached import Detached
from edgeseg.sources.devices import CameraDevice, Device, NetworkStream, Pipeline
from edgeseg.sources.files import Files
from edgeseg.sources.images import expand
from edgeseg.sources.stream import Stream
from edgeseg.sources.video import VIDEO_SUFFIXES

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

SCHEMES = ("rtsp", "rtsps", "http", "https", "udp", "tcp")


def open_source(
    text: str,
    *,
    pace: bool = False,
    loop: bool = False,
    fps: float | None = None,
    reconnect_s: float | None = None,
    timeout_s: float = 5.0,
) -> Source:
    """Open a source of frames.

    ====================================  ================================================================
    ``0``                                 a camera by its number, live
    ``/dev/video0``                       a camera by its path, live
    ``street.mp4``, ``a.png``             a file
    ``images/``, ``"shots/*.jpg"``      the images and videos in it, sorted by name
    ``rtsp://``, ``udp://``, ``tcp://``   a stream, live
    ``http://host/feed``, ``https://``    a stream (MJPEG, MPEG-TS), live
    ``http://host/street.mp4``            a file: the path has a video's suffix
    ``gst:v4l2src ! ... ! appsink``       a GStreamer pipeline, live, where OpenCV has GStreamer
    ====================================  ================================================================

    A file ends, and ``read`` then returns None. A live source has no end: when it stops, it is lost. A file from a
    server that ends before its length is lost as well.

    Within one connection OpenCV scales every frame to the size of the first; after a reconnect, and in a folder of
    images, frames have their own size.

    Args:
        text: as in the table.
        pace: a file plays in real time, and is then live: a slow reader misses frames.
        loop: a file starts again after its end, without end.
        fps: frame rate of paced images, 25 when omitted; a video plays at its own.
        reconnect_s: how long to wait for a lost live source, from its last frame on, and for one that is not there at
            the beginning; it is tried again after 0.25 s, doubling to 4 s. None: do not wait.
        timeout_s: how long a server, or a camera that is there, may be silent until it counts as lost.

    Raises:
        InputError: it does not exist, is no image or video, does not answer, or cannot do what was asked.
    """
    if timeout_s <= 0 or (reconnect_s is not None and reconnect_s < 0) or (fps is not None and fps <= 0):
        raise InputError(
            f"timeout_s and fps must be above 0 and reconnect_s not below, got {timeout_s}, {fps} and {reconnect_s}."
        )
    device = _device(text, timeout_s)
    if device is not None:
        if loop:
            raise InputError(f"'{device.name}' is live and has no end to loop at; loop is for files.")
        return Detached(Stream(device, reconnect_s=reconnect_s, timeout_s=timeout_s), newest=True)
    if _URL.match(text):
        remote = Files([text], name=masked(text), pace=pace, loop=loop, fps=fps, timeout_s=timeout_s)
        return Detached(remote, newest=pace)
    return Files([str(path) for path in expand([text])], name=text, pace=pace, loop=loop, fps=fps)


def names_files(text: str) -> bool:
    """Return whether a text names files on this machine in the table of ``open_source``; nothing is opened."""
    if text.isascii() and text.isdecimal():
        return False
    camera = sys.platform == "linux" and (text.startswith("/dev/video") or _is_character_device(text))
    return not (text.startswith("gst:") or _URL.match(text) or camera)


def _device(text: str, timeout_s: float) -> Device | None:
    """Return the live device that ``text`` names in the table of ``open_source``; None for files, also on a server."""
    if text.isascii() and text.isdecimal():
        return CameraDevice(int(text))
    if text.startswith("gst:"):
        return Pipeline(text.removeprefix("gst:").strip())
    if _URL.match(text):
        parts = urlsplit(text)
        if parts.scheme not in SCHEMES:
            hint = did_you_mean(parts.scheme, SCHEMES)
            raise InputError(
                f"'{masked(text)}' begins with '{parts.scheme}://'.{hint} Accepted: {', '.join(SCHEMES)}; "
                "a file by its path alone."
            )
        if not cv2.videoio_registry.hasBackend(cv2.CAP_FFMPEG):
            raise InputError("this OpenCV has no ffmpeg, and URLs need it; the one of PyPI has it.")
        finite = parts.scheme in ("http", "https") and Path(parts.path).suffix.lower() in VIDEO_SUFFIXES
        return None if finite else NetworkStream(text, timeout_s=timeout_s)
    if sys.platform == "linux" and (text.startswith("/dev/video") or _is_character_device(text)):
        return CameraDevice(text)
    return None


def _is_character_device(text: str) -> bool:
    try:
        return stat.S_ISCHR(Path(text).stat().st_mode)
    except (OSError, ValueError):  # it does not exist, or cannot be a path: reported where files are looked up
        return False
