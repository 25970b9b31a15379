"""Label images of every encoding, as files that other programs write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeseg.datasets import BadExample, Classes, DataSource, open_split
from edgeseg.datasets.classes import given_classes
from edgeseg.datasets.labels import is_lossy, read_ids, read_palette, recognize_encoding
from edgeseg.spec import default_palette

IDS = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
THREE = Classes(names=("a", "b", "c"), palette=default_palette(3), ignore_index=None)
TWO = Classes(names=("a", "b"), palette=((0, 0, 0), (255, 255, 255)), ignore_index=None)
IGNORING = Classes(names=("a", "b", "c"), palette=default_palette(3), ignore_index=255)


def palette_image(ids: np.ndarray) -> Image.Image:
    image = Image.frombytes("P", ids.shape[::-1], ids.tobytes())
    image.putpalette([value for color in default_palette(256) for value in color])
    return image


def gray_png(bits: int, ids: np.ndarray) -> bytes:
    """A gray PNG of few bits, which neither OpenCV nor Pillow writes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b""
    for row in ids:
        text = "".join(f"{value:0{bits}b}" for value in row)
        text += "0" * (-len(text) % 8)
        rows += b"\0" + int(text, 2).to_bytes(len(text) // 8, "big")
    header = struct.pack(">IIBBBBB", ids.shape[1], ids.shape[0], bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(IDS),
        palette_image(IDS),
        Image.fromarray(IDS.astype(np.uint16)),
        Image.merge("RGB", [Image.fromarray(IDS)] * 3),
        Image.merge("LA", [Image.fromarray(IDS)] * 2),
    ],
    ids=["gray", "palette", "16-bit", "gray as rgb", "alpha"],
)
def test_stored_numbers_are_the_ids(tmp_path: Path, image: Image.Image) -> None:
    path = tmp_path / "label.png"
    image.save(path)
    assert recognize_encoding([path], THREE) == "ids"
    ids = read_ids(path, THREE, "ids")
    assert ids.dtype == np.uint8
    assert (ids == IDS).all()


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_ids_of_few_bits_are_not_stretched(tmp_path: Path, bits: int) -> None:
    """Decoders make 0..255 of them: id 1 of a 1-bit label would read as 255."""
    ids = IDS % 2 if bits == 1 else IDS
    (tmp_path / "few.png").write_bytes(gray_png(bits, ids))
    assert (read_ids(tmp_path / "few.png", THREE, "ids") == ids).all()


def test_a_palette_of_two_colors_is_packed_and_read_back(tmp_path: Path) -> None:
    palette_image(IDS % 2).save(tmp_path / "packed.png", bits=1)
    assert (tmp_path / "packed.png").read_bytes()[24:26] == b"\x01\x03"  # 1 bit, with a palette
    assert (read_ids(tmp_path / "packed.png", TWO, "ids") == IDS % 2).all()


def test_vocs_outline_is_ignored_and_otherwise_counted(tmp_path: Path) -> None:
    label = IDS.copy()
    label[0] = 255
    palette_image(label).save(tmp_path / "voc.png")
    assert (read_ids(tmp_path / "voc.png", IGNORING, "ids") == label).all()
    with pytest.raises(BadExample, match=r"no class: 255 \(3 pixels\).*give `ignore_index=255`\.$") as caught:
        read_ids(tmp_path / "voc.png", THREE, "ids")
    assert (caught.value.kind, caught.value.path) == ("id_out_of_range", tmp_path / "voc.png")


def test_colors_are_classes_by_the_palette_and_unknown_ones_are_counted(tmp_path: Path) -> None:
    colors = np.array([*THREE.palette, (7, 8, 9)], np.uint8)
    Image.fromarray(colors[IDS]).save(tmp_path / "rgb.png")
    assert recognize_encoding([tmp_path / "rgb.png"], THREE) == "colors"
    assert (read_ids(tmp_path / "rgb.png", THREE, "colors") == IDS).all()
    other = IDS.copy()
    other[1, :2] = 3
    Image.fromarray(colors[other]).save(tmp_path / "other.png")
    with pytest.raises(BadExample, match=r"1 color that is no class: \(7, 8, 9\) \(2 pixels\)") as caught:
        read_ids(tmp_path / "other.png", THREE, "colors")
    assert caught.value.kind == "unknown_color"
    more = Classes(names=THREE.names, palette=THREE.palette, ignore_index=255, more_colors=(((7, 8, 9), 255),))
    assert read_ids(tmp_path / "other.png", more, "colors")[1].tolist() == [255, 255, 0]
    with pytest.raises(BadExample, match="has colors, not ids; give `label_encoding='colors'`"):
        read_ids(tmp_path / "rgb.png", THREE, "ids")


