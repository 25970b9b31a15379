"""``camera``: ``edgeseg camera`` as a user runs it: a real artifact, clip and stream, a process of its own where it
matters.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeseg.cli import main
from edgeseg.video.library import has_av


def _run(*arguments: str | Path) -> int:
    return main(["camera", *map(str, arguments), "--no-show"])


def _start(*arguments: str | Path) -> subprocess.Popen[str]:
    code = "import sys; from edgeseg.cli import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, "camera", *map(str, arguments), "--no-show"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _one_line(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_a_trace_has_every_stage_of_every_frame(
    capsys: pytest.CaptureFixture[str], artifact: Path, street_clip: Path, tmp_path: Path
) -> None:
    path = tmp_path / "trace.json"
    arguments = (artifact, "--source", street_clip, "--max-frames", "10", "--trace", path)
    assert _run(*arguments) == 0
    assert f"saved: {path}" in capsys.readouterr().err
    shown = [event for event in json.loads(path.read_text()) if event["name"] == "output"]
    assert [event["args"]["frame"] for event in shown] == list(range(10))
    assert _run(*arguments) == 2
    assert "--overwrite" in _one_line(capsys)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_the_trace_of_a_killed_run_can_be_read(artifact: Path, street_clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    process = _start(artifact, "--source", street_clip, "--loop", "--trace", path)
    try:
        deadline = time.monotonic() + 60
        while not path.exists() or path.stat().st_size < 20_000:  # the file grows while the camera runs
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.kill()
        process.communicate()
    events = json.loads(path.read_text() + "]")
    assert {event["name"] for event in events} >= {"capture", "preprocess", "inference", "render", "output"}


def test_a_clip_is_segmented_saved_and_measured(
    capsys: pytest.CaptureFixture[str], artifact: Path, street_clip: Path, tmp_path: Path
) -> None:
    stats_file, video = tmp_path / "stats.json", tmp_path / "out.mp4"
    assert _run(artifact, "--source", street_clip, "--max-frames", "40", "--stats", stats_file, "--save", video) == 0
    stats: dict[str, Any] = json.loads(stats_file.read_text())
    assert stats["frames"]["shown"] == 40
    assert stats["frames"]["dropped"] == 0
    assert (stats["live"], stats["format_version"]) == (False, 1)
    assert stats["runtime"].startswith("ai-edge-litert ")
    for stage in ("preprocess", "inference", "render", "output"):
        assert stats["stages_ms"][stage]["median"] > 0
    assert stats["age_ms"]["median"] > stats["stages_ms"]["inference"]["median"]
    assert stats["memory_mb"]["last"] > 0
    (output,) = stats["outputs"]
    assert (output["target"], output["frames"], output["dropped"]) == (str(video), 40, 0)
    assert output["encoder"] in ("libx264", "h264_v4l2m2m", "OpenCV's mp4v")
    written = cv2.VideoCapture(str(video))
    frames = 0
    while written.grab():
        frames += 1
    assert frames == 40
    line = _one_line(capsys)
    assert line.startswith("40 frames, ")
    assert line.endswith(f"; saved: {video}")


@pytest.mark.skipif(not has_av(), reason="PyAV is not installed: no sound")
def test_the_sound_of_a_file_is_saved_with_its_frames_and_can_be_omitted(
    artifact: Path, street_clip: Path, tmp_path: Path
) -> None:
    import av

    source = street_clip.with_name("bigbuckbunny.mp4")  # its sound is AAC
    for name, flags in (("with.mp4", []), ("without.mp4", ["--no-audio"])):
        path = tmp_path / name
        assert (
            _run(
                artifact, "--source", source if flags else source.as_uri(), "--max-frames", "25", "--save", path, *flags
            )
            == 0
        )
        with av.open(str(path)) as container:
            kinds = [stream.type for stream in container.streams]
            assert kinds == ["video"] if flags else ["video", "audio"]
            assert container.duration / av.time_base == pytest.approx(1.0, abs=0.05)


@pytest.mark.skipif(not has_av(), reason="PyAV is not installed, and ffmpeg may not be")
def test_a_server_that_is_not_there_ends_neither_the_recording_nor_hides(
    capsys: pytest.CaptureFixture[str], artifact: Path, street_clip: Path, free_port: int, tmp_path: Path
) -> None:
    video, url = tmp_path / "out.mkv", f"rtmp://127.0.0.1:{free_port}/live/secret-key"
    assert _run(artifact, "--source", street_clip, "--save", video, "--save", url) == 2
    said = capsys.readouterr().err
    assert said.strip().splitlines()[-1].startswith("edgeseg: the stream, writing 'rtmp://127.0.0.1")
    assert f"; saved: {video}\n" in said
    assert "secret-key" not in said
    written = cv2.VideoCapture(str(video))
    assert sum(iter(written.grab, False)) == 250


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--camera-size", "640x480", "--camera-fps", "30"], "--camera-size, --camera-fps are for cameras, not for '"),
        (["--camera-size", "640"], "'640' is no size of a camera; accepted: width and height as 1280x720."),
    ],
)
def test_settings_of_a_camera_are_for_cameras(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str], artifact: Path, street_clip: Path
) -> None:
    assert _run(artifact, "--source", street_clip, "--stats", "stats.json", *flags) == 2
    assert message in capsys.readouterr().err


def test_one_frame_is_saved_as_one_image(artifact: Path, street_clip: Path, tmp_path: Path) -> None:
    image, again = tmp_path / "new" / "out.png", tmp_path / "again.jpg"
    assert _run(artifact, "--source", street_clip, "--max-frames", "1", "--save", image) == 0
    assert _run(artifact, "--source", image, "--save", again) == 0
    assert [cv2.imread(str(path)).shape for path in (image, again)] == [(272, 640, 3)] * 2
    film = tmp_path / "loop.mp4"
    assert _run(artifact, "--source", image, "--loop", "--max-frames", "3", "--save", film) == 0
    assert cv2.VideoCapture(str(film)).get(cv2.CAP_PROP_FRAME_COUNT) == 3


def test_a_paced_clip_is_live_and_keeps_its_time(
    capsys: pytest.CaptureFixture[str], artifact: Path, street_clip: Path
) -> None:
    capsys.readouterr()
    assert _run(artifact, "--source", street_clip, "--pace", "--max-frames", "10", "--json") == 0
    stats = json.loads(capsys.readouterr().out)
    assert stats["live"] is True
    # 25 frames a second, or fewer where the machine is too slow for that: never faster than the clip. The first two
    # frames may come closer together, as the first waited for the runtime's first call.
    assert stats["fps"] < 30


def test_every_view_is_saved(artifact: Path, street_clip: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "beach.png"), np.full((80, 60, 3), (255, 0, 0), np.uint8))  # blue
    images: dict[str, Any] = {}
    for view in ("overlay", "mask", "cutout", "blur", "replace"):
        extra = ["--background", tmp_path / "beach.png"] if view == "replace" else []
        # The seeded model sees class_3 in 3 of 4 pixels of the first frame: enough of both for every view to differ.
        arguments = ["--visualize", view, "--classes", "class_3", "--no-legend", "--no-status", *extra]
        assert _run(artifact, "--source", street_clip, "--max-frames", "1", "--save", tmp_path / view, *arguments) == 0
        (file,) = (tmp_path / view).iterdir()
        images[view] = cv2.imread(str(file)).astype(int)
    assert {image.shape for image in images.values()} == {(272, 640, 3)}
    views = list(images)
    for index, first in enumerate(views):
        for second in views[index + 1 :]:
            assert np.abs(images[first] - images[second]).mean() > 1, (first, second)


def test_a_saved_frame_is_anonymized(artifact: Path, street_clip: Path, tmp_path: Path) -> None:
    colors = {}
    for anonymize in ([], ["--anonymize", "class_3"]):
        folder = tmp_path / str(len(anonymize))
        arguments = ["--visualize", "cutout", "--classes", "class_3", "--no-legend", "--no-status", *anonymize]
        assert _run(artifact, "--source", street_clip, "--max-frames", "1", "--save", folder, *arguments) == 0
        (file,) = folder.iterdir()
        colors[len(anonymize)] = len(np.unique(cv2.imread(str(file)).reshape(-1, 3), axis=0))
    assert colors[0] > 3000 > 80 * 34 + 1 >= colors[2]  # blocks of 8x8 at least, and black


def test_a_browser_page_is_served_and_ctrl_c_ends_it_well(artifact: Path, street_clip: Path, tmp_path: Path) -> None:
    stats_file = tmp_path / "stats.json"
    process = _start(artifact, "--source", street_clip, "--loop", "--serve", "0", "--stats", stats_file)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("watch it at http://127.0.0.1:"), line
    url = line.split()[-1].rstrip("/")
    snapshot = b""
    deadline = time.monotonic() + 60
    while not snapshot and time.monotonic() < deadline:
        try:
            snapshot = urllib.request.urlopen(f"{url}/snapshot.jpg", timeout=20).read()
        except OSError:  # no frame yet
            time.sleep(0.2)
    assert cv2.imdecode(np.frombuffer(snapshot, np.uint8), cv2.IMREAD_COLOR).shape == (272, 640, 3)
    live = json.loads(urllib.request.urlopen(f"{url}/stats", timeout=20).read())
    assert live["fps"] >= 0
    assert live["inference_ms"] > 0
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 0, rest
    assert "Traceback" not in rest
    assert json.loads(stats_file.read_text())["frames"]["shown"] > 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
@pytest.mark.parametrize(("name", "suffix"), [("SIGTERM", ".avi"), ("SIGTERM", ".mp4"), ("SIGHUP", ".mkv")])
def test_who_ends_it_in_order_gets_a_video_that_plays(
    artifact: Path, street_clip: Path, tmp_path: Path, name: str, suffix: str
) -> None:
    video = tmp_path / f"out{suffix}"
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_DFL)  # a test run that nohup started ignores SIGHUP, and so would this
    process = _start(artifact, "--source", street_clip, "--loop", "--save", video, "--serve", "0")
    signal.signal(number, before)
    assert process.stderr is not None
    url = process.stderr.readline().split()[-1].rstrip("/")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if json.loads(urllib.request.urlopen(f"{url}/stats", timeout=20).read())["frames"] > 5:
            break
        time.sleep(0.1)
    process.send_signal(number)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 0, rest
    written = cv2.VideoCapture(str(video))
    assert written.read()[0]
    assert [path.name for path in tmp_path.iterdir()] == [video.name]  # no temporary file stays


def test_a_stream_whose_server_comes_back_goes_on(
    capsys: pytest.CaptureFixture[str],
    artifact: Path,
    serve: Callable[..., subprocess.Popen[bytes]],
    free_port: int,
    tmp_path: Path,
) -> None:
    url = f"http://127.0.0.1:{free_port}/feed"
    server = serve(url)
    stats_file = tmp_path / "stats.json"
    process = _start(artifact, "--source", url, "--reconnect", "30", "--serve", "0", "--stats", stats_file)
    assert process.stderr is not None
    page = process.stderr.readline().split()[-1].rstrip("/")

    def frames() -> int:
        return int(json.loads(urllib.request.urlopen(f"{page}/stats", timeout=20).read())["frames"])

    def wait_for_more_than(count: int) -> int:
        deadline = time.monotonic() + 60
        while (now := frames()) <= count and time.monotonic() < deadline:
            time.sleep(0.1)
        assert now > count
        return now

    before = wait_for_more_than(5)
    server.kill()
    server.wait()
    time.sleep(0.5)
    serve(url)
    wait_for_more_than(before + 10)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 0, rest
    assert json.loads(stats_file.read_text())["live"] is True


def test_a_stream_that_stays_away_ends_with_a_line_and_the_statistics(
    capsys: pytest.CaptureFixture[str],
    artifact: Path,
    serve: Callable[..., subprocess.Popen[bytes]],
    free_port: int,
    tmp_path: Path,
) -> None:
    url = f"http://user:secret@127.0.0.1:{free_port}/feed"
    server = serve(url.replace("user:secret@", ""))
    stats_file = tmp_path / "stats.json"
    process = _start(artifact, "--source", url, "--reconnect", "6", "--max-frames", "100000", "--stats", stats_file)
    # The first connection is waited for as well, so the server may still be starting.
    deadline = time.monotonic() + 60
    while server.poll() is None and time.monotonic() < deadline and not _connected(free_port):
        time.sleep(0.05)
    time.sleep(1)
    server.kill()
    _, rest = process.communicate(timeout=90)
    assert process.returncode == 2
    assert "secret" not in rest
    last = rest.strip().splitlines()[-1]
    assert last.startswith("edgeseg: "), rest
    assert json.loads(stats_file.read_text())["frames"]["shown"] > 0


def test_a_sink_that_refuses_a_frame_leaves_the_statistics(
    capsys: pytest.CaptureFixture[str], artifact: Path, street_clip: Path, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / f"{street_clip.stem}_000002.jpg").touch()
    stats_file = tmp_path / "s.json"
    arguments = ["--source", street_clip, "--save", f"{tmp_path}/images/", "--stats", stats_file]
    assert _run(artifact, *arguments) == 2
    assert "_000002.jpg' exists" in capsys.readouterr().err.strip().splitlines()[-1]
    assert json.loads(stats_file.read_text())["frames"]["shown"] == 2


def _connected(port: int) -> bool:
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(f":{port:04X}" in line.split()[1] and line.split()[3] == "01" for line in lines)


def test_a_video_from_standard_input_is_segmented_to_its_end(artifact: Path, street_clip: Path, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    code = "import sys; from edgeseg.cli import main; sys.exit(main())"
    options = ["--source", "-", "--no-show", "--stats", str(tmp_path / "s.json"), "--max-frames", "20"]
    with street_clip.open("rb") as clip:
        done = subprocess.run(
            [sys.executable, "-c", code, "camera", str(artifact), *options],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=clip,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    stats = json.loads((tmp_path / "s.json").read_text())
    assert (stats["source"], stats["live"], stats["frames"]["shown"]) == ("standard input", False, 20)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--source", "empty.mp4"], "empty.mp4"),
        (["--source", "missing.mp4"], "missing.mp4"),
        (["--source", "77", "--stats", "s.json"], "camera"),
        (["--source", "{clip}", "--live", "--stats", "s.json"], "--pace plays a file in real time"),
        (["--source", "0", "--no-live", "--stats", "s.json"], "a camera is always live"),
        (["--source", "file://nas/a.mp4", "--stats", "s.json"], "names the machine 'nas'"),
        (["--source", "{clip}", "--classes", "dog", "--stats", "s.json"], "unknown class 'dog'"),
        (["--source", "{clip}", "--except", "dog", "--stats", "s.json"], "unknown class 'dog'"),
        (["--source", "{clip}", "--anonymize", "dog", "--stats", "s.json"], "unknown class 'dog'"),
        (["--source", "{clip}", "--visualize", "replace", "--stats", "s.json"], "--background"),
        (["--source", "{clip}", "--background", "#ffffff", "--stats", "s.json"], "go together"),
        (["--source", "{clip}", "--visualize", "cutout", "--stats", "s.json"], "no class 'background'"),
        (["--source", "{clip}", "--save", "out.xyz"], "out.xyz"),
        (["--source", "{clip}", "--save", "there.mp4"], "exists"),
        (["--source", "{clip}", "--save", "new/out.png"], "give new/out.mp4 for a film"),
        (["--source", "{clip}", "--save", "new/", "--save", "out.png"], "give out.mp4 for a film"),
        (["--source", "image.png", "--save", "new/out.mp4"], "give new/out.png"),
        (["--source", "{clip}", "--save", "there.mp4/out"], "cannot be written"),
        (["--source", "{clip}", "--stats", "there.mp4"], "exists"),
        (["--source", "{clip}"], "nothing to do"),
        (["--source", "{clip}", "--serve", "eight"], "'eight' is no address"),
    ],
)
def test_what_cannot_work_is_one_line_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    artifact: Path,
    street_clip: Path,
    tmp_path: Path,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "there.mp4").write_bytes(b"mine")
    cv2.imwrite(str(tmp_path / "image.png"), np.zeros((8, 8, 3), np.uint8))
    before = sorted(tmp_path.iterdir())
    extra = [] if {"--stats", "--save"} & set(arguments) or said == "nothing to do" else ["--stats", "other.json"]
    assert _run(artifact, *(argument.format(clip=street_clip) for argument in arguments), *extra) == 2
    line = _one_line(capsys)
    assert line.startswith("edgeseg: ")
    assert said in line
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "there.mp4").read_bytes() == b"mine"
