from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseg.errors import BackendUnavailable, InputError
from edgeseg.video import encode
from edgeseg.video.encode import FORMATS, TICKS, Encoder

av = pytest.importorskip("av", reason="PyAV is not installed")


def write(path: Path, images: list[np.ndarray], fps: float = 25.0) -> Encoder:
    height, width = images[0].shape[:2]
    encoder = Encoder(path, FORMATS[path.suffix], (height, width), fps)
    for number, image_bgr in enumerate(images):
        encoder.add(encoder.frame(image_bgr), round(number * TICKS / fps))
    encoder.close()
    return encoder


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "h264"), (".mkv", "h264"), (".webm", "vp9"), (".gif", "gif")])
def test_a_file_is_what_its_suffix_says(tmp_path: Path, suffix: str, codec: str) -> None:
    path = tmp_path / f"100% a:b{suffix}"
    write(path, [np.full((48, 64, 3), 99, np.uint8)] * 3)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == codec
        assert suffix == ".gif" or stream.codec_context.pix_fmt == "yuv420p"


def test_every_frame_leaves_the_encoder_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder(tmp_path / "out.mp4", FORMATS[".mp4"], (64, 64), 25.0)
    mux, packets = encoder._mux, []
    monkeypatch.setattr(encoder, "_mux", lambda found: packets.extend(found) or mux(found))
    for number in range(5):
        encoder.add(encoder.frame(np.full((64, 64, 3), 9 * number, np.uint8)), number * TICKS // 25)
        assert len(packets) == number + 1
    encoder.close()


def test_a_gif_has_the_colors_of_each_frame(tmp_path: Path) -> None:
    shades = np.arange(256, dtype=np.uint8).reshape(16, 16)
    images = [np.stack([shades, shades * 0, 255 - shades], -1), np.stack([shades * 0, shades, shades], -1)]
    write(tmp_path / "out.gif", [np.repeat(np.repeat(image, 4, 0), 4, 1) for image in images])
    with av.open(str(tmp_path / "out.gif")) as container:
        for frame, image in zip(container.decode(video=0), images, strict=True):
            # 255 colors for 256: one shade takes its neighbor's. FFmpeg's own palette has steps of 36 and more.
            assert np.abs(frame.to_ndarray(format="bgr24")[::4, ::4].astype(int) - image).max() <= 3


def test_frames_that_come_faster_than_a_gif_shows_are_omitted(tmp_path: Path) -> None:
    encoder = Encoder(tmp_path / "out.gif", FORMATS[".gif"], (16, 16), 100.0)
    image_bgr = np.zeros((16, 16, 3), np.uint8)
    assert [encoder.add(encoder.frame(image_bgr), number * TICKS // 100) for number in range(5)] == [1, 0, 1, 0, 1]
    encoder.close()


def test_a_playlist_grows_piece_by_piece(tmp_path: Path) -> None:
    playlist = tmp_path / "50%.m3u8"
    encoder = Encoder(playlist, FORMATS[".m3u8"], (64, 64), 25.0)
    for number in range(130):
        encoder.add(encoder.frame(np.full((64, 64, 3), number, np.uint8)), number * TICKS // 25)
    growing = playlist.read_text()
    assert growing.count("#EXTINF") == 2 and "#EXT-X-ENDLIST" not in growing
    encoder.close()
    assert "#EXT-X-ENDLIST" in playlist.read_text()
    names = {"50%.m3u8", *(f"50-_{number:05d}.ts" for number in range(3))}
    assert {path.name for path in tmp_path.iterdir()} == names
    with av.open(str(playlist)) as container:
        assert len(list(container.decode(video=0))) == 130


def test_a_size_that_no_encoder_takes_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="frames of 1x5: both sides need two pixels"):
        Encoder(tmp_path / "out.mp4", FORMATS[".mp4"], (5, 1), 25.0)


def test_without_av_the_error_has_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(BackendUnavailable, match=r'pip install "edgeseg\[video\]"'):
        Encoder(tmp_path / "out.mp4", FORMATS[".mp4"], (64, 64), 25.0)


class _Board:
    """A hardware encoder in the place of the real one."""

    def __init__(self, *, works: bool) -> None:
        self.works = works

    def encode(self, frame: Any) -> list[Any]:
        if not self.works:
            raise OSError(19, "Could not find a valid device")
        return [] if frame is None else [type("Packet", (), {"size": 100})()]


@pytest.mark.parametrize("works", [True, False])
def test_a_boards_encoder_is_found_by_trying(monkeypatch: pytest.MonkeyPatch, works: bool) -> None:
    monkeypatch.setattr(av.CodecContext, "create", lambda name, mode: _Board(works=works))
    assert encode._hardware_works(av, (64, 64), 25.0) is works


def test_where_there_is_no_hardware_none_is_tried_and_trying_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode.platform, "machine", lambda: "x86_64")
    assert not encode.has_hardware()
    monkeypatch.setattr(encode.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(encode, "_video_nodes", lambda: True)
    assert encode.has_hardware() is sys.platform.startswith("linux")