def test_a_palette_may_be_read_by_its_colors(tmp_path: Path) -> None:
    """An image that a paint program sorted: its indices mean nothing, its colors do."""
    image = Image.frombytes("P", (3, 2), (2 - IDS).tobytes())
    image.putpalette([value for color in reversed(THREE.palette) for value in color])
    image.save(tmp_path / "sorted.png")
    assert (read_ids(tmp_path / "sorted.png", THREE, "colors") == IDS).all()


def test_binary_masks_are_thresholded_either_way(tmp_path: Path) -> None:
    mask = np.array([[0, 127], [128, 255]], np.uint8)
    Image.fromarray(mask).save(tmp_path / "mask.png")
    assert read_ids(tmp_path / "mask.png", TWO, "binary").tolist() == [[0, 0], [1, 1]]
    assert read_ids(tmp_path / "mask.png", TWO, "binary-dark").tolist() == [[1, 1], [0, 0]]
    low = Classes(names=TWO.names, palette=TWO.palette, ignore_index=None, binary_threshold=0)
    assert read_ids(tmp_path / "mask.png", low, "binary").tolist() == [[0, 1], [1, 1]]


def test_binary_is_recognized_from_several_labels_and_only_where_ids_cannot_be_meant(tmp_path: Path) -> None:
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for path, value in zip(paths, (0, 0, 255), strict=True):
        Image.fromarray(np.full((2, 2), value, np.uint8)).save(path)
    assert recognize_encoding(paths, TWO) == "binary"
    assert recognize_encoding(paths[:2], TWO) == "ids"
    assert recognize_encoding(paths, THREE) == "ids"
    assert recognize_encoding(paths, Classes(names=TWO.names, palette=TWO.palette, ignore_index=255)) == "ids"
    said = Classes(names=TWO.names, palette=TWO.palette, ignore_index=None, label_encoding="binary-dark")
    assert recognize_encoding([], said) == "binary-dark"


