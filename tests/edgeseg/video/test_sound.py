from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from edgeseg.video.encode import FORMATS, TICKS, Encoder
from edgeseg.video.sound import Sound

av = pytest.importorskip("av", reason="PyAV is not installed")


def make_source(path: Path, codec: str, seconds: float, first_frame_s: float = 0.0) -> Path:
    """A video of 25 frames a second with a tone, whose loudness is the time."""
    rate = 48_000
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream(codec, rate=rate)
        sound.codec_context.layout = "mono"
        for number in range(round(seconds * 25)):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="bgr24")
            frame.pts, frame.time_base = number + round(first_frame_s * 25), Fraction(1, 25)
            container.mux(video.encode(frame))
        times_s = np.arange(round(seconds * rate), dtype=np.float32) / rate
        tone = (0.2 * np.minimum(times_s, 4) * np.sin(times_s * 2 * np.pi * 440)).astype(np.float32)
        resampler = av.AudioResampler(format=sound.codec_context.format, layout="mono", rate=rate)
        for start in range(0, tone.size, 1024):
            piece = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], format="fltp", layout="mono")
            piece.sample_rate, piece.pts, piece.time_base = rate, start, Fraction(1, rate)
            for converted in resampler.resample(piece):
                container.mux(sound.encode(converted))
        container.mux(sound.encode(None))
        container.mux(video.encode(None))
    return path


def record(path: Path, sound: Sound, frames: int) -> None:
    encoder = Encoder(path, FORMATS[path.suffix], (48, 64), 25.0, sound)
    for number in range(frames):
        encoder.add(encoder.frame(np.zeros((48, 64, 3), np.uint8)), number * TICKS // 25)
    encoder.close()


def heard(path: Path) -> tuple[str, float, float]:
    """The codec, the seconds, and the loudness at the first tenth of a second of a file's sound."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        frames = [frame.to_ndarray() for frame in container.decode(stream)]
        samples = np.concatenate([frame.reshape(-1) for frame in frames])
        scale = 32768 if samples.dtype == np.int16 else 1
        rate = stream.codec_context.sample_rate
        begin = samples[rate // 20 : rate // 10] / scale
        return stream.codec_context.name, samples.size / rate, float(np.sqrt(2) * begin.std() / 0.2)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".m3u8"])
def test_the_sound_is_copied_as_long_as_the_frames(tmp_path: Path, suffix: str) -> None:
    source = make_source(tmp_path / "source.mp4", "aac", 4.0)
    record(tmp_path / f"out{suffix}", Sound(source), 50)
    codec, seconds, loudness = heard(tmp_path / f"out{suffix}")
    assert codec == "aac"
    assert seconds == pytest.approx(2.0, abs=0.05)  # a packet of AAC is 21 ms, and one is the encoder's delay
    assert loudness < 0.2  # it begins with the source


def test_a_video_that_begins_later_has_the_sound_of_then(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source.mp4", "aac", 4.0)
    record(tmp_path / "out.mkv", Sound(source, begin_s=2.0), 25)
    _, seconds, loudness = heard(tmp_path / "out.mkv")
    assert seconds == pytest.approx(1.0, abs=0.05)
    assert loudness == pytest.approx(2.1, abs=0.2)


def test_times_count_from_the_first_frame_and_not_from_the_files_zero(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source.mkv", "aac", 3.0, first_frame_s=1.0)
    record(tmp_path / "out.mkv", Sound(source), 25)
    assert heard(tmp_path / "out.mkv")[2] == pytest.approx(1.1, abs=0.2)


def test_sound_that_does_not_fit_is_omitted_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = make_source(tmp_path / "source.mkv", "pcm_s16le", 1.0)
    with caplog.at_level(logging.WARNING, "edgeseg"):
        record(tmp_path / "out.webm", Sound(source), 25)
    said = [record.getMessage() for record in caplog.records if record.name.startswith("edgeseg")]
    assert len(said) == 1
    assert "(pcm_s16le) does not fit into" in said[0] and "out.webm' and is omitted; .mkv takes any" in said[0]
    with av.open(str(tmp_path / "out.webm")) as container:
        assert not container.streams.audio
    record(tmp_path / "out.mkv", Sound(source), 25)
    assert heard(tmp_path / "out.mkv")[0] == "pcm_s16le"


def test_sound_that_nobody_knows_is_omitted_without_the_advice_to_take_mkv(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = make_source(tmp_path / "source.mkv", "aac", 1.0)
    source.write_bytes(source.read_bytes().replace(b"A_AAC", b"A_ZZZ"))
    with caplog.at_level(logging.WARNING, "edgeseg"):
        record(tmp_path / "out.mkv", Sound(source), 25)
    (said,) = [record.getMessage() for record in caplog.records if record.name.startswith("edgeseg")]
    assert "(unknown) does not fit into" in said and said.endswith("out.mkv' and is omitted.")


def test_a_source_without_sound_or_that_is_no_video_gives_none(tmp_path: Path) -> None:
    record(tmp_path / "silent.mp4", Sound(tmp_path / "missing.mp4"), 3)
    record(tmp_path / "out.mp4", Sound(tmp_path / "silent.mp4"), 3)
    (tmp_path / "text.mp4").write_text("no video")
    record(tmp_path / "again.mp4", Sound(tmp_path / "text.mp4"), 3)
    for name in ("silent.mp4", "out.mp4", "again.mp4"):
        with av.open(str(tmp_path / name)) as container:
            assert [stream.type for stream in container.streams] == ["video"]


@pytest.mark.parametrize("seed", range(5))
def test_damaged_sound_ends_no_recording(tmp_path: Path, seed: int) -> None:
    source = make_source(tmp_path / "source.mkv", "aac", 2.0)
    data = bytearray(source.read_bytes())
    rng = np.random.default_rng(seed)
    for place in rng.integers(1000, len(data), 200):
        data[place] = rng.integers(256)
    source.write_bytes(data)
    record(tmp_path / "out.mp4", Sound(source), 50)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert len(list(container.decode(video=0))) == 50
