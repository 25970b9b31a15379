"""A small clip."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Ten frames of 64x80, MJPG at 10 a second, whose red is 20 times the frame's number."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (80, 64))
    for number in range(10):
        writer.write(np.full((64, 80, 3), (10, 30, 20 * number), np.uint8))
    writer.release()
    return path
