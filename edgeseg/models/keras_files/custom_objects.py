"""Provide layers that Keras does not have: well-known ones by their names, the user's own from a Python file.

A saved model names a class and its arguments, not its code. ``KNOWN`` has the code for names that segmentation
projects share; as other projects use the same names for other things, a warning says how a name was read.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FunctionType, MappingProxyType, ModuleType, TracebackType
from typing import Any

import keras

from edgeseg.errors import InputError
from edgeseg.models.keras_files.keras2_layers import CustomScaleLayer, LayerScale
from edgeseg.models.layers import (
    MaxPoolingWithArgmax2D,
    MaxUnpooling2D,
    ResizeBilinear,
    Shape,
    UpsampleLike,
    resize_bilinear,
)

_BASE_KEYS = ("name", "trainable", "dtype")


@keras.saving.register_keras_serializable(package="edgeseg")
class BilinearUpsampling(keras.layers.Layer):  # type: ignore[misc]
    """Bilinear resize by a factor, corner pixels' centers kept in place: keras-deeplab-v3-plus' layer.

    Args:
        upsampling: ``(height, width)`` factors, or one number for both.

    Call: ``(B, h, w, C)`` float to ``(B, h * upsampling[0], w * upsampling[1], C)`` in the input's dtype.
    """

    def __init__(self, upsampling: int | Sequence[int] = (2, 2), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        factors = (upsampling, upsampling) if isinstance(upsampling, int) else tuple(upsampling)
        if len(factors) != 2 or not all(isinstance(factor, int) and factor > 0 for factor in factors):
            raise InputError(f"upsampling must be a positive whole number or two of them, got {upsampling!r}.")
        self.upsampling = (factors[0], factors[1])

    def call(self, inputs: Any) -> Any:  # noqa: D102 - Keras' own
        height, width = keras.ops.shape(inputs)[1:3]
        size = (height * self.upsampling[0], width * self.upsampling[1])
        return resize_bilinear(inputs, size, align_corners=True)

    def compute_output_shape(self, input_shape: Shape) -> Shape:  # noqa: D102 - Keras' own
        sides = zip(input_shape[1:3], self.upsampling, strict=True)
        return (input_shape[0], *(None if side is None else side * factor for side, factor in sides), input_shape[3])

    def get_config(self) -> dict[str, Any]:  # noqa: D102 - Keras' own
        return {**super().get_config(), "upsampling": self.upsampling}


class _UpsampleLike(UpsampleLike):
    """``UpsampleLike`` of keras-retinanet and hrnet-keras: nearest neighbor, to the size of the second map."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> UpsampleLike:
        return UpsampleLike(**_arguments("UpsampleLike", config, {}))


class _BilinearUpsampling(BilinearUpsampling):
    """``BilinearUpsampling`` of keras-deeplab-v3-plus: bilinear with align_corners, by a factor or to a size."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> keras.layers.Layer:
        arguments = _arguments("BilinearUpsampling", config, {"upsampling": "upsampling", "output_size": "size"})
        upsampling, size = arguments.pop("upsampling", None), arguments.pop("size", None)
        if size:
            return ResizeBilinear(size=size, align_corners=True, **arguments)
        if upsampling:
            return BilinearUpsampling(upsampling, **arguments)
        raise InputError(
            f"the BilinearUpsampling '{config.get('name')}' says neither upsampling nor output_size; "
            "give its code: `custom_objects=...`."
        )


class _MaxPoolingWithArgmax2D(MaxPoolingWithArgmax2D):
    """``MaxPoolingWithArgmax2D`` of tf-keras-SegNet: 2x2 windows unless the file says otherwise."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MaxPoolingWithArgmax2D:
        names = {"pool_size": "pool_size", "strides": "strides", "padding": "padding"}
        return MaxPoolingWithArgmax2D(**_arguments("MaxPoolingWithArgmax2D", config, names))


class _MaxUnpooling2D(MaxUnpooling2D):
    """``MaxUnpooling2D`` of tf-keras-SegNet: by 2x2 unless the file says otherwise."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MaxUnpooling2D:
        return MaxUnpooling2D(**_arguments("MaxUnpooling2D", config, {"size": "up_size", "up_size": "up_size"}))


class _LayerScale(LayerScale):
    """``LayerScale`` of keras.applications' ConvNeXt: a factor for each channel."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LayerScale:
        names = {"init_values": "init_values", "projection_dim": "projection_dim"}
        return LayerScale(**_arguments("LayerScale", config, names))


class _CustomScaleLayer(CustomScaleLayer):
    """``CustomScaleLayer`` of keras.applications' InceptionResNetV2: a sum with a scaled second map."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> CustomScaleLayer:
        return CustomScaleLayer(**_arguments("CustomScaleLayer", config, {"scale": "scale"}))


class _FixedDropout(keras.layers.Dropout):  # type: ignore[misc]
    """``FixedDropout`` of the efficientnet package: a Dropout, without effect outside of training."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> keras.layers.Dropout:
        names = {name: name for name in ("rate", "noise_shape", "seed")}
        return keras.layers.Dropout(**_arguments("FixedDropout", config, names))


