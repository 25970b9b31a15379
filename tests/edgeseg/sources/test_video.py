"""``video``: what reads a video, with PyAV and without it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from edgeseg.sources import open_source, video
from edgeseg.sources.opencv import OpencvReel
from edgeseg.sources.video import FfmpegReel, Video


def test_without_pyav_opencv_reads_and_says_once_what_it_lacks(
    clip: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(video, "available", lambda: False)
    video._say_once.cache_clear()
    for _ in range(2):
        source = open_source(str(clip))
        assert [captured.index for captured in iter(source.read, None)] == list(range(10))
        source.close()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert 'pip install "edgeseg[video]"' in record.getMessage()


def test_both_read_the_same(clip: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    plain = Video(str(clip), reel=OpencvReel(str(clip), timeout_s=None, estimated=False))
    better = Video(str(clip))
    assert isinstance(better._reel, FfmpegReel)
    assert (plain.fps, plain.claimed) == (better.fps, better.claimed) == (10, 10)
    while better.grab():
        assert plain.grab()
        assert better.time_s == pytest.approx(plain.time_s, abs=1e-3)  # OpenCV counts in milliseconds
        assert better.frame_s == pytest.approx(0.1)
        # MJPEG of one color: the two YUV conversions round differently.
        assert abs(better.retrieve().astype(int) - plain.retrieve()).max() <= 2
    assert not plain.grab()
    for each in (plain, better):
        assert not each.missing_frames
        each.warn_of_missing()
        each.close()
    assert not caplog.records
