"""examples/: each runs on tiny input, what is generated is what is committed, and the README names all."""

from __future__ import annotations

import configparser
import json
import os
import re
import runpy
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeseg.cli import main

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
MAKE = runpy.run_path(str(ROOT / "scripts" / "make-examples"))


def run(name: str, *arguments: str | Path, cwd: Path) -> str:
    """Run an example as a user does; what it prints."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "converters"), *filter(None, [os.environ.get("PYTHONPATH")])])
    bin_folder = str(Path(sys.executable).parent)
    environment = {**os.environ, "PYTHONPATH": paths, "PATH": os.pathsep.join([bin_folder, os.environ["PATH"]])}
    program = [sys.executable] if name.endswith(".py") else ["sh"]
    done = subprocess.run(
        [*program, EXAMPLES / name, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four images, which is a source that ends."""
    folder = tmp_path_factory.mktemp("frames")
    colors = np.random.default_rng(1).integers(0, 256, (4, 5, 6, 3), np.uint8)
    for number, each in enumerate(colors):
        cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(each, (80, 64), interpolation=cv2.INTER_CUBIC))
    return folder


def test_what_is_generated_is_committed() -> None:
    pytest.importorskip("jupytext")
    for path, content in MAKE["generated"]():
        assert path.read_text() == content, "run scripts/make-examples"


