"""``decode``: real files, compared with ffmpeg's own decode of them."""

from __future__ import annotations

import gc
import itertools
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="PyAV is not installed")

from edgeseg.video.container import open_container
from edgeseg.video.decode import Reader, oriented

Make = Callable[..., Path]
Decode = Callable[..., np.ndarray]

#: Levels of 255, which no eye tells apart: the decoders are the same, and each of the two conversions to RGB rounds
#: the colors that it interpolates between neighboring pixels.
ATOL = 3

LOSSY = ("-c:v", "libx264", "-qp", "10", "-pix_fmt")
TAGGED = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709")
HEVC = ("-c:v", "libx265", "-x265-params", "log-level=none")

MATRIX = {
    "h264.mp4": (*LOSSY, "yuv420p"),
    "hevc.mp4": (*HEVC, "-pix_fmt", "yuv420p"),
    "hevc10.mkv": (*HEVC, "-pix_fmt", "yuv420p10le"),
    "av1.mkv": ("-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime", "-pix_fmt", "yuv420p"),
    "vp9.webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime"),
    "alpha.webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-pix_fmt", "yuva420p", "-auto-alt-ref", "0"),
    "mpeg2.ts": ("-c:v", "mpeg2video", "-q:v", "2"),
    "mpeg2.mpg": ("-c:v", "mpeg2video", "-q:v", "2"),
    "mjpeg.avi": ("-c:v", "mjpeg", "-q:v", "2"),
    "full.mov": ("-vf", "scale=out_range=full,format=yuv420p", "-color_range", "pc", *LOSSY, "yuv420p"),
    "bt709.mp4": ("-vf", "scale=out_color_matrix=bt709", *TAGGED, *LOSSY, "yuv420p"),
    "bt709_full.mp4": (
        *("-vf", "scale=out_color_matrix=bt709:out_range=full,format=yuv420p", "-color_range", "pc"),
        *(*TAGGED, *LOSSY, "yuv420p"),
    ),
    "444.mp4": (*LOSSY, "yuv444p"),
    "odd.mkv": ("-vf", "crop=119:79:0:0", "-c:v", "ffv1"),
    "rgb.mkv": ("-c:v", "libx264rgb", "-qp", "0"),
    "flv.flv": ("-c:v", "flv1", "-q:v", "2"),
}


def read(path: Path) -> tuple[list[np.ndarray], list[tuple[float, float]], Reader]:
    reader = Reader(open_container(str(path)))
    images, times = [], []
    while reader.grab():
        images.append(reader.retrieve())
        times.append((reader.time_s, reader.frame_s))
    reader.close()
    return images, times, reader


def difference(images: list[np.ndarray], reference: np.ndarray) -> int:
    """The largest difference inside the patches; their edges are what encoder and interpolation make of them."""
    inside = np.zeros(images[0].shape[:2], bool)
    for top in range(0, images[0].shape[0] - 30, 40):
        for left in range(0, images[0].shape[1] - 30, 40):
            inside[top + 10 : top + 30, left + 10 : left + 30] = True
    return int(np.abs(np.stack(images).astype(int) - reference)[:, inside].max())


@pytest.mark.parametrize("name", MATRIX)
def test_frames_time_and_colors_are_those_of_ffmpeg(name: str, make: Make, ffmpeg_decode: Decode) -> None:
    path = make(name, *MATRIX[name])
    images, times, reader = read(path)
    reference = ffmpeg_decode(path, images[0].shape[:2])
    assert len(images) == len(reference) == 12
    assert not reader.damaged
    assert sum(times[-1]) == pytest.approx(0.48, abs=0.002)  # Matroska and FLV round a time to milliseconds
    assert difference(images, reference) <= ATOL
    # The first patch is red in RGB, whatever the matrix; encoders move it by less than 8.
    assert np.abs(images[5][20, 20].astype(int) - (0, 0, 200)).max() <= 8


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("quarter.mp4", ("-display_rotation", "90")),
        ("half.mp4", ("-display_rotation", "180")),
        ("three.mp4", ("-display_rotation", "270")),
        ("mirrored.mp4", ("-display_hflip",)),
        ("both.mp4", ("-display_rotation", "90", "-display_vflip")),
    ],
)
def test_an_image_is_upright(
    name: str, options: tuple[str, ...], make: Make, ffmpeg: str, ffmpeg_decode: Decode, tmp_path: Path
) -> None:
    plain, path = make("h264.mp4", *MATRIX["h264.mp4"]), tmp_path / name
    copy = [ffmpeg, "-loglevel", "error", *options, "-i", str(plain), "-c", "copy", str(path)]
    subprocess.run(copy, check=True)
    images, _, _ = read(path)
    assert (np.stack(images) == ffmpeg_decode(path, images[0].shape[:2])).all()


