"""Say what a layer computes, from its config: one form for Keras 2 and 3, and for layers that compute the same.

    Given                                              Result
    Conv2D(activation="relu")                          Conv2D, then Activation relu
    ReLU(6), Activation("relu6"), keras.ops.relu6      Activation relu6
    LeakyReLU(alpha=0.1), ReLU(negative_slope=0.1)     Activation leaky_relu, slope 0.1
    UpSampling2D, UpsampleLike, ResizeBilinear, ...    Resize: interpolation, align_corners, factor
    size=2, axis=[3], 0.001 rounded to float32         (2, 2), 3, equal to 0.001
    MaxPool2D, Convolution2D                           MaxPooling2D, Conv2D

Settings without effect on the output for given weights are no part of it:

    name, dtype, trainable                             the values are the same, up to rounding
    initializers, regularizers, constraints, momentum  they act in training alone, and so do Dropout and noise
    keepdims                                           the values are the same, and a Reshape does it too
    filters, kernel_size, use_bias, scale, center      the tensors' shapes say them, and those are matched
    shapes of inputs and builds                        weights fit any input size
    conventions of pooling indices                     the same values are put to the same places
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import keras

from edgeseg.errors import InputError
from edgeseg.models import layers as own_layers
from edgeseg.models.keras_files.custom_objects import KNOWN

_WITHOUT_EFFECT = frozenset(
    {
        "name", "trainable", "dtype", "autocast", "sparse", "ragged", "optional", "implementation",
        "batch_shape", "shape", "batch_input_shape", "input_shape", "batch_size", "quantization_config", "lora_rank",
        "lora_alpha", "activity_regularizer", "momentum", "renorm", "renorm_clipping", "renorm_momentum",
        "virtual_batch_size", "fused", "synchronized", "seed", "include_batch_in_index", "index_dtype", "keepdims",
        "filters", "units", "kernel_size", "depth_multiplier", "groups", "use_bias", "scale", "center", "output_dim",
    }
)  # fmt: skip
_WITHOUT_EFFECT_ENDINGS = ("initializer", "regularizer", "constraint")

#: Layers that return their input in inference.
_IDENTITIES = frozenset(
    {
        "ActivityRegularization", "AlphaDropout", "Cast", "Dropout", "GaussianDropout", "GaussianNoise", "Identity",
        "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D",
    }
)  # fmt: skip
IDENTITY, ACTIVATION, RESIZE = "Identity", "Activation", "Resize"

#: Layers whose last step is their activation.
_WITH_ACTIVATION = frozenset(
    {
        "Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose", "Conv3DTranspose", "Dense", "DepthwiseConv2D",
        "SeparableConv2D",
    }
)  # fmt: skip

#: Operations of ``keras.ops``, as configs call them, that are activations.
_OPS = {"Relu": "relu", "Relu6": "relu6", "Sigmoid": "sigmoid", "Softmax": "softmax", "Silu": "silu", "Elu": "elu"}
_SAME_ACTIVATION = {"swish": "silu", "hard_swish": "hard_silu"}
#: One number for both sides, or two.
_PAIRS = frozenset({"strides", "pool_size", "dilation_rate", "size", "output_padding", "up_size"})
#: Names of an argument in Keras 2 that Keras 3 changed.
_RENAMED = {("LeakyReLU", "alpha"): "negative_slope"}


@dataclass(frozen=True)
class Settings:
    """What a layer or operation computes from its inputs and weights.

    Attributes:
        kind: the class, or ``Identity``, ``Activation`` and ``Resize`` for those of which there are several.
        values: its settings, without those that have no effect.
        known: whether the class is one of Keras or of this project; of another, a file says only the name.
        window: kernel or pool size ``(height, width)``, of a layer that has one.
    """

    kind: str
    values: Mapping[str, Any] = field(default_factory=dict)
    known: bool = True
    window: tuple[int, int] | None = None


def settings_of(class_name: str, config: Mapping[str, Any], *, training: bool = False) -> list[Settings]:
    """Return what a layer computes: one entry, or two where its activation is a second.

    Args:
        class_name: of the layer; registered names (``edgeseg>ResizeBilinear``) too.
        config: its config, in the form of Keras 2 or 3.
        training: whether it is called in training mode.
    """
    kind, config, known = _resolved(class_name.rpartition(">")[2], config)
    config = _renamed(kind, config)
    if kind in _IDENTITIES:
        return [Settings(kind, {"training": True}) if training and "Drop" in kind else Settings(IDENTITY)]
    activation = _activation(kind, config)
    if activation is not None:
        return [_as_activation(activation)]
    resize = _resize(kind, config)
    if resize is not None:
        return [Settings(RESIZE, resize)]
    last = _as_activation(_named(config["activation"])) if kind in _WITH_ACTIVATION and "activation" in config else None
    values = {
        key: _plain(key, value)
        for key, value in config.items()
        if not (_has_no_effect(key) or (key == "activation" and last is not None))
    }
    if values.get("strides", ()) is None:  # a pooling's are its size
        values["strides"] = values.get("pool_size")
    if training and kind == "BatchNormalization":
        values["training"] = True
    window = _pair(config.get("kernel_size", config.get("pool_size")))
    main = Settings(kind, values, known, window)
    return [main] if last is None or last.kind == IDENTITY else [main, last]


def is_sequential(layer: Mapping[str, Any]) -> bool:
    """Return whether the config of a model is that of a chain of layers."""
    return "output_layers" not in layer["config"]


def value_of(settings: Settings, name: str) -> Any:
    """Return a setting; today's default where the config does not have it, ``None`` where there is none."""
    if name in settings.values:
        return settings.values[name]
    default = getattr(_parameters(settings.kind).get(name), "default", None)
    return None if default is inspect.Parameter.empty else _plain(name, default)


