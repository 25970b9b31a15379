import itertools

import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.models import ZOO, create
from edgeseg.models.zoo.segnet import resnet50_segnet


def convolution(kernel, inputs, outputs):
    return (kernel * kernel * inputs + 1) * outputs


def convolution_and_norm(kernel, inputs, outputs):
    return convolution(kernel, inputs, outputs) + 4 * outputs


def test_segnet_has_the_parameters_of_its_26_convolutions():
    # The channels of tf-keras-SegNet's model.py, in order.
    channels = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    channels += [512, 512, 512, 512, 512, 256, 256, 256, 128, 128, 64, 64]
    expected = sum(convolution_and_norm(3, i, o) for i, o in itertools.pairwise(channels))
    expected += convolution_and_norm(1, 64, 21)

    model = create("segnet", num_classes=21, input_size=(32, 64))

    assert model.count_params() == expected == ZOO["segnet"].parameters
    names = {layer.name for layer in model.layers if layer.weights}
    assert names == {f"{kind}_{n}" for kind in ("conv2d", "batch_normalization") for n in range(1, 27)}


@pytest.mark.parametrize("input_size", [(64, 64), (32, 96)])
def test_segnet_answers_at_the_input_size(input_size, assert_batch_is_its_images):
    model = create("segnet", num_classes=5, input_size=input_size)
    assert model.output_shape == (None, *input_size, 5)
    assert_batch_is_its_images(model)


def test_segnet_logits_are_the_last_normalization():
    model = create("segnet", num_classes=3, input_size=(32, 32))
    assert model.layers[-1].name == "batch_normalization_26"
    assert model.get_layer("conv2d_26").kernel.shape == (1, 1, 64, 3)


def test_segnet_is_the_same_under_both_index_conventions():
    images = np.random.default_rng(0).uniform(0, 1, (3, 32, 64, 3)).astype(np.float32)
    without = create("segnet", num_classes=4, input_size=(32, 64))
    within = create("segnet", num_classes=4, input_size=(32, 64), include_batch_in_index=True)
    within.set_weights(without.get_weights())
    np.testing.assert_array_equal(within(images, training=False), without(images, training=False))


@pytest.mark.slow
def test_segnet_learns_and_round_trips(assert_learns, assert_round_trips, thin):
    model = thin(create("segnet", num_classes=4, input_size=(32, 64)))
    assert_learns(model)
    assert_round_trips(model)


def test_resnet50_segnet_has_the_parameters_of_the_tutorial():
    # 8_589_184: keras.applications' ResNet50 up to conv4_block6_out, see test_encoders.py.
    steps = [(1024, 512), (512, 256), (256, 128), (128, 64)]
    expected = 8_589_184 + sum(convolution_and_norm(3, *step) for step in steps) + convolution(3, 64, 21)

    model = create("resnet50_segnet", num_classes=21, input_size=(32, 64))

    assert model.count_params() == expected == ZOO["resnet50_segnet"].parameters
    names = {layer.name for layer in model.layers if layer.weights and layer.name.startswith(("conv2d", "batch"))}
    assert names == {f"conv2d_{n}" for n in range(1, 6)} | {f"batch_normalization_{n}" for n in range(1, 5)}


@pytest.mark.parametrize("input_size", [(32, 32), (416, 416), (96, 64), (160, 352)])
def test_resnet50_segnet_is_at_exactly_half_size(input_size):
    model = create("resnet50_segnet", num_classes=3, input_size=input_size)
    assert model.output_shape == (None, input_size[0] // 2, input_size[1] // 2, 3)


@pytest.mark.slow
@pytest.mark.parametrize(("encoder_level", "n_up", "divisor"), [(2, 2, 2), (2, 3, 1), (3, 4, 1), (4, 4, 2), (4, 2, 8)])
def test_resnet50_segnet_takes_other_levels(encoder_level, n_up, divisor):
    options = {"encoder_level": encoder_level, "n_up": n_up}
    model = resnet50_segnet(num_classes=3, input_size=(64, 32), **options)
    assert model.output_shape == (None, 64 // divisor, 32 // divisor, 3)


@pytest.mark.usefixtures("shallow")
def test_resnet50_segnet_flat_is_the_map_in_row_order():
    images = np.random.default_rng(0).uniform(0, 1, (2, 32, 64, 3)).astype(np.float32)
    maps = resnet50_segnet(num_classes=3, input_size=(32, 64))
    flat = resnet50_segnet(num_classes=3, input_size=(32, 64), flatten=True)
    flat.set_weights(maps.get_weights())
    assert flat.output_shape == (None, 16 * 32, 3)
    np.testing.assert_array_equal(flat(images), np.reshape(maps(images), (2, 16 * 32, 3)))


@pytest.mark.parametrize(
    ("options", "said"), [({"encoder_level": 1}, "encoder_level must be 2, 3 or 4"), ({"n_up": 5}, "from 2 to 4")]
)
def test_resnet50_segnet_refuses_what_it_cannot_decode(options, said):
    with pytest.raises(InputError, match=said):
        create("resnet50_segnet", num_classes=3, input_size=(32, 32), **options)


@pytest.mark.parametrize("name", ["segnet", "resnet50_segnet"])
def test_a_size_between_strides_names_the_nearest(name):
    with pytest.raises(InputError, match=r"divisible by 32, got 100,64 .*Nearest: 96,64"):
        create(name, num_classes=3, input_size=(100, 64))


@pytest.mark.slow
@pytest.mark.usefixtures("shallow")
def test_resnet50_segnet_learns_and_round_trips(assert_learns, assert_round_trips, assert_batch_is_its_images, thin):
    model = thin(create("resnet50_segnet", num_classes=4, input_size=(32, 64)))
    assert_learns(model)
    assert_batch_is_its_images(model)
    assert_round_trips(model)
