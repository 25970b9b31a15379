"""``resnet50`` and ``vgg16``: the ResNet-50 and VGG-16 encoders against keras.applications: the same weights give the
same levels.
"""

import re

import keras
import numpy as np
import pytest

from edgeseg.models.zoo.backbones.resnet50 import resnet50_encoder
from edgeseg.models.zoo.backbones.vgg16 import vgg16_encoder

SIZE = (64, 96)


def randomize(model):
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) == 1:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))


def applications_name(name):
    """``res2a_branch2b`` is ``conv2_block1_2_conv`` there, ``bn2a_branch1`` is ``conv2_block1_0_bn``."""
    if name in ("conv1", "bn_conv1"):
        return {"conv1": "conv1_conv", "bn_conv1": "conv1_bn"}[name]
    kind, stage, block, part = re.fullmatch(r"(res|bn)(\d)([a-f])_branch(\w+)", name).groups()
    number = {"1": 0, "2a": 1, "2b": 2, "2c": 3}[part]
    return f"conv{stage}_block{'abcdef'.index(block) + 1}_{number}_{'conv' if kind == 'res' else 'bn'}"


def test_resnet50_levels_are_those_of_keras_applications():
    inputs, levels = resnet50_encoder(SIZE, pool_padding="zeros")
    ours = keras.Model(inputs, levels)
    whole = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(*SIZE, 3))
    outputs = ["conv1_relu", "conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out"]
    theirs = keras.Model(whole.input, [whole.get_layer(name).output for name in outputs])
    assert ours.count_params() == theirs.count_params() == 23_587_712
    up_to_f4 = keras.Model(inputs, levels[3])
    assert up_to_f4.count_params() == keras.Model(whole.input, theirs.outputs[3]).count_params() == 8_589_184

    randomize(ours)
    layers = [layer for layer in ours.layers if layer.weights]
    assert len(layers) == len([layer for layer in theirs.layers if layer.weights])
    for layer in layers:
        other = theirs.get_layer(applications_name(layer.name))
        other.set_weights(layer.get_weights())
        if hasattr(other, "epsilon"):
            other.epsilon = layer.epsilon  # theirs is 1.001e-5; Keras 2's, and the tutorials', 1e-3
    images = np.random.default_rng(1).uniform(-1, 1, (2, *SIZE, 3)).astype(np.float32)
    for level, (mine, other) in enumerate(zip(ours(images), theirs(images), strict=True), start=1):
        assert mine.shape == (2, SIZE[0] >> level, SIZE[1] >> level, 64 if level == 1 else 128 << (level - 1))
        # The same operations; only the library's choice of summation order could differ.
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-5 * np.abs(other).max())


@pytest.mark.parametrize("size", [(32, 64), (416, 416), (480, 96)])
def test_without_pool_padding_only_f2_is_smaller(size):
    _, padded = resnet50_encoder(size, pool_padding="zeros")
    _, tutorial = resnet50_encoder(size, pool_padding="valid")
    assert tutorial[1].shape[1:3] == (size[0] // 4 - 1, size[1] // 4 - 1)
    _, same = resnet50_encoder(size, pool_padding="same")
    assert [level.shape for level in same] == [level.shape for level in padded]
    assert [level.shape for level in tutorial if level is not tutorial[1]] == [
        level.shape for level in padded if level is not padded[1]
    ]


def test_vgg16_levels_are_those_of_keras_applications():
    inputs, levels = vgg16_encoder(SIZE)
    ours = keras.Model(inputs, levels)
    whole = keras.applications.VGG16(include_top=False, weights=None, input_shape=(*SIZE, 3))
    outputs = ["block1_conv2", "block2_conv2", "block3_conv3", "block4_conv3", "block5_conv3"]
    theirs = keras.Model(whole.input, [whole.get_layer(name).output for name in outputs])
    assert ours.count_params() == theirs.count_params() == 14_714_688

    randomize(ours)
    for layer in ours.layers:
        if layer.weights:
            theirs.get_layer(layer.name).set_weights(layer.get_weights())
    images = np.random.default_rng(1).uniform(-1, 1, (2, *SIZE, 3)).astype(np.float32)
    for mine, other in zip(ours(images), theirs(images), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-5 * np.abs(other).max())
