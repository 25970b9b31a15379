from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeseg.sources.extent import Extent, extent


def test_the_extent_of_files(street_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        cv2.imwrite(f"{name}.png", np.zeros((8, 8, 3), np.uint8))
    Path("clip.mp4").symlink_to(street_clip)
    assert extent(["a.png"]) == Extent(still=True, num_frames=1, fps=None)
    assert extent(["?.png"]) == Extent(still=False, num_frames=2, fps=None)
    whole = extent(["clip.mp4", "a.png"])
    assert (whole.still, whole.fps) == (False, 25)
    frames = cv2.VideoCapture("clip.mp4").get(cv2.CAP_PROP_FRAME_COUNT)
    assert whole.num_frames == frames + 1
    assert extent(["clip.mp4"], start=10, stride=100).num_frames == len(range(10, int(frames), 100))
    assert extent(["clip.mp4"], start=10_000).num_frames == 0
    os.mkfifo("pipe.gif")  # opening it would wait for a writer
    assert extent(["pipe.gif"]) == Extent(still=False, num_frames=0, fps=None)