def test_the_readme_names_every_example() -> None:
    linked = set(re.findall(r"\]\((?!\.\.)([^)#]+)\)", (EXAMPLES / "README.md").read_text()))
    tracked = [path for path in EXAMPLES.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert linked == {path.relative_to(EXAMPLES).as_posix() for path in tracked} - {"README.md"}


def test_a_webcam_is_blurred(frames: Path, tmp_path: Path) -> None:
    assert len((EXAMPLES / "webcam_blur.py").read_text().splitlines()) <= 20
    assert run("webcam_blur.py", frames, tmp_path / "out.mp4", cwd=tmp_path).startswith("4 frames")
    video = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    assert sum(iter(video.grab, False)) == 4


def test_a_foreign_model_is_run(tmp_path: Path) -> None:
    data = ROOT / "tests" / "data"
    image, label = runpy.run_path(str(data / "pytorch_models.py"))["draw"](1)
    cv2.imwrite(str(tmp_path / "image.png"), image[..., ::-1])
    printed = run("foreign_model.py", data / "pytorch_unet.onnx", "image.png", "out.png", cwd=tmp_path)
    counts = eval(printed.splitlines()[0], {})
    # PyTorch learned these rectangles; its mIoU on them was above 0.9.
    assert abs(counts["red"] - int((label == 1).sum())) < 100
    assert (tmp_path / "out.png").is_file()


class _Broker(threading.Thread):
    """Enough of a broker of MQTT 3.1.1 for one client: it accepts, and acknowledges what is published (QoS 1)."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.messages: list[tuple[str, Any]] = []

    def run(self) -> None:
        connection, _ = self.listening.accept()
        with connection, connection.makefile("rb") as stream:
            while head := stream.read(1):
                length = shift = 0
                while (byte := stream.read(1)[0]) & 0x80:
                    length, shift = length | (byte & 0x7F) << shift, shift + 7
                body = stream.read(length | byte << shift)
                if head[0] >> 4 == 1:  # CONNECT
                    connection.sendall(b"\x20\x02\x00\x00")
                elif head[0] >> 4 == 3:  # PUBLISH
                    size = struct.unpack(">H", body[:2])[0]
                    topic, number, content = body[2 : 2 + size], body[2 + size : 4 + size], body[4 + size :]
                    self.messages.append((topic.decode(), json.loads(content)))
                    connection.sendall(b"\x40\x02" + number)


def test_pixels_are_counted(frames: Path, tmp_path: Path) -> None:
    pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed")
    broker = _Broker()
    broker.start()
    where = ("--csv", "counts.csv", "--mqtt", f"127.0.0.1:{broker.port}/street/counts")
    (tmp_path / "counts.csv").write_text("time,background,person\nearlier,5120,0\n")  # it appends
    run("count_pixels.py", frames, "--model", "person.int8", "--every", "0", *where, cwd=tmp_path)
    broker.join(10)
    head, *rows = (tmp_path / "counts.csv").read_text().splitlines()
    assert head == "time,background,person" and len(rows) == 5
    assert all(sum(map(int, row.split(",")[1:])) == 64 * 80 for row in rows)
    assert [topic for topic, _ in broker.messages] == ["street/counts"] * 4
    assert list(broker.messages[0][1]["pixels"].values()) == list(map(int, rows[1].split(",")[1:]))


@pytest.mark.skipif(sys.platform == "win32", reason="a script of sh")
def test_a_camera_is_sent_over_rtmp(street_clip: Path, tmp_path: Path) -> None:
    program = pytest.importorskip("imageio_ffmpeg", reason="imageio-ffmpeg: no ffmpeg to serve").get_ffmpeg_exe()
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"rtmp://127.0.0.1:{free.getsockname()[1]}/live/key"
    clip = tmp_path / "clip.mp4"
    subprocess.run([program, "-loglevel", "error", "-i", street_clip, "-frames:v", "20", "-an", clip], check=True)
    received = tmp_path / "received.flv"
    command = [program, "-loglevel", "error", "-listen", "1", "-i", url, "-c", "copy", received]
    server = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        run("camera_to_rtmp.sh", url, clip, cwd=tmp_path)
        server.wait(30)
    finally:
        server.kill()
        server.communicate()
    # What the encoder is not ready for is dropped, as everywhere where frames are sent and not saved.
    assert 1 <= sum(iter(cv2.VideoCapture(str(received)).grab, False)) <= 20


def test_the_unit_starts_a_camera(frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unit = EXAMPLES / "pi" / "edgeseg-camera.service"
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign] - systemd's names have capitals
    parser.read_string(unit.read_text())
    program, *words = shlex.split(parser["Service"]["ExecStart"])
    assert program.endswith("/bin/edgeseg") and words[words.index("--source") + 1] == "0"
    words[words.index("--source") + 1] = str(frames)
    words[words.index("--serve") + 1] = "127.0.0.1:0"
    assert main(words) == 0
    assert "4 frames" in capsys.readouterr().err
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return  # no system that could say more
    # The program is not where the unit has it; everything else is right.
    found = tmp_path / unit.name
    found.write_text(unit.read_text().replace(program, "/bin/true"))
    done = subprocess.run([analyze, "verify", "--man=no", found], capture_output=True, text=True)
    assert (done.returncode, [line for line in done.stderr.splitlines() if unit.name in line]) == (0, [])


@pytest.mark.slow
def test_the_generated_program_is_compiled(tmp_path: Path) -> None:
    """That it answers right is what ``tests/edgeseg/snippets/test_snippet.py`` shows, of smaller models."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None or sys.platform == "win32":
        pytest.skip("no C++ compiler")
    source = EXAMPLES / "cpp" / "segment.cpp"
    subprocess.run([compiler, "-std=c++17", "-Wall", "-Werror", "-fsyntax-only", source], check=True)


def test_a_custom_layer_is_made_convertible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("keras")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / "custom_layer.py"))
    printed = capsys.readouterr().out
    assert "TFLite has no builtin for: RGBToHSV in 'hsv' (RgbToHsv)" in printed
    assert "'HsvToArithmetic', 'hsv'" in printed and "100.00% of the pixels have the same class" in printed
    assert (tmp_path / "hues.fp32.tflite").is_file()


def notebook_output(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the cells of a notebook print when all are run."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "converters")]))
    notebook = nbformat.read(EXAMPLES / "notebooks" / f"{name}.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    shown = [output["data"].keys() for output in outputs if output["output_type"] == "execute_result"]
    return "".join(output.get("text", "") for output in outputs) + f"{[sorted(keys) for keys in shown]}"


def test_the_first_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = notebook_output("first_steps", tmp_path, monkeypatch)
    assert "image/png" in printed
    agreement = re.search(r"([\d.]+)% of the pixels have Keras' class", printed)
    assert agreement and float(agreement[1]) > 99  # the gate of fp16 is 99.5 % of those that are no tie


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "expected"),
    [("custom_layer", "100.00% of the pixels"), ("own_data", ".fp16.tflite: mIoU 0.")],
)
def test_the_other_notebooks_run(name: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("keras")
    monkeypatch.setenv("EPOCHS", "2")
    assert expected in notebook_output(name, tmp_path, monkeypatch)
