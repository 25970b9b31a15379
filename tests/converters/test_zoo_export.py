"""Every family of the zoo to TFLite and ONNX, each file proven on its runtime; each at a size that is not square."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import keras
import pytest

from edgeseg.models import create
from edgeseg.models.zoo.hrnet import hrnetv2
from edgeseg.models.zoo.table import ZOO
from edgeseg_converters import Recipe, export_all
from edgeseg_converters.images import Samples, natural_noise

SIZE = (64, 96)  # not square, which would hide swapped sides; tests of targets export all of them square

# More of the same blocks is the same code with other numbers, and takes minutes; one of each kind represents them
# (the fixture ``shallow``). At full depth all are converted in test_targets, and the default model is in test_packaged.
_FEWER_BLOCKS: dict[str, Callable[[tuple[int, int]], keras.Model]] = {
    "hrnetv2_w18": lambda size: hrnetv2(width=16, modules=(1, 1), blocks=1, num_classes=4, input_size=size),
    "deeplabv3plus_xception": lambda size: create(
        "deeplabv3plus_xception", num_classes=4, input_size=size, middle_units=1
    ),
}


@pytest.fixture(autouse=True)
def _one_model_in_memory() -> Iterator[None]:
    yield
    keras.backend.clear_session()
    gc.collect()  # graphs are cycles; the weights in them add up to gigabytes


# The wide HRNets and the deeper ResNet are the other one's code with other numbers. SegNet needs weights that do not
# fade to ties, and has its own test in test_export_rewritten. unet_resnet50 is 44 M parameters of resnet50_segnet's
# encoder and unet_vgg16's decoder, and takes as long as ten others.
_ELSEWHERE = ("hrnetv2_w32", "hrnetv2_w48", "segnet", "unet_resnet50", "deeplabv3plus_resnet101")
_FEW = ("unet_mini", "deeplabv3plus_mobilenetv2")


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in _FEW else pytest.mark.slow) for name in ZOO if name not in _ELSEWHERE],
)
def test_export_is_proven(name: str, thin: Callable[[keras.Model], keras.Model]) -> None:
    keras.utils.set_random_seed(0)
    build = _FEWER_BLOCKS.get(name)
    model = thin(build(SIZE) if build else create(name, num_classes=4, input_size=SIZE))
    samples = Samples((natural_noise(0, SIZE),), "noise")
    recipes = [Recipe("tflite", "fp32"), Recipe("onnx", "fp32")]
    for result in export_all(model, ZOO[name].default_spec(4, SIZE), recipes, samples=samples):
        assert result.verification is not None
        assert result.verification.passed, (result.file_name, result.verification)


@pytest.mark.usefixtures("shallow")
def test_a_decoder_of_transposed_convolutions_is_proven() -> None:
    keras.utils.set_random_seed(0)
    size, name = (32, 64), "deeplabv3plus_mobilenetv2"
    model = create(name, num_classes=4, input_size=size, alpha=0.1, filters=16, upsampling="transposed")
    samples = Samples((natural_noise(0, size),), "noise")
    recipes = [Recipe("tflite", "fp32"), Recipe("onnx", "fp32")]
    for result in export_all(model, ZOO[name].default_spec(4, size), recipes, samples=samples):
        assert result.verification is not None
        assert result.verification.passed, (result.file_name, result.verification)
