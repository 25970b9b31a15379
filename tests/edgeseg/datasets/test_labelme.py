from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseg.datasets import labelme, open_split
from edgeseg.datasets.labelme import Shape, _image, _read, _size, convert, draw
from edgeseg.errors import InputError
from edgeseg.imaging import encode_image

IDS = {"a": 1, "b": 2}
IMAGE = encode_image(np.full((20, 30, 3), 90, np.uint8))


def shape(label: str, points: list[list[float]], kind: str | None = "polygon") -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}}


def write(folder: Path, name: str, *shapes: dict[str, Any], **other: Any) -> Path:
    """A file as labelme 5 writes it."""
    folder.mkdir(exist_ok=True)
    document = {"version": "5.4.1", "flags": {}, "shapes": list(shapes), "imagePath": f"{name}.png", "imageData": None}
    document |= {"imageHeight": 20, "imageWidth": 30} | other
    (folder / f"{name}.json").write_text(json.dumps(document))
    return folder


def test_shapes_cover_their_pixels_and_later_ones_lie_on_top() -> None:
    label = draw(
        [
            Shape(label="a", points=((2, 3), (12, 3), (12, 9), (2, 9))),  # old files have no shape_type
            Shape(label="b", points=((25.0, 15.0), (10.0, 6.0)), shape_type="rectangle"),  # from its end
        ],
        (20, 30),
        IDS,
    )
    expected = np.zeros((20, 30), np.uint8)
    expected[3:10, 2:13] = 1
    expected[6:16, 10:26] = 2
    assert (label == expected).all()


def test_a_circle_goes_through_its_second_point() -> None:
    label = draw([Shape(label="b", points=((15.0, 10.0), (15.0, 4.0)), shape_type="circle")], (20, 30), IDS)
    rows, columns = np.mgrid[:20, :30]
    distance = np.hypot(rows - 10, columns - 15)
    assert (label[distance <= 5.5] == 2).all()
    assert (label[distance >= 7] == 0).all()


def test_a_folder_becomes_a_data_set(tmp_path: Path) -> None:
    root = write(tmp_path / "notes", "one", shape("cat", [[0, 0], [9, 0], [9, 9], [0, 9]]))
    (root / "one.png").write_bytes(IMAGE)
    inside = base64.b64encode(IMAGE).decode()
    ignored = shape("__ignore__", [[0, 0], [29, 4]], "rectangle")
    write(root, "two", ignored, imagePath="..\\gone\\two.png", imageData=inside)
    before = sorted(root.iterdir())
    steps: list[tuple[int, int]] = []
    result = convert(
        root, tmp_path / "out", ["background", "cat"], progress=lambda done, total: steps.append((done, total))
    )
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert (result.num_pairs, result.num_shapes) == (2, {"background": 0, "cat": 1})
    assert sorted(root.iterdir()) == before
    data = open_split(result.folder, "all")
    assert data.classes.names == ("background", "cat")
    (image, first), (_, second) = data[0], data[1]
    assert (image == 90).all()
    assert (first[:10, :10] == 1).all()
    assert first.sum() == 100
    assert (second[:5] == 255).all()
    assert (second[5:] == 0).all()
    with pytest.raises(InputError, match="exists; give `overwrite=True`"):
        convert(root, tmp_path / "out", ["background", "cat"])


SQUARE = [[0, 0], [9, 0], [9, 9]]


