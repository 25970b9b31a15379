"""``counts``, ``regions``, ``table``: pixels of classes in images and in regions of interest, and their CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseg.counting.counts import count
from edgeseg.counting.regions import Region, Regions
from edgeseg.counting.table import CountsTable
from edgeseg.errors import InputError
from edgeseg.spec import ModelSpec

SQUARE = [[2, 1], [6, 1], [6, 5], [2, 5]]


def labelme(*shapes: dict[str, Any], **about: Any) -> dict[str, Any]:
    return {"version": "5.5.0", "shapes": list(shapes), "imageHeight": 10, "imageWidth": 20, **about}


def shape(label: str, points: list[list[float]], kind: str = "polygon") -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind}


def feature(rings: list[list[list[float]]], **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "properties": properties, "geometry": {"type": "Polygon", "coordinates": rings}}


def geojson(*features: dict[str, Any]) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(features)}


def read(tmp_path: Path, document: object) -> Regions:
    path = tmp_path / "regions.json"
    path.write_text(json.dumps(document))
    return Regions.read(path)


def test_regions_of_labelme_and_of_geojson(tmp_path: Path) -> None:
    drawn = labelme(shape("zone", SQUARE), shape("box", [[10, 2], [13, 4]], "rectangle"))
    zone, box = read(tmp_path, drawn).masks((10, 20), (10, 20))
    expected = np.zeros((10, 20), bool)
    expected[1:5, 2:6] = True
    np.testing.assert_array_equal(zone, expected)
    assert (box.sum(), box[2:4, 10:13].all()) == (6, True)
    # A hole, a height as third coordinate, a feature without a name.
    hole = [[3, 2], [4, 2], [4, 3], [3, 3], [3, 2]]
    regions = read(tmp_path, geojson(feature([SQUARE, hole], name="zone"), feature([[[*p, 7] for p in SQUARE]])))
    assert regions.names == ("zone", "region_2")
    with_hole, whole = regions.masks((10, 20), (10, 20))
    assert (with_hole.sum(), with_hole[2, 3], whole.sum()) == (15, False, 16)


def test_relative_regions_fit_images_and_maps_of_every_size(tmp_path: Path) -> None:
    half = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
    relative = read(tmp_path, labelme(shape("left", half)))
    for size in ((10, 20), (4, 6), (33, 8)):
        (mask,) = relative.masks(size, (100, 300))
        assert mask[:, : size[1] // 2].all() and not mask[:, size[1] // 2 :].any()
    # In pixels of the image, also where the map is smaller.
    pixels = read(tmp_path, labelme(shape("zone", [[0, 0], [10, 0], [10, 10], [0, 10]])))
    (mask,) = pixels.masks((5, 10), (10, 20))
    assert mask[:, :5].all() and not mask[:, 5:].any()
    with pytest.raises(
        InputError, match=r"'zone' was drawn on an image of \(10, 20\) \(H,W\), and this one is \(9, 20\)"
    ):
        pixels.masks((5, 10), (9, 20))


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, "has no region; accepted: labelme's shapes, or GeoJSON's features"),
        (labelme(shape("a", SQUARE), shape("a", SQUARE)), "two regions 'a'"),
        (labelme(shape("a", [[1, 1], [2, 3]], "circle")), "'a' is a circle of 2 points; accepted: a polygon of three"),
        (labelme(shape("a", SQUARE[:2])), "'a' is a polygon of 2 points"),
        (labelme(shape("a\x1b[2J", SQUARE)), "the name of a region with"),
        (labelme(shape("a", SQUARE * 5001)), "has 20004 points; at most 20000"),
        (labelme(*(shape(str(n), SQUARE) for n in range(257))), "a list of 257; accepted: list of length <= 256"),
        (geojson(feature([[[0, 0], [1, 1]]])), "a list of 2; accepted: list of length >= 3"),
        (
            geojson({**feature([SQUARE]), "geometry": {"type": "Point", "coordinates": [1, 2]}}),
            "regions.json' is no file",
        ),
        ([], "it is a list; accepted: object"),
    ],
)
def test_what_is_no_region_is_refused(tmp_path: Path, document: object, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, document)
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_file_that_is_altered_anywhere_is_read_or_refused(
    tmp_path: Path, read_altered: Callable[..., tuple[int, int]]
) -> None:
    path = tmp_path / "regions.json"

    def read_text(text: str) -> None:
        path.write_text(text)
        Regions.read(path).masks((10, 20), (10, 20))

    document = {**labelme(shape("zone", SQUARE)), **geojson(feature([SQUARE], name="other"))}
    accepted, refused = read_altered(read_text, document)
    assert accepted and refused
    with pytest.raises(InputError, match="cannot be read: No such file"):
        Regions.read(tmp_path / "missing.json")


def test_counts_of_an_image_and_its_regions(tiny_spec: ModelSpec) -> None:
    class_map = np.zeros((10, 20), np.uint8)
    class_map[:, 15:] = 1
    class_map[0, 0] = 255  # no class
    right = np.array([[10, 0], [20, 0], [20, 10], [10, 10]], np.float64)
    regions = Regions([Region("right", (right,), False), Region("outside", (right + 50,), False)])
    whole, half, outside = count(class_map, tiny_spec, regions, spacing_mm=(0.5, 2))
    assert (whole.region, whole.size, dict(whole.pixels)) == ("", 200, {"background": 149, "square": 50, "disc": 0})
    assert half.to_dict() == {
        "size": 100,
        "counts": {"background": 50, "square": 50, "disc": 0},
        "shares": {"background": 0.5, "square": 0.5, "disc": 0.0},
        "areas_mm2": {"background": 50, "square": 50, "disc": 0},
    }
    assert (outside.size, outside.shares) == (0, {"background": None, "square": None, "disc": None})


def test_a_table_of_frames(tmp_path: Path, tiny_spec: ModelSpec) -> None:
    regions = Regions([Region("=1+1", (np.array([[0, 0], [0.5, 0], [0.5, 1], [0, 1]]),), True)])
    path = tmp_path / "new" / "counts.csv"
    with CountsTable(path, tiny_spec) as table:
        assert not path.parent.exists()
        for number in range(3):
            class_map = np.full((4, 8), number % 3, np.uint8)
            table.add(f"clip_{number:06d}", number / 30, count(class_map, tiny_spec, regions))
        table.add("-image", None, count(class_map, tiny_spec, spacing_mm=(0.25, 0.5)))
        assert not path.exists(), "it has its name when it is complete"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], row["time_s"], row["region"], row["pixels"]) for row in rows] == [
        *(
            row
            for number, time_s in enumerate(("0.000000", "0.033333", "0.066667"))
            for row in ((f"clip_{number:06d}", time_s, "", "32"), (f"clip_{number:06d}", time_s, "'=1+1", "16"))
        ),
        # What a spreadsheet would compute is text; an image has no time.
        ("'-image", "", "", "32"),
    ]
    assert (rows[2]["square_pixels"], rows[2]["square_share"], rows[0]["square_share"]) == (
        "32",
        "1.000000",
        "0.000000",
    )
    assert (rows[0]["mm2_per_pixel"], rows[-1]["mm2_per_pixel"]) == ("", "0.125")


def test_a_growing_table_has_its_rows_at_once(tmp_path: Path, tiny_spec: ModelSpec) -> None:
    path = tmp_path / "live.csv"
    with pytest.raises(KeyError), CountsTable(path, tiny_spec, growing=True) as table:
        table.add("a", 0.0, count(np.zeros((2, 2), np.uint8), tiny_spec))
        assert len(path.read_text().splitlines()) == 2
        raise KeyError
    assert len(path.read_text().splitlines()) == 2
    with pytest.raises(InputError, match=r"live.csv' exists"):
        CountsTable(path, tiny_spec)
    with pytest.raises(KeyError), CountsTable(tmp_path / "whole.csv", tiny_spec) as table:
        table.add("a", 0.0, count(np.zeros((2, 2), np.uint8), tiny_spec))
        raise KeyError
    assert not (tmp_path / "whole.csv").exists()
