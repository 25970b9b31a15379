"""``edgeseg.cli._tiles``: ``predict --tiles`` and ``evaluate --tiles`` as commands, and a kill in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import edgeseg
from edgeseg.cli import main
from edgeseg.segmenter import Segmenter

rasterio = pytest.importorskip("rasterio")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The persons of a proof many times, 2,000 x 600 pixels as a COG in UTM, the last columns without a value."""
    folder = tmp_path_factory.mktemp("scene")
    with zipfile.ZipFile(Path(edgeseg.__file__).parent / "models" / "packaged" / "person.proof.zip") as proof:
        data = np.frombuffer(proof.read("images/00.png"), np.uint8)
    person = np.maximum(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), 1)  # 0 is no value here
    image = np.moveaxis(np.tile(person, (8, 3, 1))[:2000, :600], 2, 0).copy()
    image[:, :, 500:] = 0
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 6e5, 0, -10, 5.4e6), "nodata": 0}
    with rasterio.open(
        folder / "scene.tif", "w", driver="COG", count=3, height=2000, width=600, dtype="uint8", **place
    ) as file:
        file.write(image)
    return folder / "scene.tif"


def window(path: Path, top: int, height: int) -> NDArray[np.uint8]:
    with rasterio.open(path) as file:
        read: NDArray[np.uint8] = file.read(window=rasterio.windows.Window(0, top, file.width, height))
        return read


