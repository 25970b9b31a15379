"""``deeplab_head``, ``backbones.mobilenetv2`` and ``backbones.xception``: both DeepLab families and their encoders."""

from __future__ import annotations

import re
from typing import Any

import keras
import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.models import ZOO, create
from edgeseg.models.zoo.backbones.mobilenetv2 import divisible_by_8, mobilenetv2_encoder
from edgeseg.models.zoo.backbones.xception import applications_encoder

TUTORIAL = dict(ZOO["deeplabv3plus_xception"].variants[0].options)
# name -> (zoo name, options): every variant, as narrow as it gets
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "mobilenetv2": ("deeplabv3plus_mobilenetv2", {"alpha": 0.1, "filters": 16}),
    "xception": ("deeplabv3plus_xception", {"alpha": 0.1, "filters": 16, "middle_units": 1}),
    "tutorial": ("deeplabv3plus_xception", {**TUTORIAL, "filters": 16}),
    "vgg16": ("deeplabv3plus_vgg16", {"filters": 16}),
    "resnet50": ("deeplabv3plus_resnet50", {"filters": 16}),
}
_slow = {name: [] if name == "mobilenetv2" else pytest.mark.slow for name in VARIANTS}
_variants = {name: pytest.param(name, marks=marks) for name, marks in _slow.items()}
any_size = pytest.mark.parametrize("variant", [_variants[name] for name in VARIANTS if name != "vgg16"])
variants = pytest.mark.parametrize("variant", _variants.values())


def _tiny(variant: str, input_size: tuple[int, int] = (32, 64), **options: Any) -> keras.Model:
    name, narrow = VARIANTS[variant]
    return create(name, num_classes=3, input_size=input_size, **{**narrow, **options})


def _head_parameters(features: int, low_level: int, classes: int) -> int:
    """ASPP and decoder by hand, with 256 channels and separable convolutions."""

    def conv(inputs: int, outputs: int) -> int:
        return inputs * outputs + 4 * outputs

    def separable(inputs: int) -> int:
        return 9 * inputs + 4 * inputs + conv(inputs, 256)

    aspp = 2 * conv(features, 256) + 3 * separable(features) + conv(5 * 256, 256)
    return aspp + conv(low_level, 48) + separable(256 + 48) + separable(256) + (256 + 1) * classes


@pytest.mark.slow
def test_mobilenetv2_parameters_are_those_of_keras_applications_and_a_head() -> None:
    model = create("deeplabv3plus_mobilenetv2", num_classes=21, input_size=(32, 32))
    peer = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3))
    trunk = keras.Model(peer.input, peer.get_layer("block_16_project_BN").output)
    ours = mobilenetv2_encoder((32, 32))
    assert [w.shape for w in keras.Model(ours[0], ours[2]).weights] == [w.shape for w in trunk.weights]
    assert model.count_params() == trunk.count_params() + _head_parameters(320, 24, 21)
    assert model.count_params() == ZOO["deeplabv3plus_mobilenetv2"].parameters


@pytest.mark.slow
def test_xception_has_the_published_parameters() -> None:
    model = create("deeplabv3plus_xception", num_classes=21, input_size=(32, 32))
    # README of Keras-inference-time-optimizer, of keras-deeplab-v3-plus (xception, 21 classes): 41,258,213.
    assert model.count_params() == ZOO["deeplabv3plus_xception"].parameters == 41_258_213


def test_layers_have_the_names_of_the_keras_ports() -> None:
    head = {
        "aspp0", "aspp0_BN", "aspp1_depthwise", "aspp1_depthwise_BN", "aspp3_pointwise", "aspp3_pointwise_BN",
        "image_pooling", "image_pooling_BN", "concat_projection", "concat_projection_BN", "feature_projection0",
        "feature_projection0_BN", "decoder_conv0_depthwise", "decoder_conv1_pointwise_BN", "conv2d_1",
    }  # fmt: skip
    mobilenet = {
        "Conv", "Conv_BN", "expanded_conv_depthwise", "expanded_conv_project_BN", "expanded_conv_1_expand",
        "expanded_conv_2_add", "expanded_conv_16_depthwise_BN", "expanded_conv_16_project",
    }  # fmt: skip
    xception = {
        "entry_flow_conv1_1", "entry_flow_conv1_2_BN", "entry_flow_block1_separable_conv1_depthwise",
        "entry_flow_block3_shortcut_BN", "middle_flow_unit_1_separable_conv1_pointwise",
        "middle_flow_unit_1_separable_conv3_pointwise_BN", "exit_flow_block1_shortcut",
        "exit_flow_block2_separable_conv3_depthwise_BN",
    }  # fmt: skip
    for variant, trunk in (("mobilenetv2", mobilenet), ("xception", xception)):
        assert head | trunk <= {layer.name for layer in _tiny(variant).layers}