def disk(kind: str, path: Path) -> Path:
    """A white disk on black as other programs write it."""
    y, x = np.mgrid[:48, :64]
    distance = np.hypot(y - 24, x - 30) - 12
    white = (distance < 0) * np.uint8(255)
    soft = ((0.5 - distance / 3).clip(0, 1) * 255).astype(np.uint8)
    images = {
        "white.jpg": Image.fromarray(white),
        "color.jpg": Image.fromarray(np.dstack([white] * 3)),
        "soft.png": Image.fromarray(soft),
        "soft.webp": Image.fromarray(np.dstack([soft] * 3)),
        "128.png": Image.fromarray(white // 255 * np.uint8(128)),
        "16-bit.png": Image.fromarray(white.astype(np.uint16) * 257),
        "white.gif": Image.fromarray(white),
        "white.bmp": Image.fromarray(white > 0),
    }
    images[kind].save(path / kind, quality=90)
    return path / kind


@pytest.mark.parametrize(
    "kind",
    ["white.jpg", "color.jpg", "soft.png", "soft.webp", "128.png", "16-bit.png", "white.gif", "white.bmp"],
)
def test_masks_of_every_program_are_read(kind: str, tmp_path: Path) -> None:
    path = disk(kind, tmp_path)
    encoding = recognize_encoding([path], TWO)
    y, x = np.mgrid[:48, :64]
    mask = read_ids(path, TWO, encoding)
    # A JPEG and a soft edge move the outline by less than a pixel: 75 pixels of it, of 3072.
    assert (mask != (np.hypot(y - 24, x - 30) < 12)).mean() < 0.01
    assert is_lossy(path) == (kind.endswith(".jpg") or kind == "soft.webp")


def test_a_gif_is_read_by_its_colors_as_its_writers_number_them_as_they_like(tmp_path: Path) -> None:
    image = Image.frombytes("P", (3, 2), (2 - IDS).tobytes())
    image.putpalette([value for color in reversed(THREE.palette) for value in color])
    image.save(tmp_path / "label.gif")
    assert recognize_encoding([tmp_path / "label.gif"], THREE) == "colors"
    assert (read_ids(tmp_path / "label.gif", THREE, "colors") == IDS).all()
    assert read_palette(tmp_path / "label.gif") == b""


@pytest.mark.parametrize(
    ("values", "classes", "advice"),
    [
        ([0, 1, 255], TWO, r"Where 255 is no class, give `ignore_index=255` or `label_encoding='binary'`\."),
        ([1, 2], TWO, r"The ids start at 1: where 0 is no class, give `classes='unused,a,b', ignore_index=0`\."),
        ([1, 2, 3], THREE, r"The ids start at 1: .* give `classes='unused,a,b,c', ignore_index=0`\."),
        ([0, 1, 3], THREE, r"The ids are 0 to 3: where 0 is no class, give `classes='unused,a,b,c', ignore_index=0`\."),
        ([0, 100], TWO, r"gray levels, give `color_map='FILE'` with a line for each class, such as 'b 100 100 100'\."),
        ([0, 127, 254], THREE, r"gray levels, give `color_map='FILE'` .* such as 'c 254 254 254'\."),
        ([0, 1, 77, 200], TWO, r"a mask, give `label_encoding='binary'`: what is brighter than 127 is 'b'\."),
        ([0, 1, 2, 3, 4, 90], THREE, r"Ids in between come from resizing labels with interpolation"),
    ],
)
def test_ids_of_no_class_come_with_the_option_that_reads_them(
    values: list[int], classes: Classes, advice: str, tmp_path: Path
) -> None:
    Image.fromarray(np.array([values], np.uint8)).save(tmp_path / "label.png")
    with pytest.raises(BadExample, match=f"no class: .*{advice}"):
        read_ids(tmp_path / "label.png", classes, "ids")


def test_what_is_advised_works(tmp_path: Path, gray: Callable[..., Path]) -> None:
    trimap = gray(np.array([[1, 2]], np.uint8), name="trimap")
    (_, label) = open_split(DataSource(root=str(trimap), classes="unused,a,b", ignore_index=0), "all")[0]
    assert label.tolist() == [[1, 2]]
    levels = gray(np.array([[0, 100]], np.uint8), name="levels")
    (tmp_path / "map.txt").write_text("a 0 0 0\nb 100 100 100\n")
    (_, label) = open_split(DataSource(root=str(levels), color_map=str(tmp_path / "map.txt")), "all")[0]
    assert label.tolist() == [[0, 1]]


def test_colors_of_no_class_come_with_the_line_of_a_color_map(tmp_path: Path) -> None:
    red = np.zeros((4, 6, 3), np.uint8)
    red[1:3, 2:4, 0] = 255
    Image.fromarray(red).save(tmp_path / "red.png")
    with pytest.raises(BadExample, match=r"Give `color_map='FILE'`, a text file .* such as 'b 255 0 0'\."):
        read_ids(tmp_path / "red.png", TWO, recognize_encoding([tmp_path / "red.png"], TWO))
    Image.fromarray(red).save(tmp_path / "red.jpg")
    with pytest.raises(BadExample, match=r"JPEG and WebP change colors; labels are PNG\."):
        read_ids(tmp_path / "red.jpg", TWO, "colors")
    Image.fromarray(red).resize((60, 40), Image.Resampling.BILINEAR).save(tmp_path / "soft.png")
    with pytest.raises(BadExample, match="Colors in between come from antialiasing or interpolation"):
        read_ids(tmp_path / "soft.png", TWO, "colors")


def test_a_label_that_does_not_decode_is_named(tmp_path: Path) -> None:
    palette_image(np.zeros((64, 64), np.uint8)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:-40])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.png").write_bytes(b"")
    for name in ("cut", "text", "empty", "gone"):
        with pytest.raises(BadExample, match=rf"{name}\.png' does not") as caught:
            read_ids(tmp_path / f"{name}.png", THREE, "ids")
        assert caught.value.kind == "does_not_decode"


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_palette_mask_that_became_colors_keeps_its_outline(tmp_path: Path, mode: str) -> None:
    """VOC's 255 is the color (224, 224, 192) in its palette."""
    ids = np.array([[0, 255, 15], [20, 255, 1]], np.uint8)
    path = tmp_path / "mask.png"
    palette_image(ids).convert(mode).save(path)
    voc = given_classes("voc")
    assert recognize_encoding([path], voc) == "colors"
    assert (read_ids(path, voc, "colors") == ids).all()
    without = Classes(names=voc.names, palette=voc.palette, ignore_index=None)
    with pytest.raises(BadExample, match=r"no class: \(224, 224, 192\) .* VOC's outline .* give `ignore_index=255`"):
        read_ids(path, without, "colors")
    # Another ignored id has another color, and with colors of their own the outline's is a mistake like any.
    other = Classes(names=("a", "b"), palette=voc.palette[:2], ignore_index=9)
    palette_image(np.array([[0, 1, 9]], np.uint8)).convert(mode).save(path)
    assert read_ids(path, other, "colors").tolist() == [[0, 1, 9]]
    palette_image(np.array([[0, 255]], np.uint8)).convert(mode).save(path)
    own = Classes(names=("a", "b"), palette=((0, 0, 0), (9, 9, 9)), ignore_index=255)
    with pytest.raises(BadExample, match=r"\(224, 224, 192\) \(1 pixel\)"):
        read_ids(path, own, "colors")
