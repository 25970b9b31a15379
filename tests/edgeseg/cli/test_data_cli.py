"""``data``: ``edgeseg data``, and the commands that read labeled data on layouts and labels of other makers."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeseg.cli import main
from edgeseg.datasets.statistics import ImageSizes
from edgeseg.imaging import encode_image

VOC = ("--classes", "wall,red,blue")


def run_json(capsys: pytest.CaptureFixture[str], *args: str | Path, status: int = 0) -> dict[str, Any]:
    assert main([*map(str, args), "--json"]) == status
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    return value


@pytest.fixture
def binary(shapes_dataset: Path, tmp_path: Path) -> Path:
    """Six images of shapes in ``images``, masks in ``labels`` that are 255 where the shape is red."""
    root = tmp_path / "masks"
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for index in range(6):
        name = f"{index:02d}.png"
        shutil.copy(shapes_dataset / "train" / "images" / name, root / "images" / name)
        label = np.array(Image.open(shapes_dataset / "train" / "labels" / name))
        (root / "labels" / name).write_bytes(encode_image(np.where(label == 1, 255, 0).astype(np.uint8)))
    return root


def test_check_prints_the_shares_and_exits_1_where_something_is_wrong(
    capsys: pytest.CaptureFixture[str], shapes_dataset: Path, tmp_path: Path
) -> None:
    assert main(["data", "check", str(shapes_dataset)]) == 0
    out = capsys.readouterr().out
    assert "readable pairs: train 10, val 4, test 4" in out
    assert "\nimage sizes (HxW): all 64x80; width to height 1.25\n" in out
    assert "Nothing is wrong." in out
    root = Path(shutil.copytree(shapes_dataset, tmp_path / "data"))
    (root / "val" / "labels" / "02.png").write_bytes(b"")
    (root / "train" / "labels" / "spare.png").write_bytes(b"")
    assert main(["data", "check", str(root)]) == 1
    out = capsys.readouterr().out
    assert "02.png' does not decode" in out
    assert "1 error, 1 warning" in out
    result = run_json(capsys, "data", "check", root, "--split", "train")
    assert [warning["kind"] for warning in result["warnings"]] == ["unused_label"]
    assert result["image_sizes"] == ImageSizes({(64, 80): 10}).to_dict()
    run_json(capsys, "data", "check", root, "--split", "train", "--strict", status=1)
    (error,) = run_json(capsys, "data", "check", root, status=1)["errors"]
    assert (error["kind"], Path(error["path"]).name) == ("does_not_decode", "02.png")


def test_check_needs_to_know_the_classes(capsys: pytest.CaptureFixture[str], voc_dataset: Path) -> None:
    assert main(["data", "check", str(voc_dataset)]) == 2
    assert "or give --classes a,b,c" in capsys.readouterr().err
    result = run_json(capsys, "data", "check", voc_dataset, *VOC)
    assert (result["layout"], result["label_encoding"]) == ("voc", "ids")
    (warning,) = run_json(capsys, "data", "check", voc_dataset, "--classes", "wall,red,blue,sky")["warnings"]
    assert warning["path"] == "sky"


def test_check_prints_the_statistics_as_options(
    capsys: pytest.CaptureFixture[str], shapes_dataset: Path, binary: Path, tmp_path: Path
) -> None:
    result = run_json(capsys, "data", "check", shapes_dataset, "--statistics")
    assert main(["data", "check", str(shapes_dataset), "--statistics"]) == 0
    *_, last = capsys.readouterr().out.splitlines()
    program, mean, other, std = last.split()
    assert (program, other) == ("--mean", "--std")
    assert [mean, std] == [",".join(f"{value:g}" for value in result["statistics"][name]) for name in ("mean", "std")]
    # Of the training images, or of those that are checked; of data that is not split, of all.
    of_val = run_json(capsys, "data", "check", shapes_dataset, "--statistics", "--split", "val")
    assert of_val["statistics"] != result["statistics"]
    assert main(["data", "check", str(binary), "--classes", "a,b", "--statistics"]) == 0
    assert "--mean " in capsys.readouterr().out
    (binary / "images" / "00.png").write_bytes(b"")
    assert main(["data", "check", str(binary), "--classes", "a,b", "--statistics"]) == 1
    assert "edgeseg: no statistics of data with errors." in capsys.readouterr().err


def test_labelme_then_split_then_check(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    rng = np.random.default_rng(0)
    for index in range(5):
        (notes / f"{index}.png").write_bytes(encode_image(rng.integers(0, 256, (20, 30, 3), np.uint8)))
        square = {"label": "cat", "points": [[0, 0], [9, 9]], "shape_type": "rectangle"}
        document = {"shapes": [square], "imagePath": f"{index}.png", "imageData": None}
        (notes / f"{index}.json").write_text(json.dumps(document))
    made = run_json(capsys, "data", "labelme", notes, "--classes", "background,cat")
    assert made == {
        "format_version": 1, "folder": f"{notes}-labels", "num_pairs": 5, "num_shapes": {"background": 0, "cat": 5}
    }  # fmt: skip
    shared = run_json(capsys, "data", "split", made["folder"], "--val", "0.2", "--test", "0.2")
    assert shared["counts"] == {"train": 3, "val": 1, "test": 1}
    result = run_json(capsys, "data", "check", shared["folder"])
    assert result["layout"] == "lists"
    assert result["splits"]["train"]["pixels"] == {"background": 3 * 500, "cat": 3 * 100}
    assert main(["data", "labelme", str(notes), "--classes", "background,dog", "--overwrite"]) == 2
    assert "'cat', which is none of the classes" in capsys.readouterr().err


def test_the_commands_that_come_next_can_be_pasted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    notes = tmp_path / "my notes"
    notes.mkdir()
    for index in range(2):
        (notes / f"{index}.png").write_bytes(encode_image(np.full((4, 6, 3), index, np.uint8)))
        document = {"shapes": [], "imagePath": f"{index}.png", "imageData": None}
        (notes / f"{index}.json").write_text(json.dumps(document))
    assert main(["data", "labelme", str(notes), "--classes", "background,cat"]) == 0
    *_, following = capsys.readouterr().out.splitlines()
    assert following.startswith(f"Next: edgeseg data split '{notes}-labels' --val")
    program, *args = shlex.split(following.removeprefix("Next: "))
    assert program == "edgeseg"
    assert main([*args[:3], "--val", "0.5", "--test", "0"]) == 0
    *_, following = capsys.readouterr().out.splitlines()
    folder = f"{notes}-labels-split"
    assert following == f"Next: edgeseg data check '{folder}'  |  edgeseg train MODEL --data '{folder}'"


def test_a_hint_has_the_options_that_the_data_needs(
    capsys: pytest.CaptureFixture[str], binary: Path, tmp_path: Path
) -> None:
    """Its folder has a blank in its name and no classes.json, and its labels are 0 and 255."""
    folder = binary.rename(tmp_path / "my masks")
    data = ("--data", str(folder), "--classes", "rest,red", "--label-encoding", "binary")
    run = ("--output-dir", str(tmp_path / "run"))

    def hint(ending: str, *command: str) -> list[str]:
        assert main([*command, *data]) == 2
        found = re.search(rf"with edgeseg (data split .*{ending})\.$", capsys.readouterr().err)
        assert found is not None
        return shlex.split(found[1])

    split = hint("--val 0.1 --test 0.1", "evaluate", "m.tflite")
    assert hint("--val 0.1 --test 0.1", "train", "unet_mini", *run) == split
    assert main(split) == 0
    (folder / "train").mkdir()
    for part in ("images", "labels"):
        (folder / part).rename(folder / "train" / part)
    lists = tmp_path / "lists"
    assert main([*hint("--val 0.1", "train", "unet_mini", *run), "--output-dir", str(lists)]) == 0
    assert sorted(path.name for path in lists.iterdir()) == ["classes.json", "train.txt", "val.txt"]
    assert not (tmp_path / "run").exists()


def test_training_stops_before_it_starts_with_a_list_of_the_bad_files(
    capsys: pytest.CaptureFixture[str], shapes_dataset: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(shapes_dataset, tmp_path / "data"))
    (root / "train" / "images" / "01.png").write_bytes(b"no image")
    (root / "train" / "labels" / "02.png").write_bytes(encode_image(np.zeros((64, 79), np.uint8)))
    (root / "train" / "labels" / "03.png").write_bytes(encode_image(np.full((64, 80), 7, np.uint8)))
    for path in (root / "val" / "images").iterdir():
        path.unlink()
    run = tmp_path / "run"
    assert main(["train", "unet_mini", "--data", str(root), "--output-dir", str(run)]) == 2
    lines = capsys.readouterr().err.splitlines()
    said = ["val/images' has no images", "01.png' does not decode", "02.png' is (64, 79)", "03.png' has ids"]
    assert len(lines) == 5
    assert all(text in line for text, line in zip(said, lines, strict=False))
    assert lines[4].startswith("edgeseg: the data has 4 problems, so nothing was trained.")
    assert not run.exists()


@pytest.mark.slow
@pytest.mark.usefixtures("op_by_op")
def test_voc_with_palette_masks_is_trained_on_scored_and_exported_with(
    capsys: pytest.CaptureFixture[str], voc_dataset: Path, tmp_path: Path
) -> None:
    pytest.importorskip("keras")
    data = ("--data", voc_dataset, *VOC)
    size = ("--imgsz", "32,48", "--batch-size", "2", "--epochs", "1", "--warmup-epochs", "0")
    trained = run_json(capsys, "train", "unet_mini", *data, *size, "--output-dir", tmp_path / "run")
    assert len(trained["history"]) == 1
    score = run_json(capsys, "evaluate", trained["best"], *data, "--split", "val")
    assert score["num_images"] == 2
    assert set(score["per_class_iou"]) == {"wall", "red", "blue"}
    (artifact,) = run_json(capsys, "export", trained["best"], *data, "--output-dir", tmp_path)["artifacts"]
    assert artifact["verification"]["images"] == f"{voc_dataset.name}/val"


@pytest.mark.slow
@pytest.mark.usefixtures("op_by_op")
def test_binary_masks_are_split_and_trained_on(
    capsys: pytest.CaptureFixture[str], binary: Path, tmp_path: Path
) -> None:
    pytest.importorskip("keras")
    lists = run_json(capsys, "data", "split", binary, "--classes", "other,red", "--val", "0.3", "--test", "0")
    assert lists["counts"] == {"train": 4, "val": 2}
    size = ("--imgsz", "32,48", "--batch-size", "2", "--epochs", "1", "--warmup-epochs", "0")
    trained = run_json(capsys, "train", "unet_mini", "--data", lists["folder"], *size, "--output-dir", tmp_path / "run")
    assert 0 <= trained["best_mean_iou"] <= 1
    again = ("train", "unet_mini", "--data", lists["folder"], *size, "--output-dir", tmp_path / "run", "--resume")
    assert run_json(capsys, *again)["history"] == trained["history"]
