from __future__ import annotations

import keras
import numpy as np
import pytest

from edgeseg.models.encoders.chain import Link, fit_to_images, set_transparent

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.uniform(0, 255, (4, 24, 24, 3)).astype(np.float32)


def chain_of(*, norms: bool) -> tuple[keras.Model, list[Link]]:
    """Three convolutions and a pooling, with values in the thousands, one channel always 0."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((24, 24, 3))
    x, links = inputs, []
    for number in range(3):
        convolution = keras.layers.Conv2D(6, 3, padding="same", activation=None if norms else "relu")
        norm = keras.layers.BatchNormalization() if norms else None
        x = convolution(x)
        if norm is not None:
            x = keras.layers.ReLU()(norm(x))
        if number == 1:
            x = keras.layers.MaxPooling2D()(x)
        convolution.kernel.assign(convolution.kernel * RANDOM.uniform(0.5, 20, 6))
        convolution.bias.assign(RANDOM.normal(0, 30, 6))
        links.append((convolution, norm))
    first = links[0][0]
    first.kernel.assign(np.asarray(first.kernel) * (np.arange(6) != 2))
    return keras.Model(inputs, x), links


@pytest.mark.parametrize("norms", [False, True])
def test_a_chain_computes_what_it_did_in_other_units(norms: bool) -> None:
    model, links = chain_of(norms=norms)
    set_transparent(links)
    before = model.predict_on_batch(IMAGES)
    assert before.max() > 1000
    fit_to_images(model, links, [IMAGES[:2], IMAGES[2:]])
    after = model.predict_on_batch(IMAGES)
    assert after.max() < 20
    for channel in range(6):
        a, b = before[..., channel], after[..., channel]
        factor = (a * b).sum() / (a * a).sum()
        # float32: sums of 54 products of values up to 1e4, of which much cancels.
        np.testing.assert_allclose(b, factor * a, atol=1e-4 * b.max())
    if norms:
        # In training each batch norm takes what the batch says, which is what it keeps: nothing changes there either.
        np.testing.assert_allclose(model(IMAGES, training=True), after, atol=1e-3)


def test_every_value_is_of_order_1() -> None:
    model, links = chain_of(norms=False)
    fit_to_images(model, links, [IMAGES])
    maps = keras.Model(model.inputs[0], [convolution.output for convolution, _ in links])(IMAGES)
    for values in maps:
        sizes = np.sqrt((np.asarray(values) ** 2).mean(axis=(0, 1, 2)))
        alive = sizes > 0.01
        assert alive.sum() >= 5 and np.allclose(sizes[alive], 1, atol=1e-3)
