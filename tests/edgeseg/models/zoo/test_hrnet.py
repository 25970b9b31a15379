from __future__ import annotations

import keras
import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.models import ZOO, create
from edgeseg.models.zoo.hrnet import hrnetv2


@pytest.fixture(scope="module")
def w18() -> keras.Model:
    return create("hrnetv2_w18", num_classes=21, input_size=(32, 32))


def _tiny(input_size: tuple[int, int] = (32, 64)) -> keras.Model:
    return hrnetv2(num_classes=3, input_size=input_size, width=4, modules=(1, 1), blocks=1)


def _parameters(width: int, classes: int, per_batch_norm_channel: int) -> int:
    """Counted by hand from the paper's structure; 4 per channel of a BatchNormalization in all, 2 of them trained."""

    def unit(kernel: int, inputs: int, outputs: int) -> int:
        return kernel * kernel * inputs * outputs + per_batch_norm_channel * outputs

    def module(branches: int) -> int:
        total = sum(4 * 2 * unit(3, w, w) for w in widths[:branches])
        for i in range(branches):
            total += sum(unit(1, widths[j], widths[i]) for j in range(i + 1, branches))
            total += sum((i - j - 1) * unit(3, widths[j], widths[j]) + unit(3, widths[j], widths[i]) for j in range(i))
        return total

    widths = [width, 2 * width, 4 * width, 8 * width]
    bottlenecks = [unit(1, c, 64) + unit(3, 64, 64) + unit(1, 64, 256) for c in (64, 256, 256, 256)]
    stem = unit(3, 3, 64) + unit(3, 64, 64) + sum(bottlenecks) + unit(1, 64, 256)
    transitions = unit(3, 256, widths[0]) + unit(3, 256, widths[1])
    transitions += unit(3, widths[1], widths[2]) + unit(3, widths[2], widths[3])
    joined = sum(widths)
    head = unit(1, joined, joined) + joined + (joined + 1) * classes
    return stem + transitions + module(2) + 4 * module(3) + 3 * module(4) + head


@pytest.mark.parametrize("width", [18, 32, 48])
def test_parameters_in_the_table_are_those_counted_by_hand(width: int) -> None:
    assert ZOO[f"hrnetv2_w{width}"].parameters == _parameters(width, 21, 4)


@pytest.mark.slow
def test_parameters_are_those_of_the_table_and_of_the_publication(w18: keras.Model) -> None:
    assert w18.count_params() == ZOO["hrnetv2_w18"].parameters
    assert sum(int(np.prod(weight.shape)) for weight in w18.trainable_weights) == _parameters(18, 21, 2)
    # README of HRNet-Semantic-Segmentation: "HRNetV2-W48, Cityscapes (19 classes), #Params 65.8M". That w48 itself is
    # what the formula counts is seen in test_zoo.py, which builds it.
    assert _parameters(48, 19, 2) // 100_000 == 658


def test_layers_have_the_names_of_hrnet_keras(w18: keras.Model) -> None:
    names = {layer.name for layer in w18.layers}
    stem = {"conv1", "bn1", "conv2", "bn2", "layer1.0.downsample.0", "layer1.0.downsample.1", "layer1.3.conv3"}
    transitions = {"transition1.0.0", "transition1.1.0.1", "transition2.2.0.0", "transition3.3.0.0"}
    stages = {"stage2.0.branches.1.3.bn2", "stage3.3.branches.2.0.conv1", "stage4.2.branches.3.3.conv2"}
    fusions = {"stage2.0.fuse_layers.0.1.0", "stage2.0.fuse_layers.1.0.0.1", "stage4.2.fuse_layers.3.0.2.1"}
    assert stem | transitions | stages | fusions <= names
    upsamplings = {"Upsample1"}
    upsamplings |= {f"Upsample.{module}.{number}" for module in range(4) for number in (2, 3, 4)}
    upsamplings |= {f"Upsample.{module}.{number}" for module in range(3) for number in (5, 6, 7, 8, 9, 10)}
    assert {name for name in names if name.startswith("Upsample")} == upsamplings


@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [
        ("3.0.0.0", 18, 18),  # from branch 0 over two more steps: the width changes in the last only
        ("3.0.1.0", 18, 18),
        ("3.0.2.0", 18, 144),
        ("3.1.0.0", 36, 36),
        ("3.1.1.0", 36, 144),
        ("3.2.0.0", 72, 144),
        ("2.0.0.0", 18, 18),
        ("2.0.1.0", 18, 72),
    ],
)
def test_a_chain_down_keeps_the_width_of_its_source(w18: keras.Model, name: str, inputs: int, outputs: int) -> None:
    layer = w18.get_layer(f"stage4.0.fuse_layers.{name}")
    assert layer.kernel.shape == (3, 3, inputs, outputs)
    assert (layer.strides, layer.padding) == ((2, 2), "valid")


def test_only_the_head_has_biases(w18: keras.Model) -> None:
    convs = [layer for layer in w18.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.name for layer in convs if layer.use_bias] == ["conv2d_1", "conv2d_2"]
    assert w18.get_layer("conv2d_1").kernel.shape == (1, 1, 270, 270)
    assert w18.get_layer("conv2d_2").kernel.shape == (1, 1, 270, 21)
    batch_norms = [layer for layer in w18.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert {layer.epsilon for layer in batch_norms} == {1e-5}
    assert "batch_normalization_1" in {layer.name for layer in batch_norms}


@pytest.mark.slow
@pytest.mark.parametrize("input_size", [(64, 64), (32, 96)])
def test_works_at_sizes_that_are_not_square_too(assert_batch_is_its_images, input_size: tuple[int, int]) -> None:
    assert_batch_is_its_images(_tiny(input_size))


def test_logits_are_resized_with_aligned_corners(assert_resizes_aligned) -> None:
    assert_resizes_aligned(_tiny(), "conv2d_2")


@pytest.mark.slow
def test_learns(assert_learns) -> None:
    assert_learns(_tiny())


@pytest.mark.slow
def test_round_trip(assert_round_trips) -> None:
    assert_round_trips(_tiny())


def test_a_size_that_does_not_divide_by_32_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"divisible by 32, got 500,480 .* Nearest: 512,480"):
        create("hrnetv2_w18", num_classes=2, input_size=(500, 480))
