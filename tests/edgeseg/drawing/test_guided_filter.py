"""``guided_filter``: the filter as its paper defines it, window by window; an edge goes where the image has it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg.drawing.guided_filter import GuidedFilter

#: What the module has; the test computes with them as the paper does.
RADIUS, PLAIN, FROM, TO = 2, 100.0, 0.2, 0.9


def by_definition(image: NDArray[np.uint8], mask: NDArray[np.float32]) -> NDArray[np.float64]:
    """Least squares in each window, then the mean over the windows that a pixel is in; weights from 0 to 255."""
    border = 2 * RADIUS
    padded = np.pad(image.astype(np.float64), ((border, border), (border, border), (0, 0)), mode="symmetric")
    target = np.pad(255 * mask.astype(np.float64), border, mode="symmetric")
    height, width = image.shape[:2]
    fitted = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            for v in range(y - RADIUS, y + RADIUS + 1):
                for u in range(x - RADIUS, x + RADIUS + 1):
                    # A window that is beyond the border is the mirrored one.
                    v_in, u_in = (
                        (-v - 1 if v < 0 else min(v, 2 * height - v - 1)),
                        (-u - 1 if u < 0 else min(u, 2 * width - u - 1)),
                    )
                    window = np.s_[v_in + RADIUS : v_in + 3 * RADIUS + 1, u_in + RADIUS : u_in + 3 * RADIUS + 1]
                    colors, values = padded[window].reshape(-1, 3), target[window].ravel()
                    deviations = colors - colors.mean(0)
                    matrix = deviations.T @ deviations / len(values) + PLAIN * np.eye(3)
                    slopes = np.linalg.solve(matrix, deviations.T @ values / len(values))
                    fitted[y, x] += values.mean() + slopes @ (image[y, x] - colors.mean(0))
    steps = np.clip((fitted / (2 * RADIUS + 1) ** 2 / 255 - FROM) / (TO - FROM), 0, 1)
    return 255 * steps * steps * (3 - 2 * steps)


def test_it_is_the_filter_of_the_paper() -> None:
    """A small image is neither reduced nor enlarged, so all that is left is the filter itself."""
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (12, 14, 3), np.uint8)
    image[:6] //= 8  # half of it is nearly plain
    mask = cv2.GaussianBlur(random.random((12, 14), np.float32), (3, 3), 0)
    # Half a step before the curve, whose steepest part is 1.5 / 0.7, and half a step after it.
    np.testing.assert_allclose(GuidedFilter()(image, mask), by_definition(image, mask), atol=2)


@pytest.mark.parametrize("size_hw", [(480, 640), (1080, 1920)])
def test_a_blurred_edge_becomes_that_of_the_image(size_hw: tuple[int, int]) -> None:
    """The mask's edge is a ramp of a tenth of the width around the disc's; the two colors are as bright."""
    height, width = size_hw
    image = np.full((height, width, 3), (90, 130, 150), np.uint8)
    disc = cv2.circle(np.zeros(size_hw, np.uint8), (width // 2, height // 2), height // 4, 255, cv2.FILLED)
    image[disc > 0] = (200, 110, 60)
    mask = cv2.GaussianBlur(cv2.resize(disc, (192, 144)).astype(np.float32) / 255, (0, 0), 3)
    plain = cv2.resize(mask, size_hw[::-1])
    found = GuidedFilter()(image, mask)
    assert found.shape == ((480, 640) if height == 480 else (540, 960))
    weights = cv2.resize(found, size_hw[::-1]).astype(np.float32)
    wrong = np.abs(weights - disc).mean()
    assert wrong < 0.4 * np.abs(255 * plain - disc).mean()
    # Nothing of the wall far from the disc is kept, and nothing of the disc's middle is lost.
    far = cv2.dilate(disc, np.ones((height // 8,) * 2, np.uint8)) == 0
    assert not weights[far].any()
    assert (weights[cv2.erode(disc, np.ones((height // 8,) * 2, np.uint8)) > 0] == 255).all()


def test_frames_of_another_size_are_refined_anew() -> None:
    refine = GuidedFilter()
    random = np.random.default_rng(1)
    images = [random.integers(0, 256, (*size, 3), np.uint8) for size in ((40, 60), (33, 57), (40, 60))]
    masks = [random.random((9, 16), np.float32) for _ in images]
    for image, mask in zip(images, masks, strict=True):
        np.testing.assert_array_equal(refine(image, mask), GuidedFilter()(image, mask))
    one = np.full((1, 1, 3), 7, np.uint8)
    assert refine(one, np.ones((1, 1), np.float32)).tolist() == [[255]]