def test_a_matrix_that_is_none_turns_nothing() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert oriented(image, np.zeros(3, np.int32)) is image
    assert oriented(image, np.array([1, 0, 0, 0, 1, 0, 0, 0, 1], np.int32)) is image


INTERLACED = ("-vf", "tinterlace=interleave_top,setfield=tff")
MOVING = "testsrc2=size=160x120:rate=25:duration=1"


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("interlaced.mp4", ("-c:v", "libx264", "-flags", "+ilme+ildct", "-x264-params", "tff=1")),
        ("interlaced.ts", ("-c:v", "mpeg2video", "-flags", "+ilme+ildct")),
    ],
)
def test_an_interlaced_video_is_deinterlaced(
    name: str, codec: tuple[str, ...], make: Make, ffmpeg_decode: Decode
) -> None:
    path = make(name, *INTERLACED, *codec, source=MOVING)
    images, times, _ = read(path)
    reference = ffmpeg_decode(path, (120, 160), "-vf", "bwdif=mode=send_frame:deint=interlaced")
    assert len(images) == len(reference) == 12
    assert times[-1][0] > 0.8
    # The first frame has no one before it, and bwdif's versions differ in the lines at its edge; the rest is the same.
    assert (np.stack(images[1:]) == reference[1:]).all()
    combed = ffmpeg_decode(path, (120, 160))
    assert np.abs(np.stack(images).astype(int) - combed).mean() > 1


def test_a_varying_rate_keeps_its_time_stamps(make: Make) -> None:
    varying = ("-vf", "select='lt(mod(n,7),3)'", "-fps_mode", "vfr", "-c:v", "libx264")
    source = "testsrc2=size=160x120:rate=25:duration=4"
    expected = [number / 25 for number in range(100) if number % 7 < 3]
    for name in ("varying.mp4", "varying.mkv"):
        images, times, _ = read(make(name, *varying, source=source))
        assert len(images) == len(expected) == 44
        assert [time for time, _ in times] == pytest.approx(expected, abs=0.002)
        assert sum(times[-1]) == pytest.approx(4.0, abs=0.01)


@pytest.mark.parametrize("name", ["damaged.ts", "damaged.mp4"])
def test_a_damaged_video_goes_on_after_the_hole(name: str, make: Make, ffmpeg_decode: Decode, tmp_path: Path) -> None:
    whole = make(f"whole_{name}", "-c:v", "libx264", "-g", "10", source="testsrc2=size=160x120:rate=25:duration=4")
    content, path = bytearray(whole.read_bytes()), tmp_path / name
    start, size = len(content) // 3, len(content) // 6
    content[start : start + size] = b"\x55" * size
    path.write_bytes(content)
    images, times, reader = read(path)
    assert len(images) == len(ffmpeg_decode(path, (120, 160)))
    assert 60 < len(images) < 95  # the hole is a sixth; frames are lost until the next key frame
    assert reader.damaged
    assert sum(times[-1]) == pytest.approx(4.0, abs=0.05)
    assert all(after[0] >= before[0] for before, after in itertools.pairwise(times))


def test_a_frame_is_freed_when_the_next_one_comes(make: Make) -> None:
    """An object of PyAV that refers to itself keeps megabytes until Python's next collection, which counts objects."""
    path = make("whole_damaged.ts", "-c:v", "libx264", "-g", "10", source="testsrc2=size=160x120:rate=25:duration=4")
    read(path)
    gc.collect()
    gc.disable()
    try:
        images, _, reader = read(path)
        del reader
        circular = gc.collect()
    finally:
        gc.enable()
    assert len(images) == 100
    assert circular < 50  # those of opening a file; one each frame would be 100
