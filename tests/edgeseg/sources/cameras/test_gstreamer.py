"""``gstreamer``: pipelines of the real ``gst-launch-1.0``."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeseg.errors import BackendUnavailable, InputError, SourceLost
from edgeseg.sources import CameraSettings, open_source
from edgeseg.sources.cameras.gstreamer import LaunchedPipeline, OpencvPipeline, ending_in_a_pipe, pipeline
from edgeseg.sources.stream import Stream

pytestmark = pytest.mark.usefixtures("nothing_left")

launches = pytest.mark.skipif(
    shutil.which("gst-launch-1.0") is None or sys.platform == "win32",
    reason="gst-launch-1.0 is not here: apt install gstreamer1.0-tools gstreamer1.0-plugins-{base,good}",
)


def stream(text: str, *, timeout_s: float = 30) -> Stream:
    """The pipeline in a process, also where OpenCV has GStreamer; 30 s: its first start looks at every plugin."""
    return Stream(LaunchedPipeline(text, timeout_s=timeout_s), reconnect_s=None, timeout_s=timeout_s)


@launches
@pytest.mark.parametrize(
    ("caps", "size_wh"),
    [
        ("video/x-raw,width=320,height=240,framerate=50/1", (320, 240)),
        # Rows of 322 and 161 bytes are padded to 324 and 164 by y4menc of GStreamer 1.22.
        ("video/x-raw,format=NV12,colorimetry=bt709,width=322,height=242,framerate=50/1", (322, 242)),
    ],
)
def test_frames_have_their_size_and_colors(caps: str, size_wh: tuple[int, int]) -> None:
    source = stream(
        f"videotestsrc is-live=true pattern=smpte100 ! {caps} ! videoconvert ! appsink drop=true sync=false"
    )
    found = [source.read() for _ in range(3)]
    source.close()
    assert source.fps == 50
    for captured in found:
        assert captured is not None
        assert captured.image_bgr.shape == (size_wh[1], size_wh[0], 3)
        assert time.perf_counter() - captured.captured_s < 5
        bars = captured.image_bgr[10, [int(size_wh[0] * (bar + 0.5) / 7) for bar in range(7)]].astype(int)
        # White, yellow, cyan, green, magenta, red, blue; BT.709's primaries are not those of BT.601: at most 5 of 255.
        pure = [(1, 1, 1), (0, 1, 1), (1, 1, 0), (0, 1, 0), (1, 0, 1), (0, 0, 1), (1, 0, 0)]
        assert np.abs(bars - 255 * np.array(pure)).max() <= 6


@launches
def test_a_pipeline_without_a_sink_plays_in_its_own_time_and_ends() -> None:
    source = stream("videotestsrc num-buffers=5 ! video/x-raw,width=64,height=64,framerate=20/1")
    first = source.read()
    came_s = time.perf_counter()
    with pytest.raises(SourceLost, match=r"broke off after \d+ frames: gst-launch-1.0 ended with status 0\.$"):
        while source.read() is not None:
            pass
    assert first is not None
    assert time.perf_counter() - came_s >= 0.1  # of the 0.2 s between the first and the last
    source.close()


@launches
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nosuchelement ! appsink", r"gives no image: gst-launch-1.0 ended .*: no element \"nosuchelement\"\.$"),
        ("v4l2src device=/dev/video97 ! appsink", r"ERROR: from element .* Cannot identify device '/dev/video97'\.$"),
        ("videotestsrc num-buffers=1 ! pngenc ! appsink", r"gives no image: gst-launch-1.0 ended with status 1: "),
    ],
)
def test_what_does_not_run_has_the_words_of_the_program(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        stream(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("videotestsrc ! autovideosink", r"ends in autovideosink, which keeps the frames; end it in '! appsink'\.$"),
        ("", r"'gst:' is no pipeline; an example: gst:v4l2src ! videoconvert ! appsink$"),
        ("videotestsrc ! ", "is no pipeline; an example"),
        (
            "videotestsrc ! appsink caps=video/x-raw,width=320 drop=true",
            r"sets 'caps' of its appsink, which gst-launch-1.0 cannot; accepted: sync, drop, max-buffers, name and",
        ),
        ("v4l2src device='/dev/video0", r"is no pipeline: a quote has no end\.$"),
    ],
)
def test_what_is_no_pipeline_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LaunchedPipeline(text, timeout_s=5)


def test_a_password_of_a_pipeline_is_not_shown() -> None:
    text = "rtspsrc location=rtsp://door/1 user-id=me user-pw='s3 cret' ! decodebin ! "
    shown = "gst:rtspsrc location=rtsp://door/1 user-id=me user-pw=*** ! decodebin ! "
    for sink in ("fakesink", "appsink a", ""):
        with pytest.raises(InputError) as refused:
            LaunchedPipeline(text + sink, timeout_s=5)
        assert f"'{shown}{sink}'" in str(refused.value)
    assert OpencvPipeline(text).name == shown


def test_nothing_of_a_pipeline_is_a_shell_s() -> None:
    found = ending_in_a_pipe(
        "filesrc location='a b; $(c)' ! decodebin ! appsink name=last drop=true sync = false max-buffers=1"
    )
    assert found[:4] == ["filesrc", "location=a b; $(c)", "!", "decodebin"]
    assert found[-2:] == ["fd=1", "sync=false"]


def test_what_is_missing_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendUnavailable, match=r"this OpenCV has not, .* sudo apt install gstreamer1.0-tools "):
        LaunchedPipeline("videotestsrc ! appsink", timeout_s=5)


def test_opencv_reads_it_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2.videoio_registry, "hasBackend", lambda backend: backend == cv2.CAP_GSTREAMER)
    device = pipeline("videotestsrc ! appsink", timeout_s=5)
    assert isinstance(device, OpencvPipeline)


def test_settings_of_a_camera_are_not_for_a_pipeline() -> None:
    with pytest.raises(
        InputError, match=r"`, `CameraSettings\(fps=...\)` are for cameras, not for 'gst:x': a pipeline"
    ):
        open_source("gst:x", camera=CameraSettings(size_wh=(640, 480), fps=30))
