"""``tiling.windows``, ``tiling.stitching``, ``tiling.receptive_field`` with models of the zoo, on Keras: what windows
give of a large image where they have the receptive field, and that smaller overlaps change it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg.imaging import preprocess
from edgeseg.scores.score_map import ScoreMap
from edgeseg.segmenter import Segmenter
from edgeseg.spec import ModelSpec
from edgeseg.tiling.receptive_field import measured_radius
from edgeseg.tiling.windows import Grid

keras = pytest.importorskip("keras")

WINDOW, WHOLE = (96, 128), (192, 256)


@pytest.fixture(scope="module")
def image() -> NDArray[np.uint8]:
    """Areas of about 8 pixels, as of a scene."""
    coarse = np.random.default_rng(0).integers(0, 256, (WHOLE[0] // 8, WHOLE[1] // 8, 3), np.uint8)
    return cv2.resize(coarse, WHOLE[::-1], interpolation=cv2.INTER_CUBIC)  # type: ignore[return-value]


def opened(name: str, size: tuple[int, int]) -> tuple[Segmenter, Callable[[NDArray[Any]], NDArray[np.float32]]]:
    """A model of the zoo with seeded weights, and what gives its scores at the input's size."""
    from edgeseg.models import create
    from edgeseg.models.zoo.table import ZOO
    from edgeseg.runtime.keras import KerasBackend

    keras.utils.set_random_seed(1)
    spec: ModelSpec = ZOO[name].default_spec(4, size)
    model = create(name, num_classes=4, input_size=size)

    def scores_of(tensor: NDArray[Any]) -> NDArray[np.float32]:
        return ScoreMap(np.asarray(model(tensor, training=False))[0], "logits", size).enlarged()

    return Segmenter(KerasBackend(model, spec)), scores_of


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("name", ["unet_mini", "mobilenet_unet", "efficientnet_lite0_unet"])
def test_tiles_are_the_whole_image_where_the_overlap_has_the_receptive_field(
    name: str, image: NDArray[np.uint8]
) -> None:
    small, small_scores = opened(name, WINDOW)
    _, large_scores = opened(name, WHOLE)
    spec = small.spec
    tensor = preprocess(image[: WINDOW[0], : WINDOW[1]], spec)[0]
    radius = measured_radius(small_scores, tensor, small_scores(tensor).copy(), spec)
    assert radius != "global"
    assert 0 < max(radius) <= min(WINDOW) // 4
    small.spec = spec.replace(receptive_radius=radius)
    grid = Grid.of(WHOLE, small.spec)
    assert grid.is_exact
    assert grid.num_windows > 4
    scores = large_scores(preprocess(image, spec.replace(input_size=WHOLE))[0])
    first, second = np.sort(scores, axis=-1)[..., -1], np.sort(scores, axis=-1)[..., -2]
    # TensorFlow adds in another order at another size: within 1e-5 of the largest score two classes are one.
    decided = first - second > 1e-5 * np.abs(scores).max()
    assert decided.mean() > 0.999
    expected = scores.argmax(-1)
    tiled = small.tiled(image).class_map
    # Where the last window goes beyond the image, it sees a reflection in place of the zeros of a convolution.
    inside = [slice(None, -own if axis.extent > axis.length else None)
              for axis, own in zip((grid.rows, grid.columns), radius, strict=True)]  # fmt: skip
    same = (tiled == expected) | ~decided
    assert same[inside[0], inside[1]].all()
    assert not (small.tiled(image, overlap=0).class_map == expected).all()
