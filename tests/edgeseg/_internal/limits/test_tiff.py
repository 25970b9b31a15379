"""``edgeseg._internal.limits.tiff``, on files of tifffile: what OpenCV reads wrong without a word is refused."""

from __future__ import annotations

import os
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseg._internal.limits.tiff import channels_on_pages, is_image, siblings, tiff_pages
from edgeseg.errors import InputError
from edgeseg.imaging import read_image

tifffile = pytest.importorskip("tifffile")

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
GRAY, PLANES = RGB[..., 0], np.moveaxis(RGB, 2, 0).copy()
OME: dict[str, Any] = {"ome": True, "photometric": "minisblack", "metadata": {"axes": "CYX"}}


def written(image: Any, **options: Any) -> bytes:
    file = BytesIO()
    tifffile.imwrite(file, image, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (RGB, {"photometric": "rgb"}),
        (RGB, {"photometric": "rgb", "bigtiff": True, "byteorder": ">"}),
        (PLANES, {"photometric": "rgb", "planarconfig": "separate"}),
        (PLANES, {"photometric": "rgb", "planarconfig": "separate", "tile": (32, 32)}),
        (RGB, {"photometric": "rgb", "ome": True, "metadata": {"axes": "YXS"}}),
        (RGB, {"photometric": "rgb", "compression": "deflate", "predictor": True}),
    ],
)
def test_images_are_read_as_they_are(tmp_path: Path, image: Any, options: dict[str, Any]) -> None:
    (tmp_path / "a.tif").write_bytes(written(image, **options))
    assert (read_image(tmp_path / "a.tif") == RGB).all()


def test_a_smaller_copy_and_a_mask_are_no_further_images(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(RGB, photometric="rgb")
        file.write(RGB[::2, ::2], photometric="rgb", subfiletype=1)
        file.write(GRAY > 9, subfiletype=4)
    pages = tiff_pages(BytesIO((tmp_path / "a.tif").read_bytes()))
    assert [(page.number, page.size_wh, page.samples) for page in pages] == [
        (1, (30, 20), 3),
        (2, (15, 10), 3),
        (3, (30, 20), 1),
    ]
    assert len(siblings(pages)) == 1
    assert (read_image(tmp_path / "a.tif") == RGB).all()


@pytest.mark.parametrize(
    ("image", "options", "said"),
    [
        (
            RGB[..., :2],
            {"photometric": "minisblack", "planarconfig": "contig"},
            "has 2 bands of 8-bit numbers; an image",
        ),
        (RGB, {"photometric": "minisblack", "planarconfig": "contig"}, "has 3 bands of 8-bit numbers"),
        (
            np.zeros((9, 9, 5), np.uint16),
            {"planarconfig": "contig", "photometric": "minisblack"},
            "has 5 bands of 16-bit",
        ),
        (
            GRAY.astype(np.int16),
            {},
            "has 16-bit signed numbers; .* reads it as a raster, with `bands` and `band_range`",
        ),
        (GRAY.astype(np.float32), {}, "has 32-bit floats"),
        (PLANES, OME, "has 3 channels on pages of their own; edgeseg predict reads it as a raster"),
        (PLANES, {"imagej": True, "metadata": {"axes": "CYX"}}, "has 3 channels on pages of their own"),
        (
            np.stack([GRAY] * 4),
            {**OME, "metadata": {"axes": "ZYX"}},
            "has 4 pages of one size, of which the first alone",
        ),
        (np.stack([RGB] * 2), {"photometric": "rgb"}, "has 2 pages of one size"),
    ],
)
def test_what_is_no_image_says_how_it_is_read(tmp_path: Path, image: Any, options: dict[str, Any], said: str) -> None:
    (tmp_path / "a.tif").write_bytes(written(image, **options))
    with pytest.raises(InputError, match=said):
        read_image(tmp_path / "a.tif")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.tif")
    assert is_image(tmp_path / "a.tif")


def test_tiles_that_opencv_draws_black_are_refused(tmp_path: Path) -> None:
    data = bytearray(written(RGB, photometric="rgb", tile=(16, 16)))
    at = data.index(struct.pack("<HHIH", 259, 3, 1, 1))  # the tag of the compression
    data[at + 8 : at + 10] = struct.pack("<H", 33005)
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(
        InputError, match="has the compression 33005 of TIFF; edgeseg predict reads it as a raster, with"
    ):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('SizeC="3"', 'SizeC="1"'),
        ('SizeZ="1"', 'SizeZ="3"'),
        ('<TiffData IFD="0"', '<TiffData IFD="2"'),
        ("<Pixels ", "<Picture "),
    ],
)
def test_pages_that_are_no_channels_in_order_are_none(before: str, after: str) -> None:
    data = written(PLANES, **OME)
    assert channels_on_pages(siblings(tiff_pages(BytesIO(data))))
    assert before.encode() in data
    changed = data.replace(before.encode(), after.ljust(len(before)).encode())
    assert not channels_on_pages(siblings(tiff_pages(BytesIO(changed))))


def test_pages_in_a_circle_end_and_a_damaged_header_is_one_line(tmp_path: Path) -> None:
    data = bytearray(written(GRAY))
    start = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, start)[0]
    data[start + 2 + 12 * count : start + 6 + 12 * count] = struct.pack("<I", start)
    assert len(tiff_pages(BytesIO(bytes(data)))) == 1
    with pytest.raises(struct.error, match="no page"):
        tiff_pages(BytesIO(b"II*\0" + bytes(9)))
    rng = np.random.default_rng(1)
    for place in rng.integers(0, len(data), 60).tolist():
        (tmp_path / "a.tif").write_bytes(bytes(data[:place]) + rng.bytes(2) + bytes(data[place + 2 :]))
        try:
            read_image(tmp_path / "a.tif")
        except InputError as error:
            assert len(str(error)) < 500


def test_thousands_of_directories_and_texts_without_end_take_no_time() -> None:
    sides = struct.pack("<HHIHHHHIHH", 256, 4, 1, 9, 0, 257, 4, 1, 9, 0)
    data = bytearray(b"II*\0" + struct.pack("<I", 8))
    for number in range(3000):
        data += struct.pack("<H", 2) + sides + struct.pack("<I", 8 + 30 * (number + 1))
    assert len(tiff_pages(BytesIO(bytes(data) + bytes(9)))) == 1000
    # Without a bound each beginning would be looked at to the end of the text: 10^10 steps.
    text = "<Pixels " * 100_000 + "<TiffData " * 100_000
    page = tiff_pages(BytesIO(written(GRAY, description=text)))[0]
    assert not channels_on_pages([page, page])
