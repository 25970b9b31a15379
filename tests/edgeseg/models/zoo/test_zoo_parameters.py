import keras
import pytest

from edgeseg.models import ZOO, create


# The other families' counts are derived in their own files.
@pytest.mark.parametrize("name", ["unet_mini", "mobilenet_unet", "efficientnet_lite0_unet"])
def test_the_table_has_the_measured_number_of_parameters(name):
    assert create(name, num_classes=21, input_size=(64, 96)).count_params() == ZOO[name].parameters


def test_mobilenet_unet_is_keras_mobilenet_up_to_f4_and_the_tutorials_decoder():
    whole = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(64, 96, 3))
    encoder = keras.Model(whole.input, whole.get_layer("conv_pw_11_relu").output).count_params()
    # Skips f3, f2 and f1 have 256, 128 and 64 channels; each step is a 3x3 convolution with bias and its BN.
    steps = [(512, 512), (512 + 256, 256), (256 + 128, 128), (128 + 64, 128), (128, 64)]
    decoder = sum((9 * inputs + 1) * outputs + 4 * outputs for inputs, outputs in steps) + (9 * 64 + 1) * 21
    assert encoder + decoder == ZOO["mobilenet_unet"].parameters
