"""``opening`` and ``devices``: what was typed, opened or refused in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgeseg._internal.text import masked
from edgeseg.errors import InputError
from edgeseg.sources import open_source


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://me:secret@door/1", "rtsp://me:***@door/1"),
        ("rtsp://me:1234@door:554/1", "rtsp://me:***@door:554/1"),
        ("rtsp://:secret@door", "rtsp://:***@door"),
        ("rtsp://me:s@cr:et@door/1", "rtsp://me:***@door/1"),
        ("rtsp://me:se/cret@door/1", "rtsp://me:***@door/1"),
        ("http://door:8080/feed@2", "http://door:8080/feed@2"),
        ("http://door/feed?user=me&pwd=secret&size=2", "http://door/feed?user=me&pwd=***&size=2"),
        ("gst:rtspsrc location=rtsp://me:secret@door ! appsink", "gst:rtspsrc location=rtsp://me:***@door ! appsink"),
        ("udp://239.0.0.1:1234", "udp://239.0.0.1:1234"),
        ("street.mp4", "street.mp4"),
    ],
)
def test_passwords_are_masked_and_nothing_else(text: str, shown: str) -> None:
    assert masked(text) == shown


@pytest.mark.parametrize("text", ["rtsp://me:secret@[::1/1", "rtsp://me:se[cret@door/1", "file://[x"])
def test_an_address_that_cannot_be_taken_apart_is_told(text: str) -> None:
    with pytest.raises(InputError, match=r"is no address: before the path is HOST, HOST:PORT or \[IPv6\]") as refused:
        open_source(text)
    assert "cret" not in str(refused.value)


def test_the_query_of_a_url_does_not_make_it_a_image(free_port: int) -> None:
    with pytest.raises(
        InputError, match=r"'http://me:\*\*\*@127.*thumb=b\.jpg' (does not answer|cannot be)"
    ) as refused:
        open_source(f"http://me:secret@127.0.0.1:{free_port}/a.mp4?thumb=b.jpg", timeout_s=2)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("text", ["gone.mp4", "gone*.png", "gone/"])
def test_a_file_that_is_not_there(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist or has no images"):
        open_source(str(tmp_path / text))


def test_a_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(InputError, match="does not exist or has no images"):
        open_source(str(tmp_path))


@pytest.mark.skipif(sys.platform != "linux", reason="cameras are looked for in /dev")
@pytest.mark.parametrize("text", ["97", "/dev/video97"])
def test_a_camera_that_is_not_there_is_one_line_with_those_that_are(
    text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    found = sorted(str(path) for path in Path("/dev").glob("video*"))
    with pytest.raises(InputError) as caught:
        open_source(text)
    assert str(caught.value) == f"camera {text} is not there. Found: {', '.join(found) or 'no /dev/video* at all'}."
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(sys.platform != "linux", reason="V4L2 is Linux'")
def test_a_device_that_is_no_camera_is_refused() -> None:
    with pytest.raises(InputError, match="camera /dev/null cannot be opened"):
        open_source("/dev/null")


def test_a_camera_that_does_not_come_is_waited_for_as_long_as_asked() -> None:
    with pytest.raises(InputError, match="camera 97"):
        open_source("97", reconnect_s=0.3)


def test_a_scheme_that_is_not_known_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'rstp://me:\*\*\*@door' begins with 'rstp://'. Did you mean 'rtsp'\?"):
        open_source("rstp://me:secret@door")


@pytest.mark.parametrize("options", [{"timeout_s": 0}, {"reconnect_s": -1}, {"fps": 0}])
def test_times_that_mean_nothing_are_refused(options: dict[str, float], clip: Path) -> None:
    with pytest.raises(InputError, match="must be above 0"):
        open_source(str(clip), **options)  # type: ignore[arg-type]


def test_what_is_live_has_no_end_to_loop_at() -> None:
    with pytest.raises(InputError, match="loop is for files"):
        open_source("rtsp://door", loop=True)
