from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeseg.video import faststart
from edgeseg.video.encode import FORMATS, TICKS, Encoder

av = pytest.importorskip("av", reason="PyAV is not installed")


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Sixty frames as the encoder leaves them: its index is at the end."""
    path = tmp_path / "out.mp4"
    encoder = Encoder(path, FORMATS[".mp4"], (64, 64), 25.0)
    for number in range(60):
        image_bgr = np.full((64, 64, 3), 4 * number, np.uint8)
        encoder.add(encoder.frame(image_bgr), number * TICKS // 25)
    encoder.close()
    return path


def levels(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [round(frame.to_ndarray(format="gray").mean()) for frame in container.decode(video=0)]


def test_the_index_moves_and_every_frame_is_the_same(recorded: Path) -> None:
    before, data = levels(recorded), recorded.read_bytes()
    assert data.index(b"mdat") < data.index(b"stco") and len(before) == 60
    assert faststart.move_index(recorded)
    moved = recorded.read_bytes()
    assert moved.index(b"stco") < moved.index(b"mdat")
    assert len(moved) == len(data)
    assert levels(recorded) == before
    assert [path.name for path in recorded.parent.iterdir()] == ["out.mp4"]
    assert not faststart.move_index(recorded)  # it is in front


@pytest.mark.parametrize("limit", ["MAX_BYTES", "MAX_S"])
def test_a_large_file_or_a_slow_disk_keeps_it_at_the_end(
    recorded: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    data = recorded.read_bytes()
    monkeypatch.setattr(faststart, limit, -1)
    assert not faststart.move_index(recorded)
    assert recorded.read_bytes() == data
    assert [path.name for path in recorded.parent.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_an_unfinished_file_stays_as_it_is(recorded: Path, length: int) -> None:
    recorded.write_bytes(recorded.read_bytes()[:length])
    data = recorded.read_bytes()
    assert not faststart.move_index(recorded)
    assert recorded.read_bytes() == data