def is_equal(setting: str, one: Any, other: Any, rank: int | None = None) -> bool:
    """Return whether two values of a setting mean the same.

    Args:
        setting: its name.
        one: a value, as in ``Settings``.
        other: the other.
        rank: axes of the layer's input, by which an axis counted from the front is one counted from the end.
    """
    if setting == "axis" and rank is not None:
        one, other = (axis - rank if isinstance(axis, int) and axis >= 0 else axis for axis in (one, other))
    if isinstance(one, float) or isinstance(other, float):
        numbers = isinstance(one, int | float) and isinstance(other, int | float)
        return numbers and math.isclose(one, other, rel_tol=1e-6)  # a value may have been a float32
    return bool(one == other)


def _resolved(name: str, config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any], bool]:
    """Return a class and config as today's Keras and this project have them, and whether the class is known."""
    if name in _OPS or name in ("Cast", "Identity"):
        return name, config, True
    from_config = getattr(KNOWN.get(name), "from_config", None)  # of a layer, not of a function
    if from_config is not None:
        try:
            layer = from_config({key: value for key, value in config.items() if key != "dtype"})
        except (InputError, TypeError, ValueError):  # another project's layer of that name
            return name, config, False
        return type(layer).__name__, layer.get_config(), True
    own = getattr(keras.layers, name, None)
    if isinstance(own, type):
        return own.__name__, config, own is not keras.layers.Lambda  # whose code is not read
    is_ours = isinstance(getattr(own_layers, name, None), type)
    return name, config, is_ours or name in _operation_names()


