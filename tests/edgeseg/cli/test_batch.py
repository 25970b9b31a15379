"""``_batch``: ``edgeseg predict`` and ``evaluate`` on many images as a user runs them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeseg.cli import main

MODEL = str(Path(__file__).parents[2] / "data" / "saved.fp32.tflite")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: ``data`` is a split ``test`` of four images and labels of three classes."""
    monkeypatch.chdir(tmp_path)
    images, labels = (tmp_path / "data" / "test" / name for name in ("images", "labels"))
    for folder in (images, labels):
        folder.mkdir(parents=True)
    for number in range(4):
        rng = np.random.default_rng(number)
        cv2.imwrite(str(images / f"{number}.png"), rng.integers(0, 255, (24, 32, 3), np.uint8))
        cv2.imwrite(str(labels / f"{number}.png"), rng.integers(0, 3, (24, 32), np.uint8))
    (tmp_path / "data" / "classes.json").write_text('{"names": ["wall", "red", "blue"], "ignore_index": 255}')
    return tmp_path


def test_predict_draws_and_counts_as_one_after_the_other(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = here / "data" / "test" / "images"
    assert main(["predict", MODEL, str(images), "--save", "plain", "--json"]) == 0
    plain = {entry["name"]: entry["counts"] for entry in json.loads(capsys.readouterr().out)["images"]}
    (images / "bad.png").write_bytes(b"no image")
    (here / "list.txt").write_text("".join(f"{images}/{name}.png\n" for name in (*"0123", "bad")))
    many = ["predict", MODEL, "@list.txt", "--save", "many", "--jobs", "1"]
    assert main([*many, "--count"]) == 1
    captured = capsys.readouterr()
    assert "1 image of 5 could not be done; many/counts.csv says why, and the same command tries them" in captured.err
    (wall,) = (line.split() for line in captured.out.splitlines() if line.startswith("wall"))
    assert int(wall[1]) == sum(counts["wall"] for counts in plain.values())
    for number in range(4):
        name = f"{number}.overlay.png"
        assert (here / "many" / name).read_bytes() == (here / "plain" / name).read_bytes()
    with open("many/counts.csv", newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    for name, counts in plain.items():
        assert {key: int(rows[f"{name}.png"][f"pixels {key}"]) for key in counts} == counts
    assert "does not decode" in rows["bad.png"]["error"]

    (images / "bad.png").write_bytes((images / "0.png").read_bytes())  # it is tried again
    assert main([*many, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["num_images"], told["num_before"], told["num_failed"]) == (5, 4, 0)
    assert main([*many, "--alpha", "0.3"]) == 2
    assert "whose look is Look(" in capsys.readouterr().err


def test_evaluate_gives_the_scores_of_one_after_the_other(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", MODEL, "--data", "data", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    many = ["evaluate", MODEL, "--data", "data", "--jobs", "1", "--records", "records", "--save", "scores", "--json"]
    for _ in range(2):  # again: all is done, and the files of the scores are of this run
        assert main(many) == 0
        told = json.loads(capsys.readouterr().out)
        assert {name: told[name] for name in plain} == plain
    assert (told["num_before"], told["tables"][0]) == (4, "records/scores.csv")
    assert (here / "scores" / "confusion_matrix.csv").is_file()
    assert main([*many, "--tiles", "--overlap", "16"]) == 2
    assert "'records' has results of another run, whose tiles is off, not on with an overlap of 16" in (
        capsys.readouterr().err
    )


def test_scores_go_to_a_store(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = pytest.importorskip("fsspec").filesystem("memory")
    many = ["evaluate", MODEL, "--data", "data", "--jobs", "1", "--save", "memory://scores/a", "--json"]
    try:
        assert main(many) == 0
        first = json.loads(capsys.readouterr().out)
        assert first["manifest"] == "memory://scores/a/manifest.jsonl"
        assert first["tables"][0] == "memory://scores/a/scores.csv"
        assert main(many) == 0
        assert json.loads(capsys.readouterr().out) == {**first, "num_before": 4}
        files = {name.removeprefix("/scores/a/") for name in store.store if name.startswith("/scores/a/")}
        names = ("confusion_matrix.csv", "confusion_matrix.png", "manifest.jsonl", "per_class.csv", "scores.csv")
        assert files >= {*names, "parts/manifest.jsonl.000000000000"}
        assert main([*many, "--shard", "1/2"]) == 2
        assert "'memory://scores/a/confusion_matrix.csv' exists; give --overwrite or" in capsys.readouterr().err
        assert sorted(path.name for path in here.iterdir()) == ["data"]
    finally:
        store.rm("/scores", recursive=True)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--shard", "4/3"), "accepted: 1/N to N/N"),
        (("--shard", "a"), "'a' is no shard; accepted: 3/16"),
        (("--jobs", "1", "--max-frames", "3"), "--max-frames and --window are not for many images"),
        (("--jobs", "1", "--save", "out.mp4"), "many images go into a folder; type --save out/."),
        (("s3://bucket/images",), "s3fs"),
        (("--save", "s3://bucket/out.png"), "many images go into a folder; type --save s3://bucket/out/."),
        (("--jobs", "1", "--save", "https://host/out"), "'https://host/out' is no place for results; accepted"),
        (("--records", "ftp://host/out"), "'ftp://host/out' is no place for results; accepted: a folder, or"),
        (("--jobs", "1", "clip.mp4"), "is a video, whose frames go in order; omit --jobs, --shard and the like"),
    ],
)
def test_a_mistake_is_one_line(
    here: Path, args: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "clip.mp4").touch()
    assert main(["predict", MODEL, str(here / "data" / "test" / "images"), *args]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert message in error
    assert sorted(path.name for path in here.iterdir()) == ["clip.mp4", "data"]
