from __future__ import annotations

import itertools
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg.runtime.null import NullBackend
from edgeseg.segmenter import Segmenter
from edgeseg.spec import ModelSpec
from edgeseg.tiling.stitching import ArrayReader, Rows, blended_rows, cropped_rows, read_window
from edgeseg.tiling.windows import Axis, Grid

CLASSES = 3


def local_scores(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Sums of 7x7 pixels, with zeros beyond the edge: whole numbers, so that equal means to the bit."""
    return cv2.boxFilter(image.astype(np.float32), -1, (7, 7), normalize=False, borderType=cv2.BORDER_CONSTANT)


def local_classes(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return local_scores(image).argmax(-1).astype(np.uint8)


def grid_of(height: int, width: int, *, overlap: int = 8, margin: int = 3) -> Grid:
    return Grid(
        Axis(length=height, window=32, overlap=overlap, margin=margin),
        Axis(length=width, window=40, overlap=overlap, margin=margin),
    )


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


def whole(rows: Callable[..., object], image: NDArray[np.uint8], grid: Grid, first_band: int = 0) -> NDArray[np.uint8]:
    """The class map of the rows, which follow each other."""
    parts: list[Rows] = list(
        blended_rows(ArrayReader(image), grid, local_scores, CLASSES, first_band=first_band)
        if rows is blended_rows
        else cropped_rows(ArrayReader(image), grid, local_classes, first_band=first_band)
    )
    assert parts[-1][0] + len(parts[-1][1]) == len(image)
    assert all(top + len(part) == below for (top, part), (below, _) in itertools.pairwise(parts))
    return np.concatenate([part for _, part in parts])


@pytest.mark.parametrize("rows", [blended_rows, cropped_rows])
@pytest.mark.parametrize(
    ("height", "width", "overlap"),
    [(32, 40, 8), (56, 104, 8), (33, 41, 6), (150, 97, 8), (100, 130, 24), (120, 90, 28)],
)
def test_windows_that_have_the_receptive_field_give_the_whole_image(
    rows: Callable[..., object], height: int, width: int, overlap: int
) -> None:
    image = noise(height, width)
    grid = grid_of(height, width, overlap=overlap)
    expected, tiled = local_classes(image), whole(rows, image, grid)
    # Where a window goes beyond the image, the reflection is what the filter sees in place of zeros.
    bottom, right = (-3 if axis.extent > axis.length else None for axis in (grid.rows, grid.columns))
    assert (tiled[:bottom, :right] == expected[:bottom, :right]).all()
    assert grid.num_windows == grid.rows.count * grid.columns.count


@pytest.mark.parametrize("rows", [blended_rows, cropped_rows])
def test_windows_without_room_for_it_differ_at_their_edges(rows: Callable[..., object]) -> None:
    image = noise(120, 120)
    same = whole(rows, image, grid_of(120, 120, overlap=2, margin=0)) == local_classes(image)
    assert not same.all()
    # Windows begin every 30 rows and 38 columns; 3 pixels around an edge see zeros in place of what is beyond it.
    assert same[5:25, 5:33].all()
    assert same[35:55, 43:71].all()


@pytest.mark.parametrize("rows", [blended_rows, cropped_rows])
@pytest.mark.parametrize("overlap", [0, 8, 28])
def test_rows_from_a_band_on_are_the_same(rows: Callable[..., object], overlap: int) -> None:
    image = noise(140, 60)
    grid = grid_of(140, 60, overlap=overlap, margin=min(3, overlap // 2))
    from_start = whole(rows, image, grid)
    for band in (1, grid.rows.count - 1):
        rest = whole(rows, image, grid, first_band=band)
        assert 0 < len(rest) < 140
        assert (rest == from_start[-len(rest) :]).all()


def test_what_is_beyond_the_image_is_reflected() -> None:
    image = noise(5, 3)
    window = read_window(ArrayReader(image), grid_of(5, 3), 0, 0)
    assert window is not None
    assert window.shape == (32, 40, 3)
    assert (window == np.pad(image, ((0, 27), (0, 37), (0, 0)), mode="reflect")).all()
    pixel = read_window(ArrayReader(image[:1, :1]), grid_of(1, 1), 0, 0)
    assert pixel is not None
    assert (pixel == image[0, 0]).all()


@pytest.mark.parametrize("rows", [blended_rows, cropped_rows])
def test_windows_of_which_nothing_is_known_are_not_run(rows: Callable[..., object]) -> None:
    class HalfBlank(ArrayReader):
        def read(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint8] | None:
            return None if left >= 64 else super().read(top, left, height, width)

    ran = 0

    def counted(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        nonlocal ran
        ran += 1
        return local_scores(image)

    image, grid = noise(32, 104), grid_of(32, 104)
    if rows is blended_rows:
        ((_, classes),) = blended_rows(HalfBlank(image), grid, counted, CLASSES)
    else:
        ((_, classes),) = cropped_rows(HalfBlank(image), grid, lambda part: counted(part).argmax(-1).astype(np.uint8))
    assert (grid.num_windows, ran) == (3, 2)
    assert (classes[:, :64] == local_classes(image)[:, :64]).all()
    assert (classes[:, 72:] == 0).all()


@pytest.mark.parametrize("kind", ["logits", "argmax"])
def test_a_segmenter_cuts_an_image_into_windows_of_its_size(tiny_spec: ModelSpec, kind: str) -> None:
    scores = np.zeros((1, 16, 24, 3), np.float32)  # half of the input's size, as some models give
    scores[:, :8, :, 1] = scores[:, 8:, :, 2] = 1
    output = scores if kind == "logits" else scores.argmax(-1).astype(np.uint8)
    backend = NullBackend(tiny_spec.replace(output_kind=kind), output)
    done: list[tuple[int, int]] = []
    result = Segmenter(backend).tiled(noise(64, 48), overlap=0, progress=lambda *rows: done.append(rows))
    assert result.score_map is None
    assert (result.class_map == np.repeat([1, 2, 1, 2], 16)[:, None]).all()
    assert done == [(32, 64), (64, 64)]