def _renamed(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    return {_RENAMED.get((kind, key), key): value for key, value in config.items()}


@functools.cache
def _operation_names() -> frozenset[str]:
    """Return the class names of operations of ``keras.ops``: ``expand_dims`` is ``ExpandDims``."""
    return frozenset("".join(part.capitalize() for part in name.split("_")) for name in dir(keras.ops))


@functools.cache
def _parameters(kind: str) -> Mapping[str, inspect.Parameter]:
    layer_class = getattr(keras.layers, kind, None) or getattr(own_layers, kind, None)
    return {} if layer_class is None else inspect.signature(layer_class.__init__).parameters


def _has_no_effect(key: str) -> bool:
    return key in _WITHOUT_EFFECT or key.endswith(_WITHOUT_EFFECT_ENDINGS)


def _plain(key: str, value: Any) -> Any:
    """Return a value in one form: tuples, both sides of a pair, ``channels_last`` for the default of all projects."""
    if isinstance(value, list | tuple):
        value = tuple(_plain("", item) for item in value)
    elif isinstance(value, dict):
        if "class_name" in value:
            config = value.get("config")
            inner = settings_of(str(value["class_name"]), config) if isinstance(config, dict) else []
            return tuple((each.kind, tuple(sorted(each.values.items()))) for each in inner) or _named(value)
        return tuple(sorted((name, _plain(name, item)) for name, item in value.items() if not _has_no_effect(name)))
    if key in _PAIRS:
        return _pair(value)
    if key == "padding":
        return value.lower() if isinstance(value, str) else _borders(value)
    if key == "axis" and isinstance(value, tuple) and len(value) == 1:
        return value[0]
    if key == "data_format":
        return value or "channels_last"
    return value


def _pair(value: Any) -> Any:
    if isinstance(value, int):
        return (value, value)
    return tuple(value) if isinstance(value, list | tuple) else value


def _borders(value: Any) -> Any:
    """Return ((top, bottom), (left, right)) of ZeroPadding2D and Cropping2D."""
    sides = _pair(value)
    if not isinstance(sides, tuple) or len(sides) != 2:
        return sides
    return tuple(_pair(side) for side in sides)


# --- activations and resizes ---


def _named(activation: Any) -> dict[str, Any]:
    """Return an activation by name and arguments, from a name, a function's config or a layer's."""
    if isinstance(activation, dict):
        inner = activation.get("config")
        if isinstance(inner, dict):
            name = str(activation.get("class_name"))
            return _activation(name, _renamed(name, inner)) or {"activation": name}
        activation = inner or activation.get("class_name")
    name = "linear" if activation is None else str(activation).rpartition(">")[2]
    name = _SAME_ACTIVATION.get(name, name)
    return {"activation": name, **({"negative_slope": 0.2} if name == "leaky_relu" else {})}


def _activation(kind: str, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what an activation layer computes; ``None`` for any other layer."""
    if kind == "Activation":
        return _named(config.get("activation"))
    if kind in _OPS or kind == "Softmax":
        name = _OPS.get(kind, "softmax")
        return {"activation": name}
    if kind == "LeakyReLU":
        return {"activation": "leaky_relu", "negative_slope": _number(config.get("negative_slope", 0.3))}
    if kind == "ELU":
        return {"activation": "elu", "alpha": _number(config.get("alpha", 1.0))}
    if kind != "ReLU":
        return None
    limit, slope = config.get("max_value"), _number(config.get("negative_slope") or 0)
    threshold = _number(config.get("threshold") or 0)
    if threshold == 0 and limit is None:
        return {"activation": "leaky_relu", "negative_slope": slope} if slope else {"activation": "relu"}
    if threshold == 0 and slope == 0 and _number(limit) == 6:
        return {"activation": "relu6"}
    limit = None if limit is None else _number(limit)
    return {"activation": "relu", "max_value": limit, "negative_slope": slope, "threshold": threshold}


def _as_activation(values: dict[str, Any]) -> Settings:
    return Settings(IDENTITY) if values["activation"] == "linear" else Settings(ACTIVATION, values)


def _number(value: Any) -> Any:
    """Return a number that a config may have as a float32 array: ``{"class_name": "__numpy__"}`` or ``__array__``."""
    if isinstance(value, dict):
        inner = value.get("config", {}).get("value") if isinstance(value.get("config"), dict) else value.get("value")
        value = inner[0] if isinstance(inner, list) and len(inner) == 1 else inner
    return float(value) if isinstance(value, int | float) else value


def _resize(kind: str, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a resizing layer computes, a factor of ``None`` where its config has none; ``None`` for any other."""
    if kind == "UpSampling2D":
        factor = _pair(config.get("size", 2))
        return {"interpolation": config.get("interpolation", "nearest"), "align_corners": False, "factor": factor}
    if kind == "UpsampleLike":
        return {"interpolation": "nearest", "align_corners": False, "factor": None}
    if kind in ("ResizeBilinear", "BilinearUpsampling"):
        factor = _pair(config.get("upsampling"))
        return {"interpolation": "bilinear", "align_corners": config.get("align_corners", True), "factor": factor}
    if kind == "Resizing":
        special = [key for key in ("crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias") if config.get(key)]
        rest = {key: True for key in special}
        return {
            "interpolation": config.get("interpolation", "bilinear"),
            "align_corners": False,
            "factor": None,
            **rest,
        }
    return None