@pytest.mark.parametrize(
    ("shapes", "other", "said"),
    [
        ([shape("cta", SQUARE)], {}, r"label 'cta', which is none of the classes\. Did you mean 'cat'\?"),
        ([shape("cat", SQUARE[:2], "line")], {}, "a shape 'line' of 'cat'; accepted: polygon, rectangle, circle"),
        ([shape("cat", SQUARE[:2])], {}, "polygon of 'cat' with 2 points, which has no area"),
        ([shape("cat", SQUARE, "circle")], {}, "circle of 'cat' with 3 points"),
        ([{"label": "cat"}], {}, r"is not a JSON file of labelme: 'shapes\[0\].points' is missing"),
        ([shape("cat", [[0], [1], [2]])], {}, "is not a JSON file of labelme"),
        ([], {"imageHeight": 21}, r"drawn on an image of \(21, 30\), but its image is \(20, 30\)"),
        ([], {"imagePath": "gone.png"}, r"image 'gone\.png' of .* is neither beside it nor inside it"),
        ([], {"imagePath": "gone.png", "imageData": "&"}, "not base64"),
        ([], {"imagePath": "gone.png", "imageData": "AAAA"}, "does not decode"),
    ],
)
def test_what_cannot_be_drawn_is_an_input_error(
    tmp_path: Path, shapes: list[dict[str, Any]], other: dict[str, Any], said: str
) -> None:
    root = write(tmp_path / "notes", "a", shape("cat", SQUARE))  # good, and before the bad one
    write(root, "one", *shapes, **other)
    for name in ("a", "one"):
        (root / f"{name}.png").write_bytes(IMAGE)
    with pytest.raises(InputError, match=said):
        convert(root, tmp_path / "out", ["background", "cat"])
    assert not (tmp_path / "out").exists()


def test_a_folder_without_annotations_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no \.json files of labelme"):
        convert(tmp_path, tmp_path / "out", ["background", "cat"])
    root = write(tmp_path / "notes", "one")
    (root / "one.png").write_bytes(IMAGE)
    with pytest.raises(InputError, match="has the annotations; give a new folder"):
        convert(root, root, ["background", "cat"])


def test_an_image_inside_that_claims_too_much_is_refused_and_so_is_a_file_that_is_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (50_000).to_bytes(4, "big") * 2
    root = write(tmp_path / "in", "x", imageData=base64.b64encode(header).decode())
    with pytest.raises(InputError, match=r"x\.json' claims 50000 x 50000 pixels, more than 200000000"):
        convert(root, tmp_path / "out", ["a", "b"])
    monkeypatch.setattr(labelme, "_MAX_DOCUMENT", 100)
    with pytest.raises(InputError, match=r"x\.json' has more than 0 MiB"):
        convert(root, tmp_path / "out", ["a", "b"])
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_altered_anywhere_is_drawn_or_refused(
    tmp_path: Path, read_altered: Callable[..., tuple[int, int]]
) -> None:
    root = tmp_path / "notes"
    write(root, "one", shape("cat", [*SQUARE, [1.5, 1]]), shape("cat", SQUARE[:2], "circle"), imageHeight=20)
    (root / "one.png").write_bytes(IMAGE)
    path = root / "one.json"
    document = json.loads(path.read_text())

    def read(text: str) -> None:
        path.write_text(text)
        document = _read(path, {"cat": 1})
        draw(document.shapes, _size(path, document, _image(path, document)[1]), {"cat": 1})

    accepted, refused = read_altered(read, document)
    assert refused > accepted > 0


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ([[1e308, 1], [2, 2], [3, 3]], r"'shapes\[0\].points\[0\]\[0\]' is 1e\+308; accepted: number <= 131072"),
        ([[n % 30, n % 2 * 19] for n in range(200_001)], "accepted: list of length <= 200000"),
    ],
    ids=["far", "many"],
)
def test_what_takes_minutes_to_draw_is_refused(tmp_path: Path, points: list[list[float]], said: str) -> None:
    root = write(tmp_path / "notes", "one", shape("cat", points))
    (root / "one.png").write_bytes(IMAGE)
    with pytest.raises(InputError, match=said):
        convert(root, tmp_path / "out", ["background", "cat"])


def test_polygons_that_cross_too_many_rows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeseg.datasets.labelme._MOST_CROSSED", 40)
    root = write(tmp_path / "notes", "one", shape("cat", [[0, -9], [9, 99], [0, 1], [9, 30]]))
    (root / "one.png").write_bytes(IMAGE)
    with pytest.raises(InputError, match="go up and down over 78 rows in all; at most 40 are drawn"):
        convert(root, tmp_path / "out", ["background", "cat"])
