from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from edgeseg.models import create, find
from edgeseg.models.packaged_files import find_file
from edgeseg.models.weights.folding import load_folded, save_norms
from edgeseg_converters import export

SIZE = (32, 32)


def unlike_norms(model: keras.Model) -> None:
    """Give each batch norm numbers of its own, as after a training; one channel is switched off."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            count = layer.gamma.shape[0]
            gamma = rng.uniform(0.5, 2, count) * rng.choice((-1, 1), count)
            gamma[0] = 0
            layer.set_weights([gamma, rng.normal(size=count), rng.normal(size=count), rng.uniform(0.2, 5, count)])


@pytest.mark.usefixtures("shallow")
def test_weights_come_back_from_the_file_and_the_norms(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    model = create("person", num_classes=2, input_size=SIZE)
    unlike_norms(model)
    save_norms(model, tmp_path / "person.norms.npz")
    spec = find("person").default_spec(2, SIZE)
    file = export(model, precision="fp16", spec=spec, verify=False).save(tmp_path)
    again = create("person", num_classes=2, input_size=SIZE)
    load_folded(again, file, tmp_path / "person.norms.npz")
    for was, now in zip(model.weights, again.weights, strict=True):
        was, now = np.asarray(was), np.asarray(now)
        if was.ndim != 4:
            # Half a step of half precision; of the norms not even that, as the model has the rounded ones.
            np.testing.assert_allclose(now, was, rtol=2**-11)
            continue
        channels = -2 if was.shape[-1] == 1 else -1
        now, was = np.moveaxis(now, channels, 0), np.moveaxis(was, channels, 0)
        lost = ~now.reshape(len(now), -1).any(1)
        assert lost.sum() <= 1, "the channel that is switched off"
        # A folded number below 2^-14 has a step of 2^-24 whatever its size; unfolding multiplies it by up to 5.
        np.testing.assert_allclose(now[~lost], was[~lost], rtol=2**-11, atol=5 * 2**-24)
    image = np.random.default_rng(1).normal(size=(1, *SIZE, 3)).astype(np.float32)
    expected, got = (np.asarray(each(image, training=False)) for each in (model, again))
    assert abs(got - expected).max() <= 1e-2 * abs(expected).max()  # thirty layers, each rounded by 5e-4


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    model = create("unet_mini", num_classes=2, input_size=SIZE)
    save_norms(model, tmp_path / "unet_mini.norms.npz")
    with pytest.raises(ValueError, match="weight shape"):
        load_folded(model, find_file("person.fp16"), tmp_path / "unet_mini.norms.npz")
