"""``edgeseg.cli._records`` and ``_ignored``: what commands write for other tools, and options that do nothing."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeseg.cli import main
from edgeseg.cli._records import Records
from edgeseg.imaging import encode_image, read_image
from edgeseg.polygons.raster import drawn

MODEL = str(Path(__file__).parents[2] / "data" / "saved.int8.tflite")
CLASSES = ("wall", "red", "blue")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two images, a video of 6 frames, and regions, as working directory."""
    monkeypatch.chdir(tmp_path)
    image = np.full((64, 96, 3), 200, np.uint8)
    image[16:48, 24:72] = (220, 20, 20)
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(encode_image(image))
        image = np.ascontiguousarray(image[::-1, :, ::-1])
    video = cv2.VideoWriter("clip.avi", cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 64))
    for number in range(6):
        video.write(np.roll(image, 8 * number, axis=1))
    video.release()
    left = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
    regions = {"shapes": [{"label": "left", "points": left, "shape_type": "polygon"}]}
    (tmp_path / "regions.json").write_text(json.dumps(regions))
    return tmp_path


def rows(path: str) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_polygons_of_a_run_are_its_class_maps(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["predict", MODEL, "a.png", "b.png", "--save", "out", "--visualize", "ids", "--polygons", "geojson"]
    assert main(command) == 0
    assert capsys.readouterr().err.splitlines()[-1].endswith("polygons in out")
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.geojson", "a.ids.png", "b.geojson", "b.ids.png"]
    for name in "ab":
        ids = cv2.imread(f"out/{name}.ids.png", cv2.IMREAD_UNCHANGED)
        features = json.loads(Path(f"out/{name}.geojson").read_text())["features"]
        assert set(np.unique(ids)) == {feature["properties"]["class_id"] for feature in features}
        for class_id in np.unique(ids):
            rings = [
                np.array(ring)
                for feature in features
                if feature["properties"]["class_id"] == class_id
                for ring in feature["geometry"]["coordinates"]
            ]
            np.testing.assert_array_equal(drawn(rings, (64, 96)), ids == class_id)
    # Nothing is replaced unasked, and a model is not opened before that is known.
    assert main(command) == 2
    assert "exists; give --overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0


def test_a_video_gives_one_coco_file_and_a_table(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["predict", MODEL, "clip.avi", "--vid-stride", "2", "--polygons", "coco", "--classes", "red,blue"]
    command += ["--save-counts", "counts.csv", "--region", "regions.json", "--json"]
    assert main(command) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (result["counts"], result["polygons"]["path"]) == ("counts.csv", "runs/predict/annotations.json")
    coco = json.loads(Path("runs/predict/annotations.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == [f"clip_00000{n}.png" for n in (0, 2, 4)]
    assert len(coco["annotations"]) == result["polygons"]["areas"]
    assert {each["category_id"] for each in coco["annotations"]} <= {2, 3}
    table = rows("counts.csv")
    assert [(row["name"], row["region"]) for row in table] == [
        (image["name"], region) for image in result["images"] for region in ("", "left")
    ]
    for row, image in zip(table[::2], result["images"], strict=True):
        assert float(row["time_s"]) == pytest.approx(image["time_s"]) == pytest.approx(int(row["name"][-6:]) / 10)
        assert {name: int(row[f"{name}_pixels"]) for name in CLASSES} == image["counts"]
        areas = [each["area"] for each in coco["annotations"] if each["category_id"] == 2]
        assert image["regions"]["left"]["size"] == 64 * 48
    assert sum(areas) == sum(image["counts"]["red"] for image in result["images"])
    assert not list(Path("runs/predict").glob("*.png")), "nothing is drawn where another result is asked for"


def test_labelme_files_are_beside_the_images(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", MODEL, "a.png", "--polygons", "labelme", "--polygons-dir", ".", "--min-area", "9"]) == 0
    document = json.loads(Path("a.json").read_text())
    assert read_image(document["imagePath"]).shape[:2] == (document["imageHeight"], document["imageWidth"])
    assert {shape["label"] for shape in document["shapes"]} <= set(CLASSES)


def test_counts_are_printed_by_region(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", MODEL, "a.png", "--count", "--region", "regions.json"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["Image", "Region", "Class", "Pixels", "Share"]
    whole = [int(line.split()[3]) for line in lines if line.split()[1] == "(all)"]
    left = [int(line.split()[3]) for line in lines if line.split()[1] == "left"]
    assert (sum(whole), sum(left)) == (64 * 96, 64 * 48)


def test_camera_counts_while_it_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["camera", MODEL, "--source", "clip.avi", "--no-show", "--save-counts", "live.csv"]
    assert main([*command, "--region", "regions.json"]) == 0
    assert capsys.readouterr().err.endswith("saved: live.csv\n")
    table = rows("live.csv")
    assert [(row["region"], float(row["time_s"])) for row in table] == [
        (region, number / 10) for number in range(6) for region in ("", "left")
    ]
    assert all(sum(int(row[f"{name}_pixels"]) for name in CLASSES) == int(row["pixels"]) for row in table)


def test_dicom_goes_in_and_out(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    path = Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm"
    command = ["predict", MODEL, str(path), "--window", "40,400", "--dicom-seg", "seg", "--count"]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split() == ["Image", "Class", "Pixels", "mm²"]
    assert float(out.split()[-1]) == pytest.approx(int(out.split()[-2]) * 0.661468**2, abs=0.01)  # printed so
    assert err.splitlines()[-1] == "saved: seg/CT_small.seg.dcm"
    assert pydicom.dcmread("seg/CT_small.seg.dcm").Modality == "SEG"
    assert main(["predict", MODEL, "a.png", "--dicom-seg", "seg"]) == 2
    assert "--dicom-seg is for DICOM images, and 'a.png' is none" in capsys.readouterr().err
    assert main(["predict", MODEL, str(path), "a.png", "--window", "40,400", "--count"]) == 0  # of both some
    assert main(["predict", MODEL, str(path), "--bands", "1,2,3", "--count"]) == 2
    assert "--bands is for rasters" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("a.png --region regions.json", "give --count, --save-counts FILE.csv or --json with it"),
        ("a.png --region a.png --count", "'a.png' is no file of regions"),
        ("a.png --region no.json --count", "the regions 'no.json' cannot be read"),
        ("a.png --polygons-dir out", "--polygons-dir is for --polygons geojson|coco|labelme"),
        ("a.png --polygons shapefile", "'shapefile' is not one of 'geojson', 'coco', 'labelme'"),
        ("a.png --polygons coco --tolerance 26", "--tolerance must be from 0 to 25 pixels, got 26"),
        ("a.png --window 40", "'40' is no window; accepted: center and width, as 40,400"),
        ("a.png --window 40,0", "'40,0' is no window"),
        ("a.png --polygons coco --tolerance 2m", "'2m' is no length; accepted: pixels, as 0.5 or 0.5px"),
        ("a.png --polygons coco --tolerance=-1crs", "--tolerance must be 0 or more, got -1"),
        ("a.png --polygons coco --tolerance 2crs", "--tolerance in units of a map is for rasters (.jp2, .tif, .tiff)"),
        ("a.png --count --tolerance 2", "--tolerance is for --polygons geojson|coco|labelme"),
        ("a.png --min-area 2", "--min-area is for --polygons geojson|coco|labelme"),
        ("a.png b.png --window 40,400", "--window is for DICOM images, and 'a.png' is none"),
        ("a.png --start-frame 2", "--start-frame is for videos, and 'a.png' is an image"),
        ("a.png --vid-stride 2", "--vid-stride is for videos, and 'a.png' is an image"),
        ("a.png --band-range 0,9", "--band-range is for rasters (.jp2, .tif, .tiff), and 'a.png' is none"),
        ("a.png --count --alpha 0.2", "--alpha is for drawn images: give --save with it"),
        ("a.png --json --visualize mask", "--visualize is for drawn images: give --save with it"),
        ("a.png --save-counts a.png", "'a.png' exists; give --overwrite"),
        ("a.png --polygons coco --polygons-dir .", "'annotations.json' exists; give --overwrite"),
    ],
)
def test_what_cannot_be_is_refused_before_a_model_is_opened(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: str, said: str
) -> None:
    Path("annotations.json").touch()
    assert main(["predict", "no_model.tflite", *arguments.split()]) == 2
    assert said in capsys.readouterr().err
    assert main(["camera", MODEL, "--source", "clip.avi", "--region", "regions.json", "--json"]) == 2
    assert "give --save-counts FILE.csv with it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("save", "folder"),
    [("out", "out"), ("out/", "out"), ("new/out.png", "new"), ("film.mp4", "."), ("ffmpeg:x.mp4", "runs/predict"),
     ("rtmp://host/live", "runs/predict"), (None, "runs/predict")],
)  # fmt: skip
def test_polygons_go_where_drawings_go(here: Path, save: str | None, folder: str) -> None:
    records = Records(count=False, save_counts=None, region=None, polygons=None, polygons_dir=None, dicom_seg=None)
    assert records.folder(save) == Path(folder)
