from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from edgeseg.choices import ClassPreset
from edgeseg.datasets import given_classes, read_classes, read_color_map
from edgeseg.datasets.classes import PRESETS, read_labels
from edgeseg.errors import InputError
from edgeseg.models.opening import packaged_spec
from edgeseg.spec import default_palette


def write_classes(folder: Path, data: Any) -> Path:
    path = folder / "classes.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def test_only_the_names_are_required(tmp_path: Path) -> None:
    classes = read_classes(write_classes(tmp_path, {"names": ["a", "b"]}))
    assert classes.palette == default_palette(2)
    assert classes.ignore_index is None


@pytest.mark.parametrize(
    "data",
    [
        "",
        "{",
        "[]",
        "null",
        {},
        {"names": []},
        {"names": None},
        {"names": 3},
        {"names": "abc"},
        {"names": ["a", "a"]},
        {"names": [str(n) for n in range(257)]},
        {"names": ["a"], "palette": [[0, 0]]},
        {"names": ["a"], "palette": [0]},
        {"names": ["a"], "palette": [[0, 0, 256]]},
        {"names": ["a"], "palette": [[0, 0, -1]]},
        {"names": ["a"], "palette": [[0, 0, 0], [1, 1, 1]]},
        {"names": ["a"], "ignore_index": "void"},
        {"names": ["a"], "ignore_index": [255]},
        {"names": ["a"], "ignore_index": 256},
        {"names": ["a"], "ignore_index": -1},
    ],
)
def test_a_damaged_table_is_an_input_error_that_names_the_file(tmp_path: Path, data: Any) -> None:
    with pytest.raises(InputError, match=r"classes\.json"):
        read_classes(write_classes(tmp_path, data))


def test_a_table_that_is_not_utf8_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_bytes(b'{"names": ["stra\xdfe"]}')
    with pytest.raises(InputError, match=r"classes\.json"):
        read_classes(tmp_path / "classes.json")


def test_what_classes_json_says_of_its_labels_is_kept(tmp_path: Path) -> None:
    table = {
        "names": ["a", "b"],
        "palette": [[0, 0, 0], [9, 9, 9]],
        "ignore_index": 255,
        "more_colors": [[1, 2, 3, 1], [224, 224, 192, 255]],
        "label_encoding": "colors",
    }
    classes = read_classes(write_classes(tmp_path, table))
    assert classes.more_colors == (((1, 2, 3), 1), ((224, 224, 192), 255))
    assert classes.to_dict() == table


def test_a_threshold_needs_to_say_which_side_is_class_1(tmp_path: Path) -> None:
    table = {"names": ["background", "membrane"], "binary_threshold": 9}
    path = write_classes(tmp_path, table)
    with pytest.raises(
        InputError, match=r"which side of it is class 1, 'membrane': add \"label_encoding\": \"binary\""
    ):
        read_classes(path)
    with pytest.raises(InputError, match="or give --label-encoding"):
        given_classes(str(path))
    for said in (read_classes(path, "binary-dark"), given_classes(str(path), "binary-dark")):
        assert (said.label_encoding, said.binary_threshold) == ("binary-dark", 9)
    assert read_classes(write_classes(tmp_path, {**table, "label_encoding": "binary"})).label_encoding == "binary"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"label_encoding": "gray"}, "none of ids, colors, binary, binary-dark"),
        ({"label_encoding": "binary", "names": ["a", "b", "c"]}, "two classes, not 3"),
        ({"binary_threshold": 255}, "0 to 254"),
        ({"more_colors": [[1, 2, 3, 2]]}, "id 2, which is no class"),
        ({"more_colors": [[1, 2, 256, 1]]}, "not three numbers"),
        ({"more_colors": [[1, 2, 3]]}, "not of the form"),
    ],
)
def test_what_it_says_wrongly_is_refused(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=rf"classes\.json.*{said}"):
        read_classes(write_classes(tmp_path, {"names": ["a", "b"]} | more))


