"""``resampling``, and with it the tutorials' letterbox of ``imaging``."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edgeseg._internal.resampling import Side, antialiased, nearest, resized
from edgeseg.choices import Resize
from edgeseg.imaging import letterbox
from edgeseg.spec import ModelSpec

#: Pillow's filter of each name.
PILLOW: dict[Resize, Image.Resampling] = {
    "bilinear-antialias": Image.Resampling.BILINEAR,
    "bicubic-antialias": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}
SIZES = [
    ((1, 1), (1, 1)),
    ((1, 1), (5, 7)),
    ((2, 3), (1, 1)),
    ((1, 200), (3, 48)),
    ((200, 1), (32, 1)),
    ((37, 53), (37, 96)),  # one side alone
    ((37, 53), (11, 53)),
    ((31, 47), (97, 113)),
    ((40, 30), (80, 15)),  # one side grows, the other shrinks
    ((101, 151), (33, 47)),
    ((240, 427), (17, 30)),  # the kernel has 57 taps, more than a block of the matrix has rows
    ((360, 480), (384, 512)),
]


def images(size: tuple[int, int]) -> list[np.ndarray]:
    """RGB and gray noise; black and white, which overshoots and has values halfway between gray levels; and white."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (*size, 3), np.uint8)
    return [noise, noise[..., 0].copy(), (noise > 127).astype(np.uint8) * 255, np.full((*size, 3), 255, np.uint8)]


def by_pillow(image: np.ndarray, size: tuple[int, int], resampling: Image.Resampling) -> np.ndarray:
    """Columns, then rows: what Pillow did in one call until version 13, which begins with the rows of tall images."""
    columns = Image.fromarray(image).resize((size[1], image.shape[0]), resampling)
    return np.asarray(columns.resize(size[::-1], resampling))


@pytest.mark.parametrize("resize", PILLOW)
@pytest.mark.parametrize(("size", "scaled"), SIZES)
def test_it_is_pillows(size: tuple[int, int], scaled: tuple[int, int], resize: Resize) -> None:
    for image in images(size):
        expected = by_pillow(image, scaled, PILLOW[resize])
        result = resized(image, scaled, resize)
        assert (result.shape, result.dtype) == (expected.shape, np.uint8)
        differs = np.abs(result.astype(int) - expected)
        # Pillow sums integers of 22 bits, edgeseg float32: only values halfway between two levels may differ.
        assert differs.max() <= (0 if resize == "nearest" else 1)
        assert differs.sum() <= 1 + 0.005 * differs.size


def test_one_call_of_pillow_is_the_same_for_a_frame() -> None:
    image = images((120, 160))[0]
    expected = np.asarray(Image.fromarray(image).resize((64, 48), Image.Resampling.BICUBIC))
    assert (by_pillow(image, (48, 64), Image.Resampling.BICUBIC) == expected).all()


@pytest.mark.parametrize(("size", "scaled"), SIZES)
def test_a_part_is_that_of_the_whole(size: tuple[int, int], scaled: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    image = images(size)[0]
    for _ in range(5):
        starts = [int(rng.integers(side)) for side in scaled]
        stops = [int(rng.integers(start + 1, side + 1)) for start, side in zip(starts, scaled, strict=True)]
        rows, columns = map(Side, size, scaled, starts, stops)
        part = slice(starts[0], stops[0]), slice(starts[1], stops[1])
        whole = resized(image, scaled, "bicubic-antialias")[part]
        # Float32 sums of other blocks: the same but for a value halfway between two levels.
        assert np.abs(antialiased(image, rows, columns, "bicubic-antialias").astype(int) - whole).max() <= 1
        assert (nearest(image[..., 0], rows, columns) == resized(image[..., 0], scaled, "nearest")[part]).all()


def test_shrinking_without_antialias_is_something_else() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::4] = 255  # a quarter of the columns: averaged they are 64, and between samples they are lost
    assert np.abs(resized(stripes, (16, 16), "bicubic-antialias").astype(int) - 64).max() <= 20
    assert (resized(stripes, (16, 16), "bilinear") == 0).all()


def test_a_view_is_scaled_like_its_copy() -> None:
    view = images((60, 90))[0][5:45, 10:71, ::-1]
    for resize in PILLOW:
        assert (resized(view, (21, 33), resize) == resized(view.copy(), (21, 33), resize)).all()


def tutorials(image: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """The image that the tutorials feed, in their formula, and where it lies."""
    (height, width), (rows, columns) = image.shape[:2], size
    scale = min(columns / width, rows / height)
    new_height, new_width = int(height * scale), int(width * scale)
    top, left = (rows - new_height) // 2, (columns - new_width) // 2
    whole = np.full((*size, 3), 128, np.uint8)
    part = by_pillow(image, (new_height, new_width), Image.Resampling.BICUBIC)
    whole[top : top + new_height, left : left + new_width] = part
    return whole, (top, left, new_height, new_width)


def test_the_tutorials_letterbox(tiny_spec: ModelSpec) -> None:
    rng = np.random.default_rng(0)
    spec = tiny_spec.replace(resize="bicubic-antialias", letterbox_rounding="floor")
    sizes = [(7, 47), (47, 10), (32, 48), *(tuple(size) for size in rng.integers(2, 90, (60, 2)).tolist())]
    others = 0
    for size in sizes:
        image = rng.integers(0, 256, (*size, 3), np.uint8)
        expected, place = tutorials(image, spec.input_size)
        fitted, p = letterbox(image, spec)
        assert (p.top, p.left, p.height, p.width) == place, size
        assert np.abs(fitted.astype(int) - expected).max() <= 1, size
        of_bgr, _ = letterbox(np.ascontiguousarray(image[..., ::-1]), spec, order="bgr")  # as the camera does it
        # BLAS may sum the last columns of a product in another order, and a value at a half falls to the other side.
        differing = of_bgr[..., ::-1].astype(int) - fitted
        assert np.abs(differing).max() <= 1 and np.mean(differing != 0) < 1e-3, size
        rounded = letterbox(image, spec.replace(letterbox_rounding="round"))[1]
        others += (rounded.height, rounded.width) != place[2:]
    # 47 * (48 / 47) is just below 48 in float64, and the tutorials lose a column of an image that fills the width.
    assert letterbox(np.zeros((7, 47, 3), np.uint8), spec)[1].width == 47
    assert others > len(sizes) / 4
