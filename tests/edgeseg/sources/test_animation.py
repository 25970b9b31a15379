from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeseg.errors import InputError
from edgeseg.sources import expand, frames, open_source
from edgeseg.sources.animation import AnimationReel, kind_of
from edgeseg.sources.extent import Extent, extent

COLORS = ((200, 40, 0), (0, 160, 40), (20, 40, 200))
DURATIONS_MS = (40, 120, 80)


@pytest.fixture(params=["a.gif", "a.png", "a.apng", "a.webp"])
def animated(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Three frames of one color each, which are shown for different times."""
    path = tmp_path / request.param
    first, *rest = [Image.new("RGB", (48, 32), color) for color in COLORS]
    options = {"lossless": True} if path.suffix == ".webp" else {}
    form = "PNG" if path.suffix == ".apng" else None
    first.save(path, form, save_all=True, append_images=rest, duration=list(DURATIONS_MS), loop=0, **options)
    return path


def test_every_frame_comes_with_its_time(animated: Path) -> None:
    assert kind_of(animated) == "video"
    assert expand([str(animated.parent)]) == [animated]
    taken = list(frames([str(animated)]))
    assert [frame.name for frame in taken] == ["a_000000", "a_000001", "a_000002"]
    assert [frame.time_s for frame in taken] == pytest.approx([0, 0.04, 0.16])
    assert [frame.frame_s for frame in taken] == pytest.approx([0.04, 0.12, 0.08])
    for frame, color in zip(taken, COLORS, strict=True):
        assert frame.image_rgb.shape == (32, 48, 3)
        assert tuple(frame.image_rgb[5, 5]) == color  # each has less colors than a palette
    source = open_source(str(animated))
    assert source.fps == pytest.approx(3 / 0.24)
    assert not source.live
    found = list(iter(source.read, None))
    assert [captured.time_s for captured in found] == pytest.approx([0, 0.04, 0.16])
    assert [captured.frame_s for captured in found] == pytest.approx([0.04, 0.12, 0.08])
    source.close()
    assert extent([str(animated)]) == Extent(False, 3, pytest.approx(3 / 0.24))


@pytest.mark.parametrize("name", ["s.gif", "s.png", "s.webp", "s", "s.jpg"])
def test_one_image_is_an_image_whatever_it_is_called(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    Image.new("RGB", (48, 32), COLORS[0]).save(path, None if path.suffix else "PNG")
    assert kind_of(path) == ("video" if name == "s.gif" else "image")
    (frame,) = frames([str(path)], start=5)
    assert (frame.name, frame.image_rgb.shape) == ("s", (32, 48, 3))
    source = open_source(str(path))
    assert source.fps is None
    captured = source.read()
    assert captured is not None
    assert (captured.name, captured.time_s, captured.frame_s) == ("s", None, None)
    assert source.read() is None
    source.close()
    assert extent([str(path)]) == Extent(True, 1, None)


def test_a_pipe_is_not_opened_to_see_what_it_is(tmp_path: Path) -> None:
    for name in ("pipe.gif", "pipe.png", "pipe"):
        os.mkfifo(tmp_path / name)
        assert kind_of(tmp_path / name) == "other"
    assert kind_of(tmp_path / "gone.mp4") == "other"


@pytest.mark.parametrize(
    "content", [b"", b"GIF89a", b"RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x02", b"\x89PNG\r\n\x1a\n"]
)
def test_what_is_no_animation_is_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.webp"
    path.write_bytes(content)
    with pytest.raises(InputError, match="does not decode as an image or a video"):
        AnimationReel(str(path))


def test_a_cut_animation_ends_early(tmp_path: Path) -> None:
    path = tmp_path / "cut.gif"
    noise = np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3), np.uint8)
    first, *rest = [Image.fromarray(image) for image in noise]
    first.save(path, save_all=True, append_images=rest, duration=40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 1 <= len(list(frames([str(path)]))) < 4
