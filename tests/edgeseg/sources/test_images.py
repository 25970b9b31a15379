from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.imaging import encode_image
from edgeseg.sources import expand, frames
from edgeseg.sources.files import places

NUM_FRAMES = 10


def image(red: int) -> np.ndarray:
    """``(64, 80, 3)`` uint8 RGB of one color, told by its red."""
    return np.full((64, 80, 3), (red, 30, 10), np.uint8)


def write_image(path: Path, red: int) -> str:
    path.write_bytes(encode_image(image(red), path.suffix))
    return str(path)


def numbers(path: Path, *, start: int = 0, stride: int = 1) -> list[int]:
    """The numbers of the frames that come, read from their color: JPEG moves it by far less than half a step."""
    found = []
    for frame in frames([str(path)], start=start, stride=stride):
        red, green, blue = frame.image_rgb.reshape(-1, 3).mean(0)
        assert abs(green - 30) < 5
        assert abs(blue - 10) < 5
        found.append(round(red / 20))
        assert frame.name == f"clip_{found[-1]:06d}"
    return found


def test_a_file_is_one_frame(tmp_path: Path) -> None:
    (frame,) = frames([write_image(tmp_path / "one.png", 120)])
    assert frame.name == "one"
    assert expand([(tmp_path / "one.png").as_uri().replace("file:", "FILE:")]) == [tmp_path / "one.png"]
    assert frame.image_rgb.dtype == np.uint8
    assert (frame.image_rgb == image(120)).all()


def test_a_folder_is_its_images_and_videos_sorted(tmp_path: Path, clip: Path) -> None:
    for name in ("b.png", "a.BMP", "z.jpg"):
        write_image(tmp_path / name, 7)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "folder").mkdir()
    assert [path.name for path in expand([str(tmp_path)])] == ["a.BMP", "b.png", "clip.avi", "z.jpg"]
    assert len(list(frames([str(tmp_path)]))) == 3 + NUM_FRAMES


def test_sources_keep_the_order_they_were_given_in(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / name, red) for name, red in (("b.png", 1), ("a.png", 2), ("c.png", 3))]
    assert [frame.image_rgb[0, 0, 0] for frame in frames(paths)] == [1, 2, 3]


def test_a_pattern_is_sorted_and_may_be_recursive(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("x2.png", "x1.png", "y.png", "deep/er/x3.png"):
        write_image(tmp_path / name, 5)
    assert [path.name for path in expand([str(tmp_path / "x*.png")])] == ["x1.png", "x2.png"]
    assert {path.name for path in expand([str(tmp_path / "**" / "x*.png")])} == {"x1.png", "x2.png", "x3.png"}


def test_a_file_name_with_brackets_is_no_pattern(tmp_path: Path) -> None:
    assert [frame.name for frame in frames([write_image(tmp_path / "shot[1].png", 5)])] == ["shot[1]"]


def test_a_video_comes_in_rgb_and_in_order(clip: Path) -> None:
    assert numbers(clip) == list(range(NUM_FRAMES))


@pytest.mark.parametrize(
    ("start", "stride", "expected"),
    [(0, 3, [0, 3, 6, 9]), (4, 1, [4, 5, 6, 7, 8, 9]), (1, 4, [1, 5, 9]), (9, 100, [9]), (0, 100, [0])],
)
def test_start_and_stride_count_the_videos_own_frames(clip: Path, start: int, stride: int, expected: list[int]) -> None:
    assert numbers(clip, start=start, stride=stride) == expected


def test_the_time_of_a_frame_goes_on_over_several_videos(clip: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.avi"
    second.write_bytes(clip.read_bytes())
    taken = list(frames([str(clip), write_image(tmp_path / "a.png", 1), str(second)], stride=5))
    assert [frame.time_s for frame in taken if frame.time_s is not None] == pytest.approx([0, 0.5, 1.0, 1.5], abs=1e-3)
    assert taken[2].time_s is None


def test_start_and_stride_are_of_videos_not_of_images(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / f"{index}.png", index) for index in range(3)]
    assert len(list(frames(paths, start=2, stride=2))) == 3


def test_a_start_behind_the_end_is_an_input_error(clip: Path) -> None:
    with pytest.raises(InputError, match=r"clip\.avi' has 10 frames, none from frame 10 on"):
        list(frames([str(clip)], start=10))


@pytest.mark.parametrize(("start", "stride"), [(0, 0), (0, -1), (-1, 1)])
def test_a_start_or_stride_that_means_nothing_is_an_input_error(clip: Path, start: int, stride: int) -> None:
    with pytest.raises(InputError, match="start must be 0 or more and stride 1 or more"):
        list(frames([str(clip)], start=start, stride=stride))


def test_a_video_that_is_left_early_is_released(clip: Path) -> None:
    stream = frames([str(clip)])
    assert [frame.name for frame in itertools.islice(stream, 2)] == ["clip_000000", "clip_000001"]
    stream.close()
    clip.unlink()


@pytest.mark.parametrize("content", [b"", b"no video at all", b"RIFF\x00\x10\x00\x00AVI LIST"])
def test_what_is_no_video_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken_001.avi"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken_001\.avi' does not decode as a video"):
        list(frames([str(path)]))


