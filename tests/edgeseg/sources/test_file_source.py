"""``files`` and ``video``: clips and folders, frame by frame."""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.imaging import read_image
from edgeseg.sources import Captured, Source, frames, open_source


def rest(source: Source) -> list[Captured]:
    """Every frame until the end; the source is closed."""
    found = []
    while (captured := source.read()) is not None:
        found.append(captured)
    source.close()
    return found


def write_image(path: Path, size_hw: tuple[int, int] = (40, 60)) -> Path:
    cv2.imwrite(str(path), np.full((*size_hw, 3), (200, 100, 0), np.uint8))
    return path


@pytest.mark.usefixtures("nothing_left")
def test_a_video_gives_every_frame_in_bgr_and_then_none(clip: Path) -> None:
    source = open_source(str(clip))
    assert (source.name, source.live, source.fps) == (str(clip), False, 10)
    found = rest(source)
    assert [captured.index for captured in found] == list(range(10))
    assert [captured.name for captured in found] == [f"clip_{number:06d}" for number in range(10)]
    for captured, frame in zip(found, frames([str(clip)]), strict=True):
        assert captured.name == frame.name
        assert (captured.image_bgr[..., ::-1] == frame.image_rgb).all()
    times = [captured.captured_s for captured in found]
    assert times == sorted(times)
    assert times[-1] <= time.perf_counter()
    assert source.read() is None


def test_a_folder_and_a_pattern_are_one_source_and_frames_keep_their_size(tmp_path: Path, clip: Path) -> None:
    write_image(tmp_path / "a.png", (40, 60))
    write_image(tmp_path / "b.png", (80, 30))
    found = rest(open_source(str(tmp_path)))
    assert [captured.image_bgr.shape for captured in found] == [(40, 60, 3), (80, 30, 3), *[(64, 80, 3)] * 10]
    assert [captured.index for captured in found] == list(range(12))
    assert [captured.name for captured in found[:3]] == ["a", "b", "clip_000000"]
    assert tuple(found[0].image_bgr[0, 0]) == (200, 100, 0)
    images = open_source(str(tmp_path / "*.png"))
    assert images.fps is None
    assert [captured.name for captured in rest(images)] == ["a", "b"]


def test_a_image_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    plain = cv2.imencode(".jpg", np.zeros((20, 50, 3), np.uint8))[1].tobytes()
    # One EXIF entry: orientation (0x0112), a short, 6: to be turned by 90 degrees.
    tiff = b"MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
    exif = b"Exif\x00\x00" + tiff
    path.write_bytes(plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:])
    (captured,) = rest(open_source(str(path)))
    assert captured.image_bgr.shape == (50, 20, 3) == read_image(path).shape


def test_a_loop_goes_on_counting_and_gives_no_name_twice(tmp_path: Path, clip: Path) -> None:
    write_image(tmp_path / "a.png")
    source = open_source(str(tmp_path), loop=True)
    found = [source.read() for _ in range(25)]
    source.close()
    assert [captured.index for captured in found if captured] == list(range(25))
    assert [captured.name for captured in found if captured][10:13] == ["clip_000009", "a_round1", "clip_000000_round1"]
    assert len({captured.name for captured in found if captured}) == 25