def test_classes_are_given_as_names_a_file_or_voc(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("road\nside walk\n")
    assert given_classes("road, side walk").names == given_classes(str(tmp_path / "names.txt")).names
    assert given_classes("road,sky").ignore_index is None
    assert given_classes(str(write_classes(tmp_path, {"names": ["a"], "ignore_index": 3}))).ignore_index == 3
    voc = given_classes("voc")
    assert (len(voc.names), voc.names[15], voc.ignore_index) == (21, "person", 255)
    for wrong, said in (
        ("a,,b", "empty name"),
        ("a,a", "occurs twice"),
        (str(tmp_path / "gone.txt"), "cannot be read"),
    ):
        with pytest.raises(InputError, match=said):
            given_classes(wrong)


def test_more_names_than_a_file_name_has_room_for(tmp_path: Path) -> None:
    names = [f"class number {index}" for index in range(40)]
    text = ",".join(names)
    assert len(text) > 255  # where the file systems stop, and say so as an OSError
    assert given_classes(text).names == tuple(names)
    with pytest.raises(InputError, match="occurs twice"):
        given_classes(f"{text},{names[0]}")


@pytest.mark.parametrize(
    "text",
    [
        "10 20 30\troad\n1 2 3\tside walk\n4 5 6\troad\n0 0 0\tVoid\n",  # CamVid's label_colors.txt
        "# label:color_rgb:parts:actions\nroad:10,20,30::\nside walk:1,2,3::\nroad:4,5,6::\nvoid:0,0,0::\n",  # CVAT's
        "name,r,g,b\nroad,10,20,30\nside walk,1,2,3\nroad,4,5,6\nunlabelled,0,0,0\n",  # Kaggle's class_dict.csv
    ],
)
def test_a_color_map_is_read_in_the_forms_it_comes_in(tmp_path: Path, text: str) -> None:
    path = tmp_path / "colors.txt"
    path.write_text(text)
    classes = read_color_map(path)
    assert classes.names == ("road", "side walk")
    assert classes.palette == ((10, 20, 30), (1, 2, 3))
    assert classes.more_colors == (((4, 5, 6), 0), ((0, 0, 0), 255))
    assert (classes.ignore_index, classes.label_encoding) == (255, "colors")
    other_order = read_color_map(path, given_classes("side walk,road"))
    assert other_order.palette == ((1, 2, 3), (10, 20, 30))
    assert other_order.more_colors[0] == ((4, 5, 6), 1)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("  10 20 30  side, walk : ", "side, walk"),
        ("10 20 30 1 2 3", "1 2 3"),
        ("side, walk; 10,20 30  ", "side, walk"),
        ("class 1:10,20,30::4,5", "class 1"),
        ("class 1 2 10 20 30", "class 1 2"),
        ("straße\t010\t20\t30", "straße"),
    ],
)
def test_what_is_the_name_on_a_line_of_a_color_map(line: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "colors.txt").write_text(line, encoding="utf-8")
    classes = read_color_map(tmp_path / "colors.txt")
    assert (classes.names, classes.palette) == ((name,), ((10, 20, 30),))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no line with a name"),
        ("road 1 2 3\nsky 1 2\n", "line 2, 'sky 1 2', is not a name and three numbers"),
        ("road 1 2 3\nsky 1 2 256\n", "line 2"),
        ("road 1 2 3\nsky 1 2 3\n", r"gives the color \(1, 2, 3\) to 'road' and to 'sky'"),
    ],
)
def test_a_damaged_color_map_is_an_input_error(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "colors.txt").write_text(text)
    with pytest.raises(InputError, match=said):
        read_color_map(tmp_path / "colors.txt")


def test_a_color_map_must_fit_the_classes(tmp_path: Path) -> None:
    (tmp_path / "colors.txt").write_text("road 1 2 3\n")
    with pytest.raises(InputError, match="has no color of sky"):
        read_color_map(tmp_path / "colors.txt", given_classes("road,sky"))
    with pytest.raises(InputError, match="color of 'road', which is none of sky"):
        read_color_map(tmp_path / "colors.txt", given_classes("sky"))


