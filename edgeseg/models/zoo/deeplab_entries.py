"""List the DeepLabv3+ architectures of the zoo and their options; without keras."""

from __future__ import annotations

from typing import Any

from edgeseg.models.zoo.entry import ZooModel
from edgeseg.models.zoo.options import PILLOW, ModelOption, Variant, dropout_option

_ALPHA = ModelOption(
    name="alpha",
    default=1.0,
    at_least=0.01,
    effect="tensors",
    meaning="factor of the encoder's widths",
    of_encoder=True,
)

#: Where all DeepLab families differ from what has been published, and may be made the same.
_OPTIONS = (
    ModelOption(
        name="output_stride",
        default=16,
        choices=(16, 8),
        effect="result",
        meaning="how much smaller than the input the features are; 8 has dilations where 16 has a stride",
        changes=("strides", "dilation_rate", "padding", "ZeroPadding2D"),
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
    ModelOption(
        name="upsampling",
        default="bilinear",
        choices=("bilinear", "transposed"),
        effect="tensors",
        meaning="how the decoder gets larger: resizes, or transposed convolutions with kernels of twice their stride",
    ),
    ModelOption(
        name="use_bias",
        default=False,
        choices=(False, True),
        effect="tensors",
        meaning="convolutions of ASPP and the decoder have a bias before their batch normalization",
    ),
    ModelOption(
        name="bn_epsilon",
        default=1e-5,
        choices=(1e-5, 1e-3),
        effect="result",
        meaning="epsilon of the batch normalizations of ASPP and the decoder; 0.001 is Keras' default",
        changes=("epsilon",),
    ),
    dropout_option("dropout", 0.1, "after ASPP"),
    dropout_option("decoder_dropout", 0.0, "before the last convolution"),
)

#: ASPP and the decoder of the DeepLabv3+ tutorial.
_TUTORIALS_HEAD: dict[str, Any] = {
    "separable": False,
    "pooling": "average",
    "align_corners": False,
    "use_bias": True,
    "bn_epsilon": 1e-3,
    "dropout": 0.0,
    "decoder_dropout": 0.2,
}

#: The tutorial's author tried other trunks, and does not say which of their layers.
_TUTORIALS_OTHER_TRUNK = Variant("the head of the DeepLabv3+ tutorial", _TUTORIALS_HEAD)

DEEPLAB = (
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
        published_feeding=PILLOW,
        first_of_decoder="aspp0",
        description="DeepLabv3+ with the modified Xception; output stride 16 or 8",
        options=(
            _ALPHA,
            *_OPTIONS,
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
            ModelOption(
                name="depthwise_relu",
                default=False,
                choices=(False, True),
                effect="result",
                meaning="a ReLU after every depthwise convolution of the modified trunk; the ports have none",
                changes=("Activation",),
            ),
        ),
        options_in="edgeseg.models.zoo.deeplab:options_in",
        variants=(
            Variant("the DeepLabv3+ tutorial", {"trunk": "applications", **_TUTORIALS_HEAD}),
            Variant("the paper, with a ReLU after every depthwise convolution", {"depthwise_relu": True}),
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
        published_feeding=PILLOW,
        first_of_decoder="aspp0",
        description="DeepLabv3+ with MobileNetV2 and the whole decoder; output stride 16 or 8",
        options=(_ALPHA, *_OPTIONS),
        options_in="edgeseg.models.zoo.deeplab:options_in",
        variants=(Variant("deeplabv3-plus-keras with downsample_factor=8", {"output_stride": 8}),),
        encoders={"mobilenetv2": {}},
    ),
    ZooModel(
        name="deeplabv3plus_vgg16",
        builder="edgeseg.models.zoo.deeplab:deeplabv3plus_vgg16",
        stride=16,
        default_size=(512, 512),
        parameters=15_894_405,
        gflops=167.7,
        mean=127.5,
        std=127.5,
        weights_from="keras.applications VGG16 (encoder)",
        first_of_decoder="aspp0",
        description="DeepLabv3+ with VGG-16; output stride 16 or 8",
        options=_OPTIONS,
        options_in="edgeseg.models.zoo.deeplab:options_in",
        variants=(_TUTORIALS_OTHER_TRUNK,),
        encoders={"vgg16": {}},
    ),
    ZooModel(
        name="deeplabv3plus_resnet50",
        builder="edgeseg.models.zoo.deeplab:deeplabv3plus_resnet50",
        stride=1,
        default_size=(512, 512),
        parameters=26_793_413,
        gflops=74.1,
        mean=127.5,
        std=127.5,
        weights_from="keras.applications ResNet50 (encoder)",
        first_of_decoder="aspp0",
        description="DeepLabv3+ with ResNet-50; output stride 16 or 8",
        options=_OPTIONS,
        options_in="edgeseg.models.zoo.deeplab:options_in",
        variants=(_TUTORIALS_OTHER_TRUNK,),
        encoders={"resnet50-deeplab": {}},
    ),
    ZooModel(
        name="deeplabv3plus_resnet101",
        builder="edgeseg.models.zoo.deeplab:deeplabv3plus_resnet101",
        stride=1,
        default_size=(512, 512),
        parameters=45_863_877,
        gflops=113.0,
        mean=127.5,
        std=127.5,
        weights_from="keras.applications ResNet101 (encoder)",
        first_of_decoder="aspp0",
        description="DeepLabv3+ with ResNet-101; output stride 16 or 8",
        options=_OPTIONS,
        options_in="edgeseg.models.zoo.deeplab:options_in",
        variants=(_TUTORIALS_OTHER_TRUNK,),
        encoders={"resnet101-deeplab": {}},
    ),
)
