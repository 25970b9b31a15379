"""``composition``: a subject with soft edges before another background, in shares, without a glow of its own colors."""

from __future__ import annotations

import numpy as np

from edgeseg.drawing.composition import Composition, blur, light_wrap


def test_a_composition_is_the_weighted_mean() -> None:
    random = np.random.default_rng(0)
    compose = Composition()
    for size in ((30, 40), (12, 50)):  # the buffers follow a change of size
        image, layer = random.integers(0, 256, (2, *size, 3), np.uint8)
        weights = random.integers(0, 256, size, np.uint8)
        weights[:2], weights[2:4] = 0, 255
        drawn = image.copy()
        compose(drawn, layer, weights)
        share = weights[..., None] / 255
        # Both products are rounded to whole gray levels.
        np.testing.assert_allclose(drawn, share * image + (1 - share) * layer, atol=1.001)
        assert (drawn[:2] == layer[:2]).all()
        assert (drawn[2:4] == image[2:4]).all()


def test_light_wraps_about_the_edge_alone() -> None:
    """A seventh of the background on the edge, nothing of it a 30th of the height further in, nothing outside."""
    weights = np.zeros((240, 320), np.uint8)
    weights[:, 160:] = 255
    wrapped = weights.copy()
    light_wrap(wrapped)
    assert (wrapped[:, :160] == 0).all()
    assert 0.82 < wrapped[120, 160] / 255 < 0.88
    assert (np.diff(wrapped[120, 160:].astype(int)) >= 0).all()
    assert (wrapped[:, 184:] == 255).all()


def test_the_blur_around_a_subject_has_none_of_its_colors() -> None:
    image = np.full((160, 240, 3), 60, np.uint8)
    image[40:, 80:160] = 250
    weights = np.zeros((160, 240), np.uint8)
    weights[40:, 80:160] = 255
    glowing, clean = np.empty_like(image), np.empty_like(image)
    blur(image, glowing)
    blur(image, clean, weights)
    around = weights == 0
    assert glowing[around].max() > 120
    # Where eight pixels in a row are half the subject's, half a step of it may be seen.
    assert clean[around].max() <= 61
    assert (clean[around] >= 60).all()
