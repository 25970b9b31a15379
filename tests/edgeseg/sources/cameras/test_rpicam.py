"""``rpicam``, ``process``, ``guard``: cameras of Raspberry Pi, with a stand-in for the program that reads them."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseg.errors import BackendUnavailable, InputError, SourceLost
from edgeseg.sources import CameraSettings, Captured, open_source
from edgeseg.sources.base import Source

pytestmark = [
    pytest.mark.usefixtures("nothing_left"),
    pytest.mark.skipif(sys.platform != "linux", reason="Raspberry Pi's cameras are Linux'"),
]

Gone = Callable[[list[int]], bool]


def number_of(captured: Captured | None) -> int:
    """The number that the stand-in drew into a frame."""
    assert captured is not None
    gray = captured.image_bgr[:, captured.image_bgr.shape[1] * 3 // 4]
    assert np.ptp(gray) == 0
    return int(gray[0, 0]) // 4


def read(source: Source, count: int) -> list[Captured]:
    found = [source.read() for _ in range(count)]
    assert all(found)
    return [captured for captured in found if captured]


def test_frames_have_their_size_colors_and_age(rpicam: Any, gone: Gone) -> None:
    # Rows of 80 bytes are padded to 128; to 96, were they aligned to 32.
    source = open_source("csi:", camera=CameraSettings(size_wh=(80, 60), fps=50))
    assert (source.name, source.live, source.fps) == ("csi:0", True, 50)
    found = read(source, 5)
    for captured in found:
        assert captured.image_bgr.shape == (60, 80, 3)
        # Whole steps of luma and chroma: a half step of Cb is one of blue.
        assert np.abs(captured.image_bgr[:, :36].astype(int) - (200, 40, 20)).max() <= 2
        assert number_of(captured) == number_of(found[0]) + captured.index
        # The stand-in captures 40 ms before it writes.
        assert time.perf_counter() - captured.captured_s >= 0.04
    assert found[0].name == "csi0_000000"
    assert np.diff([captured.captured_s for captured in found]).min() > 0
    (pid,) = rpicam.pids()
    source.close()
    assert gone([pid])
    assert source.read() is None


def test_a_slow_reader_gets_the_newest_frame(rpicam: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeseg.sources.opening.picamera2", lambda: None)
    source = open_source("picamera:0", camera=CameraSettings(fps=30))
    (first,) = read(source, 1)
    time.sleep(0.5)
    asked_s = time.perf_counter()
    (second,) = read(source, 1)
    source.close()
    assert number_of(second) == number_of(first) + second.index  # those between are counted
    assert second.index >= first.index + 5
    assert second.captured_s > asked_s - 0.2


def test_a_program_that_dies_is_a_clear_line(rpicam: Any) -> None:
    rpicam.does(frames=8)
    source = open_source("csi:0")
    with pytest.raises(
        SourceLost,
        match=r"^'csi:0' broke off after \d frames?: rpicam-vid ended with status 255: "
        r"ERROR: \*\*\* Device timeout detected, attempting a restart \*\*\*\.$",
    ):
        while source.read() is not None:
            pass
    source.close()


def test_a_program_that_dies_is_started_again(rpicam: Any, gone: Gone, caplog: pytest.LogCaptureFixture) -> None:
    source = open_source("csi:0", reconnect_s=30)
    (before,) = read(source, 1)
    (pid,) = rpicam.pids()
    os.kill(pid, signal.SIGKILL)
    while len(rpicam.pids()) < 2:
        (after,) = read(source, 1)
    after = read(source, 10)[-1]
    source.close()
    assert after.index > before.index
    assert gone(rpicam.pids())
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert lines[0].startswith("'csi:0' broke off (rpicam-vid was killed by signal 9)")
    assert lines[1:] == ["'csi:0' is back."]


def test_a_program_that_is_silent_is_told_and_ended(rpicam: Any, gone: Gone) -> None:
    rpicam.does(silent=True)
    with pytest.raises(InputError, match=r"^'csi:0' gives no image: no image came within 2 s\.$"):
        open_source("csi:0", timeout_s=2)
    assert rpicam.pids()
    assert gone(rpicam.pids())


def test_what_a_program_leaves_ends_with_it(rpicam: Any, gone: Gone) -> None:
    rpicam.does(leaves=True)
    open_source("csi:0").close()
    assert len(rpicam.pids()) == 2
    assert gone(rpicam.pids())


def test_what_a_program_leaves_ends_where_it_died_before(rpicam: Any, gone: Gone) -> None:
    rpicam.does(leaves=True, frames=1)
    source = open_source("csi:0")
    with pytest.raises(SourceLost, match="ended with status 255"):
        read(source, 2)
    source.close()
    assert len(rpicam.pids()) == 2
    assert gone(rpicam.pids())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_program_ends_with_a_command_that_is_killed(how: int, rpicam: Any, gone: Gone) -> None:
    rpicam.does(silent=True, leaves=True)  # it would not notice that nobody reads
    code = "from edgeseg.sources import open_source; open_source('csi:0', timeout_s=60)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)
    try:
        while len(rpicam.pids()) < 2:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(how)
        process.wait()
        assert gone(rpicam.pids())
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("behavior", "index", "message"),
    [
        (
            {"none": True},
            0,
            r"'csi:0' gives no image: rpicam-vid ended with status 255: ERROR: \*\*\* no cameras avail",
        ),
        ({}, 1, r"'csi:1' gives no image: rpicam-vid .*ERROR: \*\*\* selected camera is not available \*\*\*\.$"),
        ({"gives": [320, 240]}, 0, r"rpicam-vid: the camera gives 320x240 in YUV420 in place of 640x480 in YUV420\.$"),
    ],
)
def test_what_does_not_start_has_the_words_of_the_program(
    behavior: dict[str, object], index: int, message: str, rpicam: Any, gone: Gone
) -> None:
    rpicam.does(**behavior)
    with pytest.raises(InputError, match=message):
        open_source(f"csi:{index}")
    assert gone(rpicam.pids())


def test_a_program_without_metadata_is_read_without_its_time(rpicam: Any) -> None:
    rpicam.does(old=True)
    source = open_source("csi:0", camera=CameraSettings(fps=120))
    assert source.fps is None
    assert len(read(source, 2)) == 2
    source.close()


def test_another_frame_rate_than_was_asked_for_is_told(rpicam: Any, gone: Gone) -> None:
    rpicam.does(most_fps=47.57)
    with pytest.raises(
        InputError,
        match=r"^'csi:0' gives 47\.57 frames a second in place of the 120 of `CameraSettings\(fps=...\)`; list what ",
    ):
        open_source("csi:0", camera=CameraSettings(fps=120))
    assert gone(rpicam.pids())
    rpicam.does(most_fps=20.01)  # of a large size, where no rate was asked for
    source = open_source("csi:0")
    assert source.fps == pytest.approx(20.01)
    source.close()


def test_a_time_stamp_that_is_late_is_of_one_frame(
    rpicam: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("edgeseg.sources.cameras.process._STAMP_S", 0.05)
    rpicam.does(late=[10, 12], last_stamp=20)
    source = open_source("csi:0", camera=CameraSettings(fps=50))
    while number_of(captured := source.read()) < 12:
        pass
    while 12 < number_of(captured := source.read()) <= 20:
        assert captured is not None
        assert time.perf_counter() - captured.captured_s >= 0.04  # as above
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert lines == []
    read(source, 5)
    source.close()
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert lines == [
        "'csi:0' does not say any more when its frames were captured: their age counts from when they came."
    ]


def test_what_it_cannot_do_is_refused(rpicam: Any) -> None:
    for settings, message in (
        (CameraSettings(size_wh=(641, 480)), r"`CameraSettings\(size_wh=...\)` of csi:0 has even sides, got 641x480"),
        (
            CameraSettings(format="mjpeg"),
            r"`CameraSettings\(format=...\)` is for webcams, by their number or path; csi:0 del",
        ),
    ):
        with pytest.raises(InputError, match=message):
            open_source("csi:0", camera=settings)
    with pytest.raises(InputError, match=r"'csi:front' is no camera; accepted: csi: and csi:1, the second"):
        open_source("csi:front")
    assert not rpicam.pids()


def test_without_the_program_the_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        BackendUnavailable, match=r"'csi:0' needs the program rpicam-vid, .* sudo apt install rpicam-apps$"
    ):
        open_source("csi:0")