def test_a_cut_off_video_gives_what_decodes_and_then_says_so(
    clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "cut.avi"
    path.write_bytes(clip.read_bytes()[: clip.stat().st_size * 85 // 100])
    stream = frames([str(path)])
    names = [next(stream).name]
    assert not caplog.records
    names += [frame.name for frame in stream]
    assert 3 <= len(names) <= 7
    (record,) = caplog.records
    assert record.name == "edgeseg.sources"
    assert record.getMessage() == f"'{path}' says it has 10 frames, but {len(names)} decode: it is cut off or damaged."


def test_a_truncated_mp4_is_an_input_error(street_clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    path.write_bytes(street_clip.read_bytes()[:-1000])  # its index is at the end
    with pytest.raises(InputError, match=r"cut\.mp4' does not decode as a video"):
        list(frames([str(path)]))


def test_a_real_clip_has_every_frame(street_clip: Path) -> None:
    taken = list(frames([str(street_clip)], start=10, stride=60))
    assert [frame.name for frame in taken] == [f"bikes_{number:06d}" for number in (10, 70, 130, 190)]
    assert all(frame.image_rgb.shape == (272, 640, 3) for frame in taken)


def test_a_broken_image_is_named_when_its_turn_comes(tmp_path: Path) -> None:
    good = write_image(tmp_path / "a.png", 1)
    (tmp_path / "b.png").write_bytes(b"not a png")
    stream = frames([good, str(tmp_path / "b.png")])
    assert next(stream).name == "a"
    with pytest.raises(InputError, match=r"b\.png' does not decode"):
        next(stream)


def test_a_source_that_is_not_there_is_named_before_anything_is_read(tmp_path: Path) -> None:
    good = write_image(tmp_path / "a.png", 1)
    for absent in (tmp_path / "gone.png", tmp_path / "gone*.png"):
        with pytest.raises(InputError, match=r"gone.*' does not exist or has no images"):
            next(frames([good, str(absent)]))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty' does not exist or has no images"):
        expand([str(tmp_path / "empty")])


def test_two_files_of_one_name_are_refused_before_one_result_replaces_the_other(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_image(tmp_path / folder / "x.png", 10)
    with pytest.raises(InputError, match=r"would have the same name in the results; rename one, or .*/b/\*\.png'"):
        expand([str(tmp_path / "a"), str(tmp_path / "b")])
    url = "http://me:secret@host/a/x.png"
    for other in ("http://host/b/x.jpg?size=2", str(tmp_path / "a" / "x.png")):
        with pytest.raises(InputError, match="would have the same name in the results") as refused:
            places([other, url])
        assert "secret" not in str(refused.value)
    assert places(["-", url]) == ["-", url]
    with pytest.raises(InputError, match="'-' is standard input, which can be read once"):
        places(["-", url, "-"])
    with pytest.raises(InputError, match=r"'http://\[host/x\.png' is no address"):
        places(["http://[host/x.png"])


#: Suffixes and what ffmpeg writes with each.
WRITTEN = {
    **dict.fromkeys((".asf", ".f4v", ".nut", ".m2v", ".mjpeg"), ()),
    **{".divx": ("-f", "avi"), ".mjpg": ("-f", "mjpeg"), ".dv": ("-pix_fmt", "yuv420p"), ".3g2": ("-c:v", "mpeg4")},
    **{".ogg": ("-c:v", "libtheora"), ".ivf": ("-c:v", "libvpx"), ".rm": ("-c:v", "rv20")},
    ".obu": ("-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime"),
}


def test_a_folder_has_every_video_that_is_read_when_it_is_named(ffmpeg: str, tmp_path: Path) -> None:
    source = ("-f", "lavfi", "-i", "testsrc=size=720x576:rate=25")  # a size that DV has
    written = [
        option
        for suffix, options in WRITTEN.items()
        for option in ("-frames:v", "3", *options, str(tmp_path / f"{suffix[1:]}{suffix}"))
    ]
    subprocess.run([ffmpeg, "-loglevel", "error", *source, *written], check=True)
    names = [frame.name for frame in frames([str(tmp_path)])]
    assert names == [f"{name}_{number:06d}" for name in sorted(suffix[1:] for suffix in WRITTEN) for number in range(3)]