@pytest.mark.slow
def test_batch_normalizations_have_the_epsilons_of_the_ports() -> None:
    for variant, momentum in (("mobilenetv2", 0.999), ("xception", 0.99)):
        model = _tiny(variant)
        norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
        head = [n for n in norms if re.match("aspp|image|concat|feature|decoder", n.name)]
        assert {(n.epsilon, n.momentum) for n in head} == {(1e-5, 0.99)}
        assert {(n.epsilon, n.momentum) for n in norms if n not in head} == {(1e-3, momentum)}


@pytest.mark.parametrize(
    ("output_stride", "rates"), [(16, (6, 12, 18)), pytest.param(8, (12, 24, 36), marks=pytest.mark.slow)]
)
def test_output_stride_trades_strides_for_dilation(output_stride: int, rates: tuple[int, ...]) -> None:
    fine = output_stride == 8
    expected = {
        "mobilenetv2": {
            "expanded_conv_3_depthwise": (2, 1),
            "expanded_conv_6_depthwise": (1 if fine else 2, 1),
            "expanded_conv_7_depthwise": (1, 2 if fine else 1),
            "expanded_conv_13_depthwise": (1, 2 if fine else 1),
            "expanded_conv_14_depthwise": (1, 4 if fine else 2),
            "expanded_conv_16_depthwise": (1, 4 if fine else 2),
        },
        "xception": {
            "entry_flow_block2_separable_conv3_depthwise": (2, 1),
            "entry_flow_block3_separable_conv3_depthwise": (1 if fine else 2, 1),
            "middle_flow_unit_1_separable_conv1_depthwise": (1, 2 if fine else 1),
            "exit_flow_block1_separable_conv3_depthwise": (1, 2 if fine else 1),
            "exit_flow_block2_separable_conv1_depthwise": (1, 4 if fine else 2),
        },
    }
    for variant, layers in expected.items():
        model = _tiny(variant, (64, 96), output_stride=output_stride)
        layers |= {f"aspp{number}_depthwise": (1, rate) for number, rate in enumerate(rates, start=1)}
        for name, (stride, rate) in layers.items():
            layer = model.get_layer(name)
            assert (layer.strides, layer.dilation_rate) == ((stride, stride), (rate, rate)), name
        assert model.get_layer("aspp0").output.shape[1:3] == (64 // output_stride, 96 // output_stride)
        assert model.get_layer("feature_projection0").output.shape[1:3] == (16, 24)


@pytest.mark.usefixtures("shallow")
@any_size
@pytest.mark.parametrize("input_size", [pytest.param((64, 96), marks=pytest.mark.slow), (33, 50)])
def test_any_size_works(assert_batch_is_its_images, variant: str, input_size: tuple[int, int]) -> None:
    assert_batch_is_its_images(_tiny(variant, input_size))


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("variant", [_variants[name] for name in ("mobilenetv2", "xception", "resnet50")])
def test_odd_size_at_output_stride_8_works(assert_batch_is_its_images, variant: str) -> None:
    assert_batch_is_its_images(_tiny(variant, (37, 50), output_stride=8))


@pytest.mark.usefixtures("shallow")
@variants
def test_learns(assert_learns, variant: str) -> None:
    # Without dropout, whose masks differ from one call to the next; and large enough for steady batch statistics.
    assert_learns(_tiny(variant, (64, 96), dropout=0.0, decoder_dropout=0.0))


@pytest.mark.usefixtures("shallow")
@variants
def test_round_trip(assert_round_trips, variant: str) -> None:
    assert_round_trips(_tiny(variant))


def test_image_pooling_comes_first_and_is_the_same_everywhere() -> None:
    model = _tiny("mobilenetv2", (64, 96))
    joined = next(layer for layer in model.layers if isinstance(layer, keras.layers.Concatenate))
    views = keras.Model(model.input, [*joined.input, model.get_layer("aspp0_BN").output])
    image = np.random.default_rng(0).uniform(-1, 1, (1, 64, 96, 3)).astype(np.float32)
    pooled, first, *_, aspp0 = (keras.ops.convert_to_numpy(y) for y in views(image, training=False))
    assert pooled.shape == (1, 4, 6, 16)
    np.testing.assert_array_equal(pooled, np.broadcast_to(pooled[:, :1, :1], pooled.shape))
    assert pooled.any()
    np.testing.assert_array_equal(first, np.maximum(aspp0, 0))
    assert np.ptp(first, axis=(1, 2)).any()


def test_logits_are_resized_with_aligned_corners(assert_resizes_aligned) -> None:
    assert_resizes_aligned(_tiny("mobilenetv2"), "conv2d_1")


@pytest.mark.slow
def test_the_tutorials_trunk_is_that_of_keras_applications() -> None:
    inputs, low_level, features = applications_encoder((320, 320))
    assert low_level.shape == (None, 80, 80, 256)
    assert features.shape == (None, 20, 20, 1024)
    ours = keras.Model(inputs, [low_level, features])
    peer = keras.applications.Xception(include_top=False, weights=None, input_shape=(324, 324, 3))
    peer = keras.Model(
        peer.input, [peer.get_layer(name).output for name in ("block3_sepconv2_bn", "block13_sepconv2_bn")]
    )
    ours.set_weights(peer.get_weights())
    image = np.random.default_rng(0).uniform(-1, 1, (1, 320, 320, 3)).astype(np.float32)
    padded = np.pad(image, ((0, 0), (2, 2), (2, 2), (0, 0)))
    for actual, expected in zip(ours(image, training=False), peer(padded, training=False), strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(actual), keras.ops.convert_to_numpy(expected))


@pytest.mark.slow
def test_the_tutorials_model_has_plain_convolutions_and_the_same_names_every_time() -> None:
    models = [_tiny("tutorial") for _ in range(2)]
    names = [[layer.name for layer in model.layers if layer.weights] for model in models]
    assert names[0] == names[1]
    assert [name for name in names[0] if re.fullmatch(r"(conv2d|batch_normalization)(_\d+)?", name)] == ["conv2d_1"]
    assert models[0].get_layer("aspp2").kernel.shape == (3, 3, 1024, 16)
    assert models[0].get_layer("aspp2").dilation_rate == (12, 12)
    assert models[0].get_layer("decoder_conv1").kernel.shape == (3, 3, 16, 16)
    assert models[0].get_layer("image_pooling").output.shape == (None, 1, 2, 16)


@pytest.mark.parametrize("output_stride", [16, pytest.param(8, marks=pytest.mark.slow)])
def test_transposed_convolutions_reach_the_inputs_size(output_stride: int) -> None:
    options = {"upsampling": "transposed", "output_stride": output_stride}
    model = _tiny("mobilenetv2", (32, 64), **options)
    assert model.output_shape == (None, 32, 64, 3)
    first, last = model.get_layer("decoder_transposed"), model.get_layer("logits_transposed")
    factor = output_stride // 4
    assert (first.strides, tuple(first.kernel.shape[:2])) == ((factor,) * 2, (2 * factor,) * 2)
    assert (last.strides, tuple(last.kernel.shape)) == ((4, 4), (8, 8, 3, 16))
    assert not [layer.name for layer in model.layers if "logits_resize" in layer.name or layer.name == "conv2d_1"]
    with pytest.raises(InputError, match=rf"divisible by {output_stride}, got 36,64; upsampling=bilinear takes any"):
        _tiny("mobilenetv2", (36, 64), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_stride": 32}, "output_stride must be 16 or 8, got 32"),
        ({"trunk": "resnet"}, "trunk must be modified or applications, got resnet"),
        ({"upsampling": "nearest"}, "upsampling must be bilinear or transposed, got nearest"),
        (
            {"upsampling": "transposed", "align_corners": False, "alpha": 0.1, "middle_units": 1},
            "align_corners=false has no effect with upsampling=transposed and pooling=global",
        ),
        ({"pooling": "max", "alpha": 0.1, "middle_units": 1}, "pooling must be global or average, got max"),
        ({"trunk": "applications", "depthwise_relu": True}, "takes no output_stride, alpha"),
        (
            {"trunk": "applications", "output_stride": 8},
            "takes no output_stride, alpha, middle_units or depthwise_relu",
        ),
    ],
)
def test_unknown_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        create("deeplabv3plus_xception", num_classes=2, input_size=(32, 32), **options)


@pytest.mark.parametrize(("filters", "expected"), [(32, 32), (11.2, 16), (4, 8), (1, 8), (33.6, 32), (44.8, 48)])
def test_widths_are_multiples_of_8_and_lose_at_most_a_tenth(filters: float, expected: int) -> None:
    assert divisible_by_8(filters) == expected
