from __future__ import annotations

import cv2
import pytest

from edgeseg.sources.opencv import quiet_opencv


@pytest.mark.parametrize("version", [4, 5])
def test_the_log_level_is_put_back_in_opencv_4_and_5(monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    """4.11 has the function at its root, 5 in ``cv2.utils.logging``; one of both is played here."""
    levels = [3]

    class Logging:
        @staticmethod
        def setLogLevel(level: int) -> int:  # noqa: N802 - OpenCV's name
            levels.append(level)
            return levels[-2]

    monkeypatch.setattr(cv2.utils, "logging", Logging, raising=False)
    if version == 4:
        monkeypatch.delattr(cv2.utils, "logging")
        monkeypatch.setattr(cv2, "setLogLevel", Logging.setLogLevel, raising=False)
    with quiet_opencv(), quiet_opencv():
        assert levels == [3, 2]
    assert levels == [3, 2, 3]
