import pytest

from edgeseg.errors import InputError
from edgeseg.models import ZOO, create

NAMES = ("unet_vgg16", "unet_resnet50")


def convolution(kernel, inputs, outputs):
    return (kernel * kernel * inputs + 1) * outputs


def decoder_parameters(skips, deepest):
    """Two 3x3 convolutions at each level, on the skip and what comes from below."""
    total, below = 0, deepest
    for skip, filters in zip(skips, (512, 256, 128, 64), strict=True):
        total += convolution(3, skip + below, filters) + convolution(3, filters, filters)
        below = filters
    return total


@pytest.mark.parametrize(
    ("name", "expected", "convolutions"),
    [
        # The encoders without their heads, as keras.applications publishes them: 14_714_688 and 23_587_712.
        ("unet_vgg16", 14_714_688 + decoder_parameters((512, 256, 128, 64), 512) + convolution(1, 64, 21), 9),
        (
            "unet_resnet50",
            23_587_712
            + decoder_parameters((1024, 512, 256, 64), 2048)
            + 2 * convolution(3, 64, 64)
            + convolution(1, 64, 21),
            11,
        ),
    ],
)
def test_parameters_are_those_of_unet_keras(name, expected, convolutions):
    model = create(name, num_classes=21, input_size=(32, 64))
    assert model.count_params() == expected == ZOO[name].parameters
    names = [layer.name for layer in model.layers if layer.weights and layer.name.startswith("conv2d")]
    assert names == [f"conv2d_{n}" for n in range(1, convolutions + 1)]


@pytest.mark.slow
@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("input_size", [(64, 64), (32, 96)])
def test_answers_at_the_input_size(name, input_size, assert_batch_is_its_images, thin):
    model = thin(create(name, num_classes=5, input_size=input_size))
    assert model.output_shape == (None, *input_size, 5)
    assert_batch_is_its_images(model)


@pytest.mark.parametrize("name", NAMES)
def test_the_encoders_level_comes_first_in_a_concatenation(name):
    model = create(name, num_classes=3, input_size=(32, 64))
    joins = [layer for layer in model.layers if type(layer).__name__ == "Concatenate"]
    sources = [[tensor._keras_history.operation for tensor in layer.input] for layer in joins]
    assert len(sources) == 4
    for skip, below in sources:
        assert "up_sampling" not in skip.name
        assert "up_sampling" in below.name and below.interpolation == "nearest"


@pytest.mark.parametrize(("name", "nearest"), [("unet_vgg16", "48,64"), ("unet_resnet50", "64,64")])
def test_a_size_between_strides_names_the_nearest(name, nearest):
    with pytest.raises(InputError, match=f"Nearest: {nearest}"):
        create(name, num_classes=3, input_size=(51, 64))


@pytest.mark.slow
@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("name", NAMES)
def test_learns_and_round_trips(name, assert_learns, assert_round_trips, thin):
    model = thin(create(name, num_classes=4, input_size=(32, 64)))
    assert_learns(model)
    assert_round_trips(model)
