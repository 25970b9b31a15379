"""``_saving``: where ``predict`` writes, and what it refuses at once."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeseg.cli import main
from edgeseg.cli._saving import free_place, latest_place


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, street_clip: Path) -> Path:
    """The current folder: images ``a.png`` and ``b.png``, and ``clip.mp4``."""
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        cv2.imwrite(f"{name}.png", np.random.default_rng(ord(name)).integers(0, 256, (50, 70, 3), np.uint8))
    Path("clip.mp4").symlink_to(street_clip)
    return tmp_path


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_places_are_counted_from_what_exists(here: Path) -> None:
    assert free_place("predict") == Path("runs/predict")
    assert latest_place("train", "last.keras") is None
    assert not (here / "runs").exists()
    for name in ("predict", "predict2", "train", "train2"):
        (here / "runs" / name).mkdir(parents=True)
    (here / "runs" / "train" / "last.keras").touch()
    assert free_place("predict") == Path("runs/predict3")
    assert free_place("benchmark", ".json") == Path("runs/benchmark.json")
    assert latest_place("train", "last.keras") == Path("runs/train"), "train2 has nothing to resume"


def test_predict_without_save_writes_a_new_folder_each_time(
    capsys: pytest.CaptureFixture[str], artifact: Path, here: Path
) -> None:
    before = _files(here)
    for place in ("predict", "predict2"):
        assert main(["predict", str(artifact), "a.png", "b.png"]) == 0
        out, err = capsys.readouterr()
        assert (out, err) == ("", f"saved: 2 images in runs/{place}\n")
    drawn = [f"runs/{place}/{name}.overlay.png" for place in ("predict", "predict2") for name in "ab"]
    assert _files(here) == sorted([*before, *drawn])
    # What prints its result leaves nothing.
    assert main(["predict", str(artifact), "a.png", "--count"]) == 0
    assert main(["predict", str(artifact), "a.png", "--json"]) == 0
    assert _files(here) == sorted([*before, *drawn])


def test_predict_saves_an_image_or_a_film(capsys: pytest.CaptureFixture[str], artifact: Path, here: Path) -> None:
    def predict(*arguments: str) -> str:
        assert main(["predict", str(artifact), *arguments]) == 0
        return capsys.readouterr().err

    assert predict("a.png", "--save", "new/out.jpg", "--no-legend") == "saved: new/out.jpg\n"
    assert cv2.imread("new/out.jpg").shape == (50, 70, 3)
    predict("clip.mp4", "--max-frames", "1", "--save", "ids.png", "--visualize", "ids")
    ids = cv2.imread("ids.png", cv2.IMREAD_UNCHANGED)
    assert (ids.shape, ids.dtype) == ((272, 640), np.uint8)
    said = predict("clip.mp4", "--vid-stride", "5", "--max-frames", "4", "--save", "out.mp4")
    assert said == "saved: 4 frames as out.mp4\n"
    film = cv2.VideoCapture("out.mp4")
    assert film.get(cv2.CAP_PROP_FPS) == 5  # a fifth of the clip's 25
    frames = [film.read()[1] for _ in range(4)]
    assert {frame.shape for frame in frames} == {(272, 640, 3)}, "a legend beside the image would change the size"
    assert not film.grab()
    predict("a.png", "b.png", "--save", "two.mp4")
    assert cv2.VideoCapture("two.mp4").get(cv2.CAP_PROP_FRAME_COUNT) == 2
    # Without colors a film is the images, but for the encoder's losses; with red and blue exchanged it is not.
    predict("clip.mp4", "--max-frames", "1", "--save", "bare.avi", "--alpha", "0")
    clip, bare = (cv2.VideoCapture(name).read()[1][:, :400].astype(int) for name in ("clip.mp4", "bare.avi"))
    exchanged, right = np.abs(clip[..., ::-1] - bare).mean(), np.abs(clip - bare).mean()
    assert right < exchanged / 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("clip.mp4 --save new/x.png", "give new/x.mp4 for a film, or new/x/ for a folder of images"),
        ("a.png b.png --save new/x.png", "there are several frames"),
        ("a.png --save new/x.mp4", "is a film, and the source is one image: give new/x.png."),
        ("a.png --save new/x.pdf", "nothing can be saved as 'new/x.pdf'"),
        ("a.png --save new/x.jpg --visualize ids", "type --save new/x.png."),
        ("a.png --save new/x.jpg --visualize cutout", "type --save new/x.png."),
        ("clip.mp4 --save x.mp4 --visualize ids", "type --save x/."),
        ("a.png --save new/x.png --visualize mask,overlay", "type --save new/x/ for a folder."),
        ("a.png --save a.png", "'a.png' exists; give --overwrite"),
        ("a.png --save a.png/x", "cannot be written: Not a directory"),
        ("gone.png --save new", "source 'gone.png' does not exist"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_model_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str], here: Path, arguments: str, said: str
) -> None:
    before = sorted(here.rglob("*"))
    assert main(["predict", "no_model.tflite", *arguments.split()]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert sorted(here.rglob("*")) == before


def test_what_fails_later_leaves_no_folder_either(
    capsys: pytest.CaptureFixture[str], artifact: Path, here: Path
) -> None:
    before = sorted(here.rglob("*"))
    assert main(["predict", "no_model.tflite", "a.png", "--save", "new/folder"]) == 2
    assert main(["predict", "no_model.tflite", "a.png"]) == 2
    assert main(["predict", str(artifact), "a.png", "--classes", "dog", "--save", "new/x.png"]) == 2
    assert "unknown class 'dog'" in capsys.readouterr().err
    assert sorted(here.rglob("*")) == before


@pytest.fixture
def address(here: Path) -> Iterator[str]:
    """The address of a web server of ``here``, which has ten frames of ten a second in ``ten.avi`` as well."""
    film = cv2.VideoWriter("ten.avi", cv2.VideoWriter.fourcc(*"MJPG"), 10, (70, 50))
    for _ in range(10):
        film.write(cv2.imread("a.png"))
    film.release()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(here))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_what_an_address_has_is_saved_as_what_it_is(
    capsys: pytest.CaptureFixture[str], artifact: Path, address: str
) -> None:
    def predict(*arguments: str) -> int:
        return main(["predict", str(artifact), "--no-legend", *arguments])

    # OpenCV's films of AVI have one rate for all frames: that of the source.
    for stride in (1, 2):
        assert predict(f"{address}/ten.avi", "--vid-stride", str(stride), "--save", f"{stride}.avi") == 0
        film = cv2.VideoCapture(f"{stride}.avi")
        assert (film.get(cv2.CAP_PROP_FPS), film.get(cv2.CAP_PROP_FRAME_COUNT)) == (10 / stride, 10 / stride)
    assert predict(f"{address}/a.png", "--save", "out.png") == 0
    assert cv2.imread("out.png").shape == (50, 70, 3)
    assert predict(f"{address}/ten.avi", "--max-frames", "1", "--save", "first.png") == 0
    capsys.readouterr()
    assert predict(f"{address}/ten.avi", "--save", "many.png") == 2
    assert "'many.png' is one image, and there are several frames: give many.mp4" in capsys.readouterr().err
    assert not Path("many.png").exists()
    # Equal names are refused before anything is opened.
    same = (f"{address}/x/a.png", f"{address}/y/a.png")
    assert predict(*same, "--save", "folder", "--overwrite") == 2
    assert "would have the same name in the results; read them in two runs." in capsys.readouterr().err