def test_a_killed_run_goes_on_to_a_cog_with_the_place_of_its_source(
    scene: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "classes.tif"
    arguments = ["predict", "person", str(scene), "--tiles", "--save", str(target)]
    journal = tmp_path / "classes.tif.part.json"
    with subprocess.Popen([sys.executable, "-m", "edgeseg", *arguments]) as child:
        while not journal.exists() or json.loads(journal.read_text())["bands"] < 3:
            assert child.poll() is None
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
    rows = json.loads(journal.read_text())["rows"]
    assert 576 <= rows < 2000
    assert not target.exists()
    capfd.readouterr()
    assert main([*arguments, "--json"]) == 0
    out, err = capfd.readouterr()
    assert f"went on at row {rows} of 2000" in err
    (image,) = json.loads(out)["images"]
    assert image["files"] == [str(target)]
    assert min(image["counts"].values()) > 1000  # both classes
    assert sum(image["counts"].values()) == 2000 * 500
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classes.tif"]
    with rasterio.open(scene) as source, rasterio.open(target) as file:
        assert (file.crs, file.transform, file.shape) == (source.crs, source.transform, source.shape)
        assert (file.nodata, file.count, file.dtypes) == (255, 1, ("uint8",))
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert (window(target, 0, 2000)[0, :, 500:] == 255).all()
    # Windows of 256 rows begin every 192: those of a part that begins there too are those of the scene.
    assert rows % 192 == 0
    with Segmenter("person") as segmenter:
        part = np.moveaxis(window(scene, rows - 384, 960), 0, -1).copy()
        part[:, 500:] = 128  # what the model sees where nothing is known, the color of bars
        classes = segmenter.tiled(part).class_map
    assert (window(target, rows - 128, 320)[0, :, :500] == classes[256:576, :500]).all()


@pytest.mark.parametrize("tolerance", [[], ["--tolerance", "5crs"], ["--tolerance", "0.4px"]])
def test_polygons_of_a_geotiff_are_on_its_map(
    artifact: Path, tmp_path: Path, tolerance: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    from rasterio.features import rasterize

    # Four bands of 16 bits, of which the last three are smooth: areas of many pixels.
    noise = np.random.default_rng(5).normal(size=(4, 70, 90)).astype(np.float32)
    smooth = np.stack([cv2.GaussianBlur(band, (0, 0), 6) for band in noise])
    values = ((smooth - smooth.min()) / np.ptp(smooth) * 3000).astype(np.uint16)
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 6e5, 0, -10, 5.4e6)}
    path = tmp_path / "scene.tif"
    with rasterio.open(path, "w", driver="GTiff", count=4, height=70, width=90, dtype="uint16", **place) as file:
        file.write(values)
    bands = ["--bands", "4,3,2", "--band-range", "0,3000"]
    save = ["--save", str(tmp_path / "out"), "--visualize", "ids", "--paint-background"]
    command = ["predict", str(artifact), str(path), *bands, *save, "--polygons", "geojson", *tolerance]
    assert main(command) == 0
    ids = cv2.imread(str(tmp_path / "out" / "scene.ids.png"), cv2.IMREAD_UNCHANGED)
    assert ids is not None
    document = json.loads((tmp_path / "out" / "scene.geojson").read_text())
    assert document["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32632"
    assert len({feature["properties"]["class_id"] for feature in document["features"]}) > 1
    for feature in document["features"]:
        assert feature["properties"]["area_crs"] == feature["properties"]["area_px"] * 100
    for class_id in np.unique(ids):
        shapes = [f["geometry"] for f in document["features"] if f["properties"]["class_id"] == class_id]
        mask = rasterize(shapes, out_shape=(70, 90), transform=place["transform"]).astype(bool)
        there = ids == class_id
        assert (mask & there).sum() >= 0.99 * (mask | there).sum()
    if not tolerance:
        assert main([*command, "--tolerance", "251crs", "--overwrite"]) == 2
        assert "25.1 pixels of 'scene'" in capfd.readouterr().err


def test_images_are_segmented_at_their_own_size(artifact: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (70, 90, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), pixels[..., ::-1])
    for overlap in ([], ["--overlap", "0"]):
        save = ["--save", str(tmp_path / "ids.png"), "--visualize", "ids", "--overwrite"]
        assert main(["predict", str(artifact), str(tmp_path / "a.png"), "--tiles", *overlap, *save]) == 0
        ids = cv2.imread(str(tmp_path / "ids.png"), cv2.IMREAD_UNCHANGED)
        with Segmenter(artifact) as segmenter:
            expected = segmenter.tiled(pixels, overlap=0 if overlap else None).class_map
            assert (ids == expected).all()
            assert not (segmenter(pixels).class_map == expected).all()


def test_evaluate_scores_tiles(artifact: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(4)
    for kind, size in (("images", (70, 90, 3)), ("labels", (70, 90))):
        folder = tmp_path / "val" / kind
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "a.png"), rng.integers(0, 5, size, np.uint8) * (50 if kind == "images" else 1))
    names = {"names": [f"class_{index}" for index in range(5)], "palette": [[index] * 3 for index in range(5)]}
    (tmp_path / "classes.json").write_text(json.dumps(names))
    results = []
    for tiles in ([], ["--tiles"]):
        assert main(["evaluate", str(artifact), "--data", str(tmp_path), "--split", "val", "--json", *tiles]) == 0
        results.append(json.loads(capfd.readouterr().out))
    whole, tiled = results
    assert np.sum(tiled["confusion_matrix"]) == np.sum(whole["confusion_matrix"]) == 70 * 90
    assert tiled["confusion_matrix"] != whole["confusion_matrix"]
    assert main(["evaluate", str(artifact), "--data", str(tmp_path), "--overlap", "3"]) == 2
    assert "--overlap goes with --tiles" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--overlap", "3"], "--overlap goes with --tiles"),
        (["--bands", "1,x"], "'1,x' is not R,G,B: numbers with commas between"),
        (["--tiles", "--alpha", "0.3", "--save", "{out}"], "--alpha is for drawn images"),
        (
            ["--tiles", "--max-frames", "3", "--save", "{out}"],
            "--max-frames is for images and videos that are read as a",
        ),
        (
            ["--tiles", "--polygons", "coco", "--save", "{out}"],
            "--polygons is not for a raster that is read by windows",
        ),
        (["--jobs", "1", "--bands", "1,2,3"], "--bands is not for many images"),
        (["--tiles", "--bands", "1,2", "--save", "{out}"], "--bands must be three numbers from 1"),
        (["--tiles", "--bands", "1,2,4", "--save", "{out}"], "has no band 4; accepted: 1 to 3"),
        (["--tiles", "--overlap", "31", "--save", "{out}"], "--overlap must be 0 to 24 pixels"),
        (["--tiles", "--visualize", "mask", "--save", "{out}"], "--visualize is for drawn images"),
    ],
)
def test_what_does_not_go_together_says_what_to_type(
    artifact: Path, scene: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    out = str(tmp_path / "out.tif")
    typed = [out if word == "{out}" else word for word in arguments]
    assert main(["predict", str(artifact), str(scene), *typed]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert said in lines[-1]
    assert list(tmp_path.iterdir()) == []


def test_slides_need_tiles(artifact: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.svs").write_bytes(b"no slide")
    assert main(["predict", str(artifact), str(tmp_path / "a.svs")]) == 2
    assert "a.svs' is read by windows, one at a time, into its class map: type --tiles" in capfd.readouterr().err
    assert main(["predict", str(artifact), str(tmp_path / "a.svs"), "--tiles", "--save", str(tmp_path / "o.tif")]) == 2
    assert "cannot be read as a slide" in capfd.readouterr().err
