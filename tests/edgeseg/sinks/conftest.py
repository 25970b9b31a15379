"""Frames that are known again after a codec, and the ffmpeg of the tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

BLUE, RED = (200, 40, 30), (20, 60, 210)
#: Codecs keep 8-bit YUV at half the color resolution: a flat area moves by rounding and the quantizer, 6 at most; a
#: swap of two channels moves it by 160.
TOLERANCE = 8


class Scene:
    """An image of two colors, blue on the left and red on the right."""

    def frame(self, height: int = 96, width: int = 128) -> np.ndarray:
        """``(height, width, 3)`` uint8 BGR."""
        image_bgr = np.empty((height, width, 3), np.uint8)
        image_bgr[:, : width // 2], image_bgr[:, width // 2 :] = BLUE, RED
        return image_bgr

    def assert_in(self, image_bgr: np.ndarray) -> None:
        """The middles of the left and the right half have their colors."""
        height, width = image_bgr.shape[:2]
        for column, color in ((width // 4, BLUE), (3 * width // 4, RED)):
            seen = image_bgr[height // 2 - 4 : height // 2 + 4, column - 4 : column + 4].reshape(-1, 3).mean(0)
            assert np.abs(seen - color).max() < TOLERANCE, seen

    def where(self, image_bgr: np.ndarray) -> tuple[int, int, int, int]:
        """Where it lies in a screenshot: left, top, width, height of the pixels that have one of its colors."""
        like = [np.abs(image_bgr.astype(int) - color).max(-1) < TOLERANCE for color in (BLUE, RED)]
        rows, columns = np.nonzero(like[0] | like[1])
        assert rows.size, "neither color is on the screenshot"
        return columns.min(), rows.min(), columns.max() + 1 - columns.min(), rows.max() + 1 - rows.min()

    def read(self, path: Path) -> list[np.ndarray]:
        """Every frame of a video, BGR."""
        capture = cv2.VideoCapture(str(path))
        found = []
        while (frame := capture.read())[0]:
            found.append(frame[1])
        capture.release()
        return found


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture(scope="session")
def ffmpeg_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the PATH with a program ``ffmpeg``: the binary that imageio-ffmpeg ships."""
    package = pytest.importorskip("imageio_ffmpeg", reason="imageio-ffmpeg is not installed: no ffmpeg")
    folder = tmp_path_factory.mktemp("ffmpeg")
    (folder / "ffmpeg").symlink_to(package.get_ffmpeg_exe())
    return folder