def test_presets_lists_and_files_are_one_thing(tmp_path: Path) -> None:
    assert set(PRESETS) == set(get_args(ClassPreset))
    packaged = packaged_spec("efficientnet_lite0_unet")
    assert packaged is not None
    camvid = given_classes("camvid")
    kept = (packaged.class_names, packaged.palette, packaged.ignore_index)
    assert (camvid.names, camvid.palette, camvid.ignore_index) == kept
    assert [len(given_classes(name).names) for name in ("voc", "cityscapes")] == [21, 19]
    for name in PRESETS:
        classes = given_classes(name)
        assert len(set(classes.palette)) == len(classes.palette) == len(classes.names)
        assert given_classes(str(write_classes(tmp_path, classes.to_dict()))) == classes
    assert given_classes("person").names == ("person",)
    with pytest.raises(
        InputError, match=r"'camvids' is no file of class names\. Did you mean 'camvid'\? Accepted: a,b,c;"
    ):
        given_classes("camvids")
    with pytest.raises(
        InputError, match=r"'nowhere/labels' is no file of class names\. Accepted: .* voc, camvid, city"
    ):
        given_classes("nowhere/labels")


def test_a_file_of_labels(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("road\n side walk \r\nsky\n\n", encoding="utf-8")
    assert read_labels(path) == ("road", "side walk", "sky")
    path.write_text(
        "\ufeff# of my camera\n\n0 road\n1: side walk # for people\n4\tsky\n   \n# the end", encoding="utf-8"
    )
    assert read_labels(path) == ("road", "side walk", "class_2", "class_3", "sky")
    path.write_text("0 road\nsky\n")  # no index where one line has none
    assert read_labels(path) == ("0 road", "sky")
    for text in ("1 road\n1 sky", "0 road\n256 sky"):
        path.write_text(text)
        with pytest.raises(InputError, match="must have ids from 0 to 255, each once"):
            read_labels(path)
    path.write_text("road\n\nsky")
    with pytest.raises(InputError, match="one class name a line, without empty lines"):
        read_labels(path)
    with pytest.raises(InputError, match="cannot be read as text"):
        read_labels(tmp_path)


def test_british_names_of_an_earlier_edgeseg_are_read(tmp_path: Path) -> None:
    table = {"names": ["a", "b"], "ignore_index": 255, "label_encoding": "colours", "more_colours": [[1, 2, 3, 255]]}
    classes = read_classes(write_classes(tmp_path, table))
    assert classes.label_encoding == "colors"
    assert classes.more_colors == (((1, 2, 3), 255),)


def test_classes_that_are_altered_anywhere_are_read_or_refused(
    tmp_path: Path, read_altered: Callable[..., tuple[int, int]]
) -> None:
    def read(text: str) -> None:
        classes = read_classes(write_classes(tmp_path, text))
        assert read_classes(write_classes(tmp_path, classes.to_dict())) == classes

    table = {"names": ["a", "b"], "palette": [[0, 0, 0], [9, 9, 9]], "ignore_index": 255}
    more = {"more_colors": [[1, 2, 3, 1]], "label_encoding": "binary", "binary_threshold": 9}
    accepted, refused = read_altered(read, table | more)
    assert refused > accepted > 0


def test_numbers_may_have_a_point_and_names_be_numbers(tmp_path: Path) -> None:
    """As numpy and pandas write them."""
    table = {"names": [0, 1.5], "palette": [[0.0, 128.0, 255], [1, 2, 3]], "ignore_index": 255.0}
    classes = read_classes(write_classes(tmp_path, table))
    assert (classes.names, classes.palette, classes.ignore_index) == (("0", "1.5"), ((0, 128, 255), (1, 2, 3)), 255)


def test_a_color_map_of_a_million_entries_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "colors.txt"
    path.write_text("1 2 3 c\n" * 1_000_000)
    with pytest.raises(InputError, match="has 1000000 lines; at most 100000 are read"):
        read_color_map(path)
    path.write_text("".join(f"{n % 256} {n // 256 % 256} {n >> 16} c{n}\n" for n in range(100_000)))
    with pytest.raises(InputError, match="has 100000 classes; accepted: 1 to 256"):
        read_color_map(path)