@pytest.mark.parametrize(
    ("name", "decoded"), [("cut.avi", range(3, 8)), ("cut.mp4", range(20, 80)), ("cut.mkv", range(20, 80))]
)
def test_a_video_that_claims_more_frames_than_decode(
    name: str, decoded: range, clip: Path, ffmpeg: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / name
    if name.endswith("avi"):
        whole, claimed, kept = clip, 10, 0.85  # most of so short a file is its header
    else:
        whole, claimed, kept = tmp_path / f"whole{path.suffix}", 100, 0.6
        make = [ffmpeg, "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=25:duration=4"]
        subprocess.run([*make, "-c:v", "mpeg4", "-movflags", "+faststart", str(whole)], check=True)
    path.write_bytes(whole.read_bytes()[: int(kept * whole.stat().st_size)])
    source = open_source(str(path))
    found = rest(source)
    assert len(found) in decoded
    assert source.missing_frames == claimed - len(found)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("edgeseg.sources", logging.WARNING)
    assert f"says it has {claimed} frames, but {len(found)} decode" in record.getMessage()
    looped = open_source(str(path), loop=True)
    for _ in range(3 * len(found)):
        assert looped.read() is not None
    looped.close()
    assert len(caplog.records) == 2  # a loop says it once
    caplog.clear()
    source = open_source(str(whole))
    assert len(rest(source)) == claimed
    assert not source.missing_frames
    assert not caplog.records


def test_a_matroska_of_a_varying_frame_rate_is_whole(
    ffmpeg: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "varying.mkv"
    make = [ffmpeg, "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=size=80x64:rate=25:duration=3"]
    make += ["-vf", "select='lt(mod(n,7),3)'", "-fps_mode", "vfr", "-c:v", "mpeg4", str(path)]
    subprocess.run(make, check=True)
    source = open_source(str(path))
    assert 30 < len(rest(source)) < 40  # 3 of 7, where OpenCV makes about 75 of the length and the rate
    assert not source.missing_frames
    assert not caplog.records


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.mp4", b"", "does not decode as a video"),
        ("empty.png", b"", "does not decode as an image"),
        ("text.mkv", b"no video at all", "does not decode as a video"),
        ("text", b"no video at all", "does not decode as a video"),
    ],
)
def test_what_is_no_image_or_video_is_told_when_it_is_opened(
    name: str, content: bytes, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        open_source(str(tmp_path / name))
    assert "\n" not in str(caught.value)
    assert "WARN" not in capfd.readouterr().err  # OpenCV's own line would say the same again


def test_a_later_file_that_is_broken_is_told_in_its_turn(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    source = open_source(str(tmp_path))
    assert source.read() is not None
    with pytest.raises(InputError, match=r"b\.png' does not decode"):
        source.read()
    source.close()


@pytest.mark.usefixtures("nothing_left")
def test_a_paced_video_comes_in_its_own_time(clip: Path) -> None:
    source = open_source(str(clip), pace=True)
    assert source.live
    found = rest(source)
    # Of a reader in time the frames are due 0.1 s apart; a machine that is busy drops some, and keeps to the clock.
    start = found[0].captured_s
    for captured in found:
        assert captured.captured_s - start >= 0.1 * captured.index - 1e-6
    assert found[-1].index == 9


def test_a_paced_video_of_a_varying_rate_comes_by_its_time_stamps(ffmpeg: str, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed: OpenCV knows no time stamps")
    path = tmp_path / "varying.mp4"
    make = [ffmpeg, "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=size=80x64:rate=25:duration=1"]
    make += ["-vf", "select='lt(mod(n,7),3)'", "-fps_mode", "vfr", "-c:v", "mpeg4", str(path)]
    subprocess.run(make, check=True)
    found = rest(open_source(str(path), pace=True))
    start = found[0].captured_s
    expected = [number / 25 for number in range(25) if number % 7 < 3]
    for captured in found:
        assert captured.time_s == pytest.approx(expected[captured.index], abs=1e-3)
        assert captured.captured_s - start >= captured.time_s - 1e-3
    assert found[-1].index == len(expected) - 1
    looped = open_source(str(path), loop=True)
    times = [captured.time_s for captured in (looped.read() for _ in range(25)) if captured]
    looped.close()
    assert times[:13] == pytest.approx([*expected, 0.96], abs=1e-3)  # the second round goes on after the last frame
    assert times == sorted(times)


def test_a_late_reader_of_a_paced_video_misses_frames(clip: Path) -> None:
    source = open_source(str(clip), pace=True)
    first = source.read()
    time.sleep(0.45)
    late = source.read()
    source.close()
    assert first is not None
    assert late is not None
    assert first.index == 0
    assert late.index >= 4
    assert late.name == f"clip_{late.index:06d}"
    assert abs(np.median(late.image_bgr[..., 2]) - 20 * late.index) < 8  # its image is that of its number


def test_paced_images_take_the_rate_that_is_given(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        write_image(tmp_path / name)
    assert open_source(str(tmp_path), pace=True).fps == 25
    source = open_source(str(tmp_path), pace=True, fps=20)
    assert source.fps == 20
    found = rest(source)
    assert found[-1].captured_s - found[0].captured_s >= 0.05 * found[-1].index - 1e-6


@pytest.mark.usefixtures("nothing_left")
def test_close_from_another_thread_ends_the_wait_for_a_paced_frame(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "b.png")
    source = open_source(str(tmp_path), pace=True, fps=0.001)
    assert source.read() is not None
    closer = threading.Timer(0.2, source.close)
    closer.start()
    assert source.read() is None  # due in a quarter of an hour
    closer.join()


def test_a_film_in_a_loop_is_closed_while_it_waits_for_the_next_frame(clip: Path) -> None:
    source = open_source(str(clip), pace=True, loop=True)
    taken: list[Captured | None] = []

    def read_on() -> None:
        while (frame := source.read()) is not None:
            taken.append(frame)

    reader = threading.Thread(target=read_on, daemon=True)
    reader.start()
    while len(taken) < 2:
        time.sleep(0.01)
    source.close()
    reader.join(5)
    assert not reader.is_alive()
