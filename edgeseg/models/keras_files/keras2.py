"""Translate a model config of Keras 2 to Keras 3, which refuses or misreads some of it by itself.

    Given                                             Result
    groups=1 of DepthwiseConv2D, Conv2DTranspose, ... omitted, like every argument that Keras 3 no longer has
    activation "hard_sigmoid", clip(0.2 x + 0.5)      Keras 2's function: that of Keras 3 is relu6(x + 3) / 6
    mixed-precision Policy                            its name
    SyncBatchNormalization, BatchNormalizationV1      BatchNormalization: the same in inference
    batch_input_shape of a Sequential's first layer   input_shape, without the batch
    module of a layer (.keras files)                  omitted, as in .h5 files: Keras 2's modules have moved
    a layer named encoder/conv                        encoder_conv (``rename_layers``): Keras 3 refuses the slash

The record of calls is read by ``keras2_graph``. Found by loading every layer of tf-keras 2.21 with Keras 3.15.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import keras
from keras import ops

#: Arguments that Keras 3 no longer has, and the values that can be omitted (``None``: any).
_GONE: dict[str, dict[str, tuple[Any, ...] | None]] = {
    **{f"DepthwiseConv{n}D": {"groups": (1,)} for n in (1, 2)},
    **{f"Conv{n}DTranspose": {"groups": (1,)} for n in (1, 2, 3)},
    **{
        # The last three belong to the Conv that Keras 2 derives it from; a separable one has no such kernel.
        f"SeparableConv{n}D": {
            "groups": (1,),
            "kernel_initializer": None,
            "kernel_regularizer": None,
            "kernel_constraint": None,
        }
        for n in (1, 2)
    },
    **{f"SpatialDropout{n}D": {"trainable": None, "noise_shape": (None,)} for n in (1, 2, 3)},
    **{f"ConvLSTM{n}D": {"time_major": (False,)} for n in (1, 2, 3)},
    **{
        f"Random{what}": {"rng_type": None}
        for what in ("Brightness", "Contrast", "Crop", "Flip", "Rotation", "Translation", "Zoom")
    },
    "MultiHeadAttention": {
        "query_shape": None,
        "key_shape": None,
        "value_shape": None,
        "softmax_robust_masking": (False,),
    },
}

_RENAMED = {
    "SyncBatchNormalization": "BatchNormalization",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
}
_ACTIVATIONS = ("activation", "recurrent_activation")
_HARD_SIGMOID = "edgeseg>keras2_hard_sigmoid"


@keras.saving.register_keras_serializable(package="edgeseg")  # type: ignore[untyped-decorator]
def keras2_hard_sigmoid(x: Any) -> Any:
    """Compute Keras 2's ``hard_sigmoid``: ``clip(0.2 x + 0.5, 0, 1)``, of any shape."""
    return ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def to_keras3(root: dict[str, Any], own: Collection[str] = ()) -> dict[str, Any]:
    """Translate the config of a Keras 2 model.

    Args:
        root: ``ModelConfig.root`` of a file with ``is_keras2``; it is not changed.
        own: names that the user gives a meaning of their own: these are not translated.

    Returns:
        A config in the form of ``.h5`` files, for ``keras.Model.from_config`` or ``keras.Sequential.from_config``.
    """
    root = copy.deepcopy(root)
    _translate_layer(root, own)
    return root


def _translate_layer(layer: dict[str, Any], own: Collection[str]) -> None:
    """Translate a layer in place; a model is a layer with layers."""
    for key in ("module", "registered_name", "build_config", "compile_config"):
        layer.pop(key, None)
    name = layer.get("class_name")
    if isinstance(name, str) and name not in own:
        layer["class_name"] = name = _RENAMED.get(name, name)
    config = layer.get("config")
    if isinstance(config, list):  # a Sequential before Keras 2.2.3
        layer["config"] = config = {"name": "sequential", "layers": config}
    if not isinstance(config, dict):
        return
    for key, values in _GONE.get(str(name), {}).items() if name not in own else ():
        if key in config and (values is None or config[key] in values):
            del config[key]
    _translate_values(str(name), config, own)
    wrapped = config.get("layer")
    if isinstance(wrapped, dict):  # in TimeDistributed and similar layers, which resolve no name without a module
        _translate_layer(wrapped, own)
        if hasattr(keras.layers, str(wrapped.get("class_name"))):
            wrapped["module"] = "keras.layers"
    for inner in config.get("layers") or ():
        if isinstance(inner, dict):
            _translate_layer(inner, own)


def _translate_values(name: str, config: dict[str, Any], own: Collection[str]) -> None:
    for key in _ACTIVATIONS:
        if config.get(key) == "hard_sigmoid" and "hard_sigmoid" not in own:
            config[key] = {"class_name": "function", "config": _HARD_SIGMOID, "registered_name": _HARD_SIGMOID}
    shape = config.get("batch_input_shape")
    if isinstance(shape, list) and name != "InputLayer":
        config["input_shape"] = config.pop("batch_input_shape")[1:]
    dtype = config.get("dtype")
    if isinstance(dtype, dict) and isinstance(dtype.get("config"), dict):
        config["dtype"] = dtype["config"].get("name", "float32")


def rename_layers(root: dict[str, Any]) -> dict[str, str]:
    """Give the layers of a translated config names that Keras 3 accepts, without a slash.

    Args:
        root: what ``to_keras3`` returned; the names that layers are made with change in place, those by which calls
            refer to them do not.

    Returns:
        The new name of each layer that has one, by the name in the file.
    """
    renamed: dict[str, str] = {}
    config = root.get("config")
    if not isinstance(config, dict):
        return renamed
    if "/" in str(config.get("name")):
        config["name"] = config["name"].replace("/", "_")
    layers = [layer for layer in config.get("layers") or () if isinstance(layer, dict)]
    configs = [layer["config"] for layer in layers if isinstance(layer.get("config"), dict)]
    taken = {str(inner.get("name")) for inner in configs}
    for inner in configs:
        name = str(inner.get("name"))
        if "/" in name:
            new = name.replace("/", "_")
            while new in taken:
                new += "_"
            taken.add(new)
            inner["name"] = renamed[name] = new
    for layer in (*layers, config.get("layer")):
        if isinstance(layer, dict):
            renamed = {**rename_layers(layer), **renamed}
    return renamed
