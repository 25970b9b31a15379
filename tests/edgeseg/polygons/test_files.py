"""``files``, ``options``, ``areas``, ``coco``, ``geojson``, ``georeference``, ``keyhole``, ``labelme``,
``image_files``: areas out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg.datasets import labelme as reader
from edgeseg.errors import InputError
from edgeseg.polygons.files import PolygonFiles
from edgeseg.polygons.georeference import Georeference
from edgeseg.polygons.keyhole import without_holes
from edgeseg.polygons.options import PolygonOptions
from edgeseg.polygons.raster import drawn, ring_area
from edgeseg.polygons.trace import polygons_of
from edgeseg.spec import ModelSpec


@pytest.fixture
def class_map() -> NDArray[np.uint8]:
    """A square with two round holes, one with a disc in it; a thin line; noise."""
    ids = np.zeros((60, 90), np.uint8)
    ids[4:44, 5:55] = 1
    for x, class_id in ((18, 0), (40, 2)):
        cv2.circle(ids, (x, 22), 9, 0, cv2.FILLED)
        cv2.circle(ids, (x, 22), 5, class_id, cv2.FILLED)
    cv2.line(ids, (60, 3), (85, 20), 2, 1)
    ids[46:, 60:] = np.random.default_rng(0).integers(0, 3, (14, 30))
    return ids


def geojson(folder: Path, spec: ModelSpec, class_map: NDArray[np.uint8], **about: Any) -> dict[str, Any]:
    with PolygonFiles(folder, spec) as files:
        (path,) = files.write("a", class_map, **about)
    document = json.loads(path.read_text())
    assert isinstance(document, dict)
    return document


def rings_of(feature: dict[str, Any]) -> list[NDArray[np.float64]]:
    return [np.array(ring[:-1]) for ring in feature["geometry"]["coordinates"]]


def test_geojson_has_every_area_with_its_holes(
    tmp_path: Path, tiny_spec: ModelSpec, class_map: NDArray[np.uint8]
) -> None:
    document = geojson(tmp_path, tiny_spec, class_map, path=Path("x/a.jpg"))
    assert document["image"] == {"file_name": "a.jpg", "width": 90, "height": 60}
    for class_id, name in enumerate(tiny_spec.class_names):
        features = [feature for feature in document["features"] if feature["properties"]["class"] == name]
        assert {feature["properties"]["class_id"] for feature in features} == {class_id}
        rings = [ring for feature in features for ring in rings_of(feature)]
        np.testing.assert_array_equal(drawn(rings, (60, 90)), class_map == class_id)
        for feature in features:
            # RFC 7946, 3.1.6: closed; exteriors counterclockwise, holes clockwise.
            assert all(ring[0] == ring[-1] for ring in feature["geometry"]["coordinates"])
            exterior, *holes = map(ring_area, rings_of(feature))
            assert exterior > 0 and all(hole < 0 for hole in holes)
    square = next(feature for feature in document["features"] if feature["properties"]["class"] == "square")
    assert len(square["geometry"]["coordinates"]) == 3
    assert square["properties"]["area_px"] == int(drawn(rings_of(square), (60, 90)).sum())


def test_geojson_has_the_coordinates_of_a_map(tmp_path: Path, tiny_spec: ModelSpec) -> None:
    class_map = np.zeros((50, 40), np.uint8)
    class_map[10:30, 5:25] = 1
    # Half a meter a pixel, north above.
    utm = Georeference((0.5, 0, 399_960, 0, -0.5, 5_600_040), "EPSG:32633")
    document = geojson(tmp_path, tiny_spec, class_map, georeference=utm, spacing_mm=(500, 500))
    assert document["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32633"
    square = document["features"][1]
    (ring,) = rings_of(square)
    assert sorted(map(tuple, ring)) == [
        (399_962.5, 5_600_025), (399_962.5, 5_600_035), (399_972.5, 5_600_025), (399_972.5, 5_600_035),
    ]  # fmt: skip
    assert ring_area(ring) == 100  # counterclockwise on the map too
    sizes = {name: square["properties"][name] for name in ("area_px", "area_crs", "area_mm2")}
    assert sizes == {"area_px": 400, "area_crs": 100, "area_mm2": 1e8}
    degrees = Georeference((1e-5, 0, 13.1, 0, -1e-5, 52.5))
    assert (degrees.decimals, utm.decimals) == (7, 3)


def test_a_tolerance_in_units_of_a_map_is_one_in_pixels(
    tmp_path: Path, tiny_spec: ModelSpec, class_map: NDArray[np.uint8]
) -> None:
    # Pixels of 10 x 4 meters, turned by 30 degrees: along the longer side nothing may be farther than the tolerance.
    turned = np.array([[np.cos(np.pi / 6), -np.sin(np.pi / 6)], [np.sin(np.pi / 6), np.cos(np.pi / 6)]]) @ np.diag(
        [10, -4]
    )
    place = Georeference((*turned[0].tolist(), 0.0, *turned[1].tolist(), 0.0))
    assert place.longest_pixel == pytest.approx(10)
    areas = []
    for number, options in enumerate((PolygonOptions(tolerance=2), PolygonOptions(tolerance=20, tolerance_unit="crs"))):
        with PolygonFiles(tmp_path / str(number), tiny_spec, options) as files:
            (path,) = files.write("a", class_map, georeference=place)
        areas.append(path.read_text())
    assert areas[0] == areas[1]
    with PolygonFiles(tmp_path / "2", tiny_spec, PolygonOptions(tolerance=251, tolerance_unit="crs")) as files:
        with pytest.raises(
            InputError, match=r"the tolerance is 25\.1 pixels of 'a'; accepted: up to 25, which are 250"
        ):
            files.write("a", class_map, georeference=place)
        with pytest.raises(InputError, match=r"'a' has no place on a map, .* give pixels, as `tolerance=0.5`"):
            files.write("a", class_map)


def test_pycocotools_gives_the_masks_again(
    tmp_path: Path, tiny_spec: ModelSpec, class_map: NDArray[np.uint8], capsys: pytest.CaptureFixture[str]
) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    maps = [class_map, class_map[:, ::-1].copy(), np.zeros((7, 5), np.uint8)]
    with PolygonFiles(tmp_path, tiny_spec, PolygonOptions("coco")) as files:
        for number, each in enumerate(maps):
            assert files.write(f"clip_{number:06d}", each, spacing_mm=(2, 0.5)) == []
        assert not (tmp_path / "annotations.json").exists(), "it has its name when it is complete"
    found = coco.COCO(str(tmp_path / "annotations.json"))
    capsys.readouterr()
    assert [(c["id"], c["name"]) for c in found.loadCats(found.getCatIds())] == [
        (1, "background"), (2, "square"), (3, "disc"),
    ]  # fmt: skip
    images = found.loadImgs(found.getImgIds())
    assert [image["file_name"] for image in images] == [f"clip_{number:06d}.png" for number in range(3)]
    for image, each in zip(images, maps, strict=True):
        masks = np.zeros((3, *each.shape), bool)
        for annotation in found.loadAnns(found.getAnnIds(imgIds=[image["id"]])):
            mask = found.annToMask(annotation).astype(bool)
            # At the default tolerance of 0.5, to the pixel.
            assert mask.sum() == annotation["area"] == annotation["area_mm2"]
            assert isinstance(annotation["segmentation"], dict) == bool(_holes(mask))
            ys, xs = np.nonzero(mask)
            left, top, width, height = annotation["bbox"]
            assert (left, top, left + width, top + height) == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
            masks[annotation["category_id"] - 1] |= mask
        np.testing.assert_array_equal(masks, each == np.arange(3)[:, None, None])


def _holes(mask: NDArray[np.bool_]) -> int:
    """Parts of the rest that do not reach the border; 8-connected, as areas are 4-connected."""
    rest = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    return cv2.connectedComponents(rest, connectivity=8)[0] - 2


def test_a_coco_run_that_fails_leaves_nothing(tmp_path: Path, tiny_spec: ModelSpec) -> None:
    with pytest.raises(KeyError), PolygonFiles(tmp_path / "new", tiny_spec, PolygonOptions("coco")) as files:
        files.write("a", np.ones((9, 9), np.uint8))
        raise KeyError
    assert not (tmp_path / "new").exists()
    with PolygonFiles(tmp_path, tiny_spec, PolygonOptions("coco")) as files:
        pass
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "annotations.json").write_text("mine")
    with pytest.raises(InputError, match=r"annotations.json' exists"):
        PolygonFiles(tmp_path, tiny_spec, PolygonOptions("coco"))
    (tmp_path / "a.geojson").write_text("mine")
    with PolygonFiles(tmp_path, tiny_spec) as files, pytest.raises(InputError, match=r"a.geojson' exists"):
        files.write("a", np.ones((9, 9), np.uint8))


def test_labelme_reads_what_is_written(tmp_path: Path, tiny_spec: ModelSpec, class_map: NDArray[np.uint8]) -> None:
    class_map[46:] = 0  # pixels alone become crosses of five in labelme's drawing
    with PolygonFiles(tmp_path / "out", tiny_spec, PolygonOptions("labelme", min_area=2)) as files:
        (path,) = files.write("a", class_map, path=tmp_path / "images" / "a.png")
    document = json.loads(path.read_text())
    assert (document["imagePath"], document["imageHeight"], document["imageWidth"]) == ("../images/a.png", 60, 90)
    assert all(shape["shape_type"] == "polygon" for shape in document["shapes"])
    ids = {"background": 0, "square": 1, "disc": 2}
    shapes = reader._read(path, ids).shapes
    again = reader.draw(shapes, (60, 90), ids)
    # labelme fills the pixels that a border crosses, too, so that later shapes are larger by up to a pixel.
    wrong = again != class_map
    border = cv2.dilate(cv2.morphologyEx(class_map, cv2.MORPH_GRADIENT, np.ones((3, 3))), np.ones((3, 3))) > 0
    assert not wrong[~border].any()
    assert wrong.mean() < 0.06


@pytest.mark.parametrize("tolerance", [0, 0.5])
def test_holes_joined_to_the_exterior_are_holes(class_map: NDArray[np.uint8], tolerance: float) -> None:
    noise = np.random.default_rng(2).random((40, 50)) < 0.9
    for mask in (class_map == 1, class_map == 0, noise):
        for polygon in polygons_of(mask, tolerance=tolerance):
            ring = without_holes(polygon)
            assert len(ring) == sum(map(len, polygon.rings)) + 3 * len(polygon.holes)
            # Cuts are level lines at halves at most, so that a center may be on one: it is passed twice, and stays in.
            np.testing.assert_array_equal(drawn([ring], mask.shape), drawn(polygon.rings, mask.shape))


def test_classes_that_are_not_shown_and_ids_of_no_class_are_not_written(tmp_path: Path, tiny_spec: ModelSpec) -> None:
    class_map = np.array([[0, 1, 2, 255]], np.uint8).repeat(4, axis=0)
    shown = np.ones(256, bool)
    shown[0] = False
    with PolygonFiles(tmp_path, tiny_spec, PolygonOptions(min_area=4), shown=shown) as files:
        (path,) = files.write("a", class_map)
    names = [feature["properties"]["class"] for feature in json.loads(path.read_text())["features"]]
    assert names == ["square", "disc"]
    assert files.num_areas == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (PolygonOptions(tolerance=-1), "`tolerance` must be from 0 to 25 pixels, got -1"),
        (PolygonOptions(tolerance=float("nan")), "`tolerance` must be from 0 to 25 pixels, got nan"),
        (PolygonOptions(tolerance=-1, tolerance_unit="crs"), "`tolerance` must be 0 or more, got -1"),
        (PolygonOptions(tolerance=float("inf"), tolerance_unit="crs"), "`tolerance` must be 0 or more, got inf"),
        (PolygonOptions(min_area=0), "`min_area` must be 1 pixel or more, got 0"),
    ],
)
def test_options_that_cannot_be_are_refused(
    options: PolygonOptions, said: str, tmp_path: Path, tiny_spec: ModelSpec
) -> None:
    with pytest.raises(InputError, match=said):
        PolygonFiles(tmp_path, tiny_spec, options)
