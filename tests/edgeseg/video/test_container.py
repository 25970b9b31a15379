"""``container``, ``address`` and ``reasons``: what is in a file, and which reason it is that one does not open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("av", reason="PyAV is not installed")

from edgeseg.errors import InputError
from edgeseg.video.address import local_path, location
from edgeseg.video.container import open_container

Make = Callable[..., Path]


def test_what_a_file_says(make: Make) -> None:
    opened = open_container(str(make("h264.mp4", "-c:v", "libx264", "-qp", "10", "-pix_fmt", "yuv420p")))
    assert (opened.fps, opened.duration_s, opened.num_frames, opened.estimated) == (25, 0.48, 12, False)
    assert not (opened.live or opened.still or opened.remote)
    assert "mp4" in opened.format
    assert len(repr(opened)) < 600
    opened.close()


def test_a_codec_without_decoder_is_named(make: Make, tmp_path: Path) -> None:
    content = make("h264.mp4", "-c:v", "libx264", "-qp", "10", "-pix_fmt", "yuv420p").read_bytes()
    path = tmp_path / "unknown.mp4"
    path.write_bytes(content.replace(b"avc1", b"zzzz").replace(b"avcC", b"zzzC"))
    with pytest.raises(InputError, match=r"has no decoder for its codec, .*zzzz"):
        open_container(str(path))


def test_a_file_of_sound_is_no_video(make: Make) -> None:
    path = make("sound.mp4", "-c:a", "aac", source="sine=duration=0.2")
    with pytest.raises(InputError, match="does not decode as a video: it has audio only"):
        open_container(str(path))


def test_a_file_that_claims_too_many_pixels_is_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make("h264.mp4", "-c:v", "libx264", "-qp", "10", "-pix_fmt", "yuv420p")
    monkeypatch.setenv("EDGESEG_MAX_IMAGE_PIXELS", "9000")
    with pytest.raises(InputError, match="claims 120 x 80 pixels, more than 9000"):
        open_container(str(path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.mp4", None, "does not exist"),
        ("text.mp4", b"no video", "does not decode as a video"),
        ("empty.ts", b"", "does not decode as a video"),
        ("list.mp4", b"ffconcat version 1.0\nfile '/etc/passwd'\n", "cannot be read|does not decode"),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/a.ts\n#EXT-X-ENDLIST\n", "does not decode"),
    ],
)
def test_what_is_no_video_is_one_line(
    name: str, content: bytes | None, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as refused:
        open_container(str(path))
    assert "\n" not in str(refused.value)
    assert capfd.readouterr().err == ""


def test_a_path_is_exact_and_a_file_url_is_decoded(make: Make, tmp_path: Path) -> None:
    """``concat:`` and ``%d`` mean something to FFmpeg; in a file's name they are nothing but letters."""
    path = tmp_path / "concat:a %d b.mp4"
    path.write_bytes(make("h264.mp4", "-c:v", "libx264", "-qp", "10", "-pix_fmt", "yuv420p").read_bytes())
    for place in (str(path), path.as_uri()):
        opened = open_container(place)
        assert opened.num_frames == 12
        assert not opened.remote
        opened.close()
    assert location("-") == "fd:"
    assert location("rtsp://door/1") == "rtsp://door/1"
    assert location("http://door/a.mp4?thumb=b.jpg") == "http://door/a.mp4?thumb=b.jp%67"
    assert location("HTTP://Door/A.mp4") == "http://Door/A.mp4"  # FFmpeg has no HTTP://
    assert local_path("a%20b.mp4") == "a%20b.mp4"
    for scheme in ("file", "FILE"):
        assert local_path(f"{scheme}:///a%20b.mp4") == "/a b.mp4"
        assert location(f"{scheme}:///a%20b.mp4") == "file:/a b.mp4"
    with pytest.raises(InputError, match="names the machine 'nas'"):
        local_path("file://nas/a.mp4")
