"""Open a source from what a user types."""

from __future__ import annotations

import logging
import re
import stat
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import cv2

from edgeseg._internal.text import masked
from edgeseg.errors import InputError, did_you_mean
from edgeseg.sources.base import Source
from edgeseg.sources.cameras.gstreamer import pipeline
from edgeseg.sources.cameras.picamera import PicameraDevice, picamera2
from edgeseg.sources.cameras.rpicam import CsiCamera
from edgeseg.sources.cameras.settings import CameraSettings
from edgeseg.sources.cameras.webcam import CameraDevice
from edgeseg.sources.detached import Detached, Stoppable
from edgeseg.sources.devices import Device, NetworkStream
from edgeseg.sources.files import Files, expand, is_addressed
from edgeseg.sources.network import AddressedStream, StreamCapture
from edgeseg.sources.stream import Stream
from edgeseg.sources.video import VIDEO_SUFFIXES, Video, reel_of
from edgeseg.video.address import LIVE_SCHEMES, URL, require_address
from edgeseg.video.library import available, load

_log = logging.getLogger("edgeseg.sources")

#: What OpenCV reads, and after them what only FFmpeg's libraries do.
_OPENCV_SCHEMES = ("rtsp", "rtsps", "http", "https", "udp", "tcp")
SCHEMES = (*_OPENCV_SCHEMES, "rtmp", "rtmps", "srt", "rtp")

#: How a camera of Raspberry Pi begins; its number follows, 0 where omitted.
_BOARDS = ("csi:", "picamera:")


def open_source(
    text: str,
    *,
    pace: bool = False,
    loop: bool = False,
    live: bool | None = None,
    fps: float | None = None,
    reconnect_s: float | None = None,
    timeout_s: float = 5.0,
    camera: CameraSettings | None = None,
) -> Source:
    """Open a source of frames.

    =======================================  =============================================================
    ``0``                                    a camera by its number, live
    ``/dev/video0``                          a camera by its path, live
    ``street.mp4``, ``a.png``, ``file://``   a file
    ``images/``, ``"shots/*.jpg"``           the images and videos in it, sorted by name
    ``rtsp://``, ``rtmp://``, ``srt://``     a stream, live
    ``udp://``, ``tcp://``, ``rtp://``       a stream, live
    ``http://``, ``https://``                a stream (MJPEG, MPEG-TS, HLS), a video or an image: by what it is
    ``door.sdp``                             the RTP stream that an SDP file describes, live
    ``-``                                    a video from standard input
    ``csi:0``                                a camera of Raspberry Pi by its number, live, with ``rpicam-vid``
    ``picamera:0``                           the same with ``picamera2``, where it is installed
    ``gst:v4l2src ! ... ! appsink``          a GStreamer pipeline, live, in OpenCV or with ``gst-launch-1.0``
    =======================================  =============================================================

    A file ends, and ``read`` then returns None. A live source has no end: when it stops, it is lost. A file from a
    server that ends before its length is lost as well.

    Args:
        text: as in the table.
        pace: a file plays in real time, and is then live: a slow reader misses frames.
        loop: a file starts again after its end, without end.
        live: whether what comes from an address or standard input is live: only the newest frame is used, and a lost
            one is waited for. When omitted, the container says it: a video with a duration and a playlist with an end
            are not, and every frame of them is used.
        fps: frame rate of paced images, 25 when omitted; a video plays at its own.
        reconnect_s: how long to wait for a lost live source, from its last frame on, and for one that is not there at
            the beginning; it is tried again after 0.25 s, doubling to 4 s, and to 8 s where it hangs up after a few
            frames. None: do not wait.
        timeout_s: how long a server, or a camera that is there, may be silent until it counts as lost.
        camera: what a camera is to deliver; one that delivers something else is an error.

    Raises:
        InputError: it does not exist, is no image or video, does not answer, or cannot do what was asked.
        BackendUnavailable: it needs PyAV, which is not installed.
    """
    if timeout_s <= 0 or (reconnect_s is not None and reconnect_s < 0) or (fps is not None and fps <= 0):
        raise InputError(
            f"timeout_s and fps must be above 0 and reconnect_s not below, got {timeout_s}, {fps} and {reconnect_s}."
        )
    if URL.match(text):
        require_address(text, shown=masked(text))
    camera = camera or CameraSettings()
    camera.check()
    device = _device(text, timeout_s, camera)
    addressed = is_addressed(text)
    if live is not None and not addressed:
        why = "`pace` plays a file in real time" if device is None else "a camera is always live"
        raise InputError(f"`live` is for addresses and standard input, not for '{masked(text)}'; {why}.")
    if loop and (text == "-" or (device is not None and (not addressed or urlsplit(text).scheme in LIVE_SCHEMES))):
        raise InputError(f"'{masked(text)}' is live and has no end to loop at; loop is for files.")
    if device is None and not addressed:
        paths = [str(path) for path in expand([text])]
        return Files(paths, name=text, pace=pace, loop=loop, fps=fps)
    name = masked(text) if device is None else device.name

    def opened(stop: threading.Event) -> Stoppable:
        if device is None:  # a video of a web server, by OpenCV
            return Files([text], name=name, pace=pace, loop=loop, fps=fps, timeout_s=timeout_s)
        stream = Stream(device, reconnect_s=reconnect_s, timeout_s=timeout_s, stop=stop)
        capture = stream.opened
        if not isinstance(capture, StreamCapture) or (capture.opened.live if live is None else live):
            if loop:
                stream.close()
                raise InputError(f"'{name}' is live and has no end to loop at; loop is for files.")
            return stream
        stream.take()
        reel = reel_of(capture.opened, timeout_s=timeout_s)
        path = device.stem if text == "-" else text
        first = Video(path, timeout_s=timeout_s, reel=reel)
        return Files([path], name=name, pace=pace, loop=loop, fps=fps, timeout_s=timeout_s, first=first)

    return Detached.opened(name, opened)


