from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg.imaging import preprocess
from edgeseg.spec import ModelSpec
from edgeseg.tiling.receptive_field import ROUNDING, measured_radius

SIZE = (64, 96)


@pytest.fixture
def tensor(tiny_spec: ModelSpec) -> NDArray[Any]:
    image = np.random.default_rng(5).integers(0, 256, (*SIZE, 3), np.uint8)
    return preprocess(image, tiny_spec.replace(input_size=SIZE))[0]


def radius_of(scores_of: Callable[[NDArray[Any]], NDArray[np.float32]], tensor: NDArray[Any], spec: ModelSpec) -> Any:
    return measured_radius(scores_of, tensor, scores_of(tensor).copy(), spec)


def shifted(tensor: NDArray[Any], rows: int, columns: int) -> NDArray[np.float32]:
    """What is ``rows`` above and ``columns`` left of each pixel."""
    return np.roll(tensor[0], (rows, columns), (0, 1))


@pytest.mark.parametrize("kernel", [(1, 1), (3, 5), (21, 9)])
def test_a_filter_reaches_half_its_size(tiny_spec: ModelSpec, tensor: NDArray[Any], kernel: tuple[int, int]) -> None:
    def scores_of(image: NDArray[Any]) -> NDArray[np.float32]:
        return cv2.boxFilter(image[0], -1, kernel[::-1], borderType=cv2.BORDER_CONSTANT)

    assert radius_of(scores_of, tensor, tiny_spec) == (kernel[0] // 2, kernel[1] // 2)


@pytest.mark.parametrize("direction", [1, -1])
def test_the_longer_of_two_sides_counts(tiny_spec: ModelSpec, tensor: NDArray[Any], direction: int) -> None:
    def scores_of(image: NDArray[Any]) -> NDArray[np.float32]:
        ways = np.zeros((*SIZE, 3), np.float32)
        ways += image[0]
        if direction > 0:
            ways[11:, 7:] += image[0, :-11, :-7]
        else:
            ways[:-11, :-7] += image[0, 11:, 7:]
        return ways

    assert radius_of(scores_of, tensor, tiny_spec) == (11, 7)


def test_strides_reach_as_far_as_a_window_needs(tiny_spec: ModelSpec, tensor: NDArray[Any]) -> None:
    def scores_of(image: NDArray[Any]) -> NDArray[np.float32]:
        coarse = cv2.resize(image[0], (SIZE[1] // 8, SIZE[0] // 8), interpolation=cv2.INTER_AREA)
        around = cv2.boxFilter(coarse, -1, (3, 3), borderType=cv2.BORDER_CONSTANT)
        return np.kron(around, np.ones((8, 8, 1), np.float32))

    # An edge at a multiple of 8 reaches the whole next block: 8 pixels, where a pixel within a block reaches 15.
    assert radius_of(scores_of, tensor, tiny_spec) == (8, 8)


def test_a_pooling_of_the_image_is_global(tiny_spec: ModelSpec, tensor: NDArray[Any]) -> None:
    def pooled(image: NDArray[Any]) -> NDArray[np.float32]:
        return image[0] + image[0].mean((0, 1))

    def rounded(image: NDArray[Any]) -> NDArray[np.float32]:
        scores = np.array(image[0])
        return scores + ROUNDING / 10 * np.abs(scores).max() * np.sign(scores[0, 0, 0])

    assert radius_of(pooled, tensor, tiny_spec) == "global"
    assert radius_of(rounded, tensor, tiny_spec) == (0, 0)
    assert radius_of(lambda image: image[0] * np.float32("nan"), tensor, tiny_spec) == "global"
