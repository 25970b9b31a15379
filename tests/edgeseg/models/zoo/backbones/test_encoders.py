"""``resnet`` and ``vgg16``: the ResNet-50 and VGG-16 encoders against keras.applications: the same weights give the
same levels.
"""

import re

import keras
import numpy as np
import pytest

from edgeseg.models.zoo.backbones.resnet import resnet50_encoder, resnet_trunk
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


@pytest.mark.slow
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


@pytest.mark.parametrize(
    "size", [(32, 64), *(pytest.param(size, marks=pytest.mark.slow) for size in ((416, 416), (480, 96)))]
)
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


def features(model, images):
    return [keras.ops.convert_to_numpy(output) for output in model(images, training=False)]


@pytest.mark.slow
@pytest.mark.parametrize("depth", [50, 101])
def test_dilated_resnets_have_every_feature_of_keras_applications(depth):
    whole = getattr(keras.applications, f"ResNet{depth}")(include_top=False, weights=None, input_shape=(*SIZE, 3))
    theirs = keras.Model(whole.input, [whole.get_layer(f"conv{n}_block3_out").output for n in (2, 5)])
    randomize(theirs)
    # What a block adds is small, else a hundred layers of random weights overflow.
    for layer in theirs.layers:
        if layer.name.endswith("_3_bn"):
            layer.gamma.assign(layer.gamma * 0.1)
    images = np.random.default_rng(1).uniform(-1, 1, (1, *SIZE, 3)).astype(np.float32)
    expected = features(theirs, images)
    for output_stride in (16, 8):
        inputs, low_level, x = resnet_trunk(SIZE, depth=depth, output_stride=output_stride)
        ours = keras.Model(inputs, [low_level, x])
        assert x.shape[1:3] == (SIZE[0] // output_stride, SIZE[1] // output_stride)
        for layer in ours.layers:
            if layer.weights:
                other = theirs.get_layer(layer.name)
                layer.set_weights(other.get_weights())
                assert getattr(layer, "epsilon", None) == getattr(other, "epsilon", None)
        actual_low_level, actual = features(ours, images)
        np.testing.assert_array_equal(actual_low_level, expected[0])
        step = 32 // output_stride
        # The same products, summed in another order by the convolution of another dilation.
        np.testing.assert_allclose(
            actual[:, ::step, ::step], expected[1], rtol=0, atol=1e-5 * np.abs(expected[1]).max()
        )


def test_vgg16_at_an_eighth_has_every_feature_of_a_sixteenth():
    coarse, fine = (keras.Model(*vgg16_encoder(SIZE, output_stride=stride)) for stride in (16, 8))
    fine.set_weights(coarse.get_weights())
    images = np.random.default_rng(1).uniform(-1, 1, (1, *SIZE, 3)).astype(np.float32)
    *_, expected = features(coarse, images)
    *_, actual = features(fine, images)
    assert actual.shape[1:3] == (SIZE[0] // 8, SIZE[1] // 8)
    np.testing.assert_allclose(actual[:, ::2, ::2], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