def names_files(text: str) -> bool:
    """Return whether a text names files on this machine in the table of ``open_source``; nothing is opened."""
    if is_addressed(text) or (text.isascii() and text.isdecimal()) or text.startswith(_BOARDS):
        return False
    camera = sys.platform == "linux" and (text.startswith("/dev/video") or _is_character_device(text))
    return not (text.startswith("gst:") or camera)


def _device(text: str, timeout_s: float, camera: CameraSettings) -> Device | None:
    """Return the device that ``text`` names in the table of ``open_source``; None for what is read as files."""
    if text.isascii() and text.isdecimal():
        return CameraDevice(int(text), camera)
    if sys.platform == "linux" and (text.startswith("/dev/video") or _is_character_device(text)):
        return CameraDevice(text, camera)
    if text.startswith(_BOARDS):
        return _board_camera(text, timeout_s, camera)
    if given := camera.given():
        kind = "a pipeline has its own, such as video/x-raw,width=640" if text.startswith("gst:") else "that is none"
        raise InputError(
            f"{', '.join(given)} {'is' if len(given) == 1 else 'are'} for cameras, not for '{masked(text)}': {kind}."
        )
    if text.startswith("gst:"):
        return pipeline(text.removeprefix("gst:").strip(), timeout_s=timeout_s)
    if text == "-":
        load("standard input")
        return AddressedStream(text, timeout_s=timeout_s)
    if is_addressed(text):
        return _addressed(text, timeout_s)
    return None


def _board_camera(text: str, timeout_s: float, camera: CameraSettings) -> Device:
    kind, _, number = text.partition(":")
    if not re.fullmatch(r"\d{0,2}", number, re.ASCII):
        raise InputError(f"'{masked(text)}' is no camera; accepted: {kind}: and {kind}:1, the second.")
    if sys.platform != "linux":
        raise InputError(f"'{masked(text)}' is a camera of Raspberry Pi, which Linux has; a webcam is 0, 1 and so on.")
    index = int(number or 0)
    if kind == "csi":
        return CsiCamera(index, camera, timeout_s=timeout_s)
    package = picamera2()
    if package is not None:
        return PicameraDevice(index, camera, package, timeout_s=timeout_s)
    _log.warning(
        "picamera2 does not import here, so 'csi:%d' is opened; it comes with: sudo apt install python3-picamera2",
        index,
    )
    return CsiCamera(index, camera, timeout_s=timeout_s)


def _addressed(url: str, timeout_s: float) -> Device | None:
    if not URL.match(url):  # an SDP file
        load("a stream by its SDP file")
        return AddressedStream(url, timeout_s=timeout_s)
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        # An RTSP camera is what most people mistype, and 'rtp' is nearer to 'rstp'.
        hint = did_you_mean(parts.scheme, _OPENCV_SCHEMES) or did_you_mean(parts.scheme, SCHEMES)
        raise InputError(
            f"'{masked(url)}' begins with '{parts.scheme}://'.{hint} Accepted: {', '.join(SCHEMES)}, file."
        )
    if available():
        return AddressedStream(url, timeout_s=timeout_s)
    if parts.scheme not in _OPENCV_SCHEMES:
        load(f"'{parts.scheme}://'")
    if not cv2.videoio_registry.hasBackend(cv2.CAP_FFMPEG):
        raise InputError('this OpenCV has no ffmpeg, and URLs need it; install PyAV with: pip install "edgeseg[video]"')
    finite = parts.scheme in ("http", "https") and Path(parts.path).suffix.lower() in VIDEO_SUFFIXES
    return None if finite else NetworkStream(url, timeout_s=timeout_s)


def _is_character_device(text: str) -> bool:
    try:
        return stat.S_ISCHR(Path(text).stat().st_mode)
    except (OSError, ValueError):  # it does not exist, or cannot be a path: reported where files are looked up
        return False