class _StochasticDepth(keras.layers.Dropout):  # type: ignore[misc]
    """``StochasticDepth`` of keras.applications' ConvNeXt: a Dropout of whole images."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> keras.layers.Dropout:
        arguments = _arguments("StochasticDepth", config, {"drop_path_rate": "rate"})
        return keras.layers.Dropout(noise_shape=(None, 1, 1, 1), **arguments)


#: Name in a file to the class or function that it means.
KNOWN: Mapping[str, Any] = MappingProxyType(
    {
        "UpsampleLike": _UpsampleLike,
        "BilinearUpsampling": _BilinearUpsampling,
        "MaxPoolingWithArgmax2D": _MaxPoolingWithArgmax2D,
        "MaxUnpooling2D": _MaxUnpooling2D,
        "MaxUnPooling2D": _MaxUnpooling2D,
        "LayerScale": _LayerScale,
        "CustomScaleLayer": _CustomScaleLayer,
        "FixedDropout": _FixedDropout,
        "StochasticDepth": _StochasticDepth,
        "relu6": keras.activations.relu6,
        "swish": keras.activations.silu,
        "hard_sigmoid": keras.activations.hard_sigmoid,
        "hard_swish": keras.activations.hard_silu,
    }
)


def reading_of(known: type) -> str:
    """Return what a layer class of ``KNOWN`` is read as, for people: the first line of its description."""
    return (known.__doc__ or "").strip().splitlines()[0].rstrip(".").replace("``", "")


def load_custom_objects(path: str | Path) -> dict[str, Any]:
    """Run a user's Python file and collect the objects that a saved model may refer to.

    The file runs as any Python program does, which the user accepts by giving it. Meanwhile its folder is on
    ``sys.path``, so that it can import the files beside it.

    Args:
        path: the file.

    Returns:
        By name: its Keras layer classes (also those it imports, except Keras' own), the functions written in it, and
        the entries of its dict ``CUSTOM_OBJECTS``, where it has one; these have priority. A class under the name of a
        Lambda layer replaces that layer.

    Raises:
        InputError: the file is missing, does not run, or has no such object.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"custom objects file '{path}' does not exist; it is a Python file with your Keras layers.")
    module = _run(path)
    objects = {
        value.__name__: value
        for name, value in vars(module).items()
        if _is_own_layer(value)
        or (isinstance(value, FunctionType) and value.__module__ == module.__name__ and not name.startswith("_"))
    }
    own = getattr(module, "CUSTOM_OBJECTS", {})
    if not isinstance(own, dict) or not all(isinstance(name, str) for name in own):
        raise InputError(f"CUSTOM_OBJECTS in '{path}' must be a dict from names to classes or functions.")
    if not objects and not own:
        raise InputError(f"'{path}' has no Keras layer class, no function and no dict CUSTOM_OBJECTS.")
    return {**objects, **own}


def _is_own_layer(value: Any) -> bool:
    is_layer = isinstance(value, type) and issubclass(value, keras.layers.Layer)
    return is_layer and value.__module__.split(".")[0] != "keras"


def _run(path: Path) -> ModuleType:
    module = ModuleType(f"edgeseg_custom_objects_{path.stem}")
    module.__file__ = str(path.resolve())
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    sys.modules[module.__name__] = module  # as for any import: dataclasses and Keras look a class' module up
    try:
        with _OneLine(path):
            exec(compile(path.read_bytes(), path, "exec"), vars(module))
    finally:
        if folder in sys.path:  # the user's code may have been there too
            sys.path.remove(folder)
    return module


class _OneLine:
    """Makes one line of any error that the user's code raises."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is None or isinstance(error, KeyboardInterrupt):
            return
        lines = [frame.lineno for frame in traceback.extract_tb(tb) if frame.filename == str(self._path)]
        at = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        reason = " ".join(str(error).split()) or "no message"
        where = f" in line {at}" if at else ""
        raise InputError(
            f"custom objects file '{self._path}' does not run: {type(error).__name__}{where}: {reason}"
        ) from error


def _arguments(kind: str, config: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of our layer from another project's config; unknown arguments are refused, not guessed.

    Args:
        kind: the class in the file.
        config: its config there.
        names: argument in the file to argument of our layer.
    """
    if config.get("data_format") not in (None, "channels_last"):
        raise InputError(f"the {kind} '{config.get('name')}' is channels_first; edgeseg has channels_last only.")
    foreign = [key for key in config if key not in (*names, *_BASE_KEYS, "data_format")]
    if foreign:
        raise InputError(
            f"the {kind} '{config.get('name')}' is another than edgeseg knows: it has {', '.join(map(repr, foreign))}; "
            "give its code: `custom_objects=...`."
        )
    return {names.get(key, key): value for key, value in config.items() if key != "data_format"}
