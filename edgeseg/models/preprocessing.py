"""Find out how a model is fed: from the zoo architecture it is, its input's dtype, its converter, its first layers."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgeseg.choices import Fit, Resize
from edgeseg.imaging import normalize
from edgeseg.models.keras_graph import graph_of, size_of
from edgeseg.models.pixel_probe import Arrival, arrivals
from edgeseg.models.weights.load import head_of
from edgeseg.models.weights.variables import model_layers
from edgeseg.models.zoo.entry import ZooModel
from edgeseg.models.zoo.table import ZOO
from edgeseg.spec import ModelSpec

_log = logging.getLogger(__name__)

#: Width that [0, 255] may have when it reaches a model that was fed pixels; of one fed [0, 1] or [-1, 1] it is wider.
_WIDEST = 100.0

#: The mean that is subtracted from pixels is above this; that of values in [0, 1] or [-1, 1] is below.
_LEAST_MEAN = 10.0

#: Width of [0, 255] after a mean was subtracted and nothing else: 255, or more where contrast is raised a little.
_WIDEST_AROUND_MEAN = 300.0

#: Share of the width that is on either side of the median; 0 where a clip, tanh or sigmoid for smaller values cuts
#: nearly all pixels off, 0.07 and more for gamma, square root and logarithm.
_LEAST_CENTER = 0.02

#: Width of [0, 255], as a share of the largest value or of 1, that is too little to see by. It is 1 and more in a model
#: that is fed right; scaled twice it is 2 / 255, 2 / 58 by ImageNet's deviation, or 2 beside -104 by Caffe's mean.
_FAINTEST = 0.1

#: KerasHub's names of those that edgeseg has, and whether they average where they shrink.
_INTERPOLATIONS: Mapping[tuple[str, bool], Resize] = {
    ("bilinear", False): "bilinear",
    ("bilinear", True): "bilinear-antialias",
    ("bicubic", False): "bicubic",
    ("bicubic", True): "bicubic-antialias",
    ("nearest", False): "nearest",
    ("nearest", True): "nearest",
}

_COUNTED_CLASSES = 21  # of ``ZooModel.parameters``


def zoo_model_of(model: keras.Model) -> ZooModel | None:
    """Return the zoo architecture that a model is; its name alone is not enough, as others have a segnet too.

    A model is an architecture of the zoo if ``create`` made it, or if it has the number of parameters that the
    architecture has without further options.

    Args:
        model: functional, with any number of classes and any input size.
    """
    named = ZOO.get(model.name)
    if named is None or getattr(model, "_zoo_name", None) == model.name:
        return named
    in_head = sum(math.prod(slot.shape) for layer in head_of(model_layers(model)) for slot in layer.slots)
    for_each_class, rest = divmod(in_head, model.outputs[0].shape[-1])
    parameters = model.count_params() - in_head + for_each_class * _COUNTED_CLASSES
    return named if rest == 0 and parameters == named.parameters else None


def takes_pixels(model: keras.Model) -> str:
    """Return why a model takes pixels in [0, 255] unchanged, as the end of a sentence on it; empty if nothing shows it.

    Args:
        model: a functional model of one image.
    """
    image = graph_of(model).inputs[0]
    if np.issubdtype(keras.backend.standardize_dtype(image.dtype), np.integer) and image.dtype != "int8":
        return f"takes {image.dtype}"
    for arrival in arrivals(model):
        scaled = _made_for_pixels(arrival)
        if scaled.any():
            return f"scales pixels itself (its '{arrival.layer}' gets {arrival.text(scaled)})"
    return ""


def _made_for_pixels(arrival: Arrival) -> NDArray[np.bool_]:
    """Return in which channels pixels in [0, 255] become values of a model that was fed pixels in training."""
    center = np.minimum(arrival.median - arrival.low, arrival.high - arrival.median)
    around_mean = (arrival.low <= -_LEAST_MEAN) & (arrival.span <= _WIDEST_AROUND_MEAN)
    made = (center >= _LEAST_CENTER * arrival.span) & ((arrival.span <= _WIDEST) | around_mean)
    return np.asarray(made)


def warn_of_faint_images(model: keras.Model, spec: ModelSpec) -> bool:
    """Log a warning if a model that is fed as a spec says gets nearly the same numbers for black and white.

    That is so where pixels are scaled before a model that scales them itself.

    Args:
        model: a functional model of one image.
        spec: how it is fed.

    Returns:
        Whether there was a reason to.
    """
    image = graph_of(model).inputs[0]
    if len(image.shape) != 4 or image.shape[-1] != 3:
        return False
    fed = arrivals(model, lambda pixels: normalize(pixels, spec))
    arrival = next((each for each in fed if _faint(each).any()), None)
    if arrival is None:
        return False
    own = takes_pixels(model)
    _log.warning(
        "'%s' can hardly see its images: of %s its '%s' gets %s for pixels from 0 to 255, as %s. Give %s",
        spec.name,
        spec.scaling,
        arrival.layer,
        arrival.text(_faint(arrival)),
        f"it {own} and they are scaled before, too" if own else "they are scaled too much",
        "`mean=(0, 0, 0), std=(1, 1, 1)`" if own else "another `mean` and `std`",
    )
    return True


def _faint(arrival: Arrival) -> NDArray[np.bool_]:
    """Return in which channels black and white become nearly the same."""
    largest = np.maximum(np.abs(arrival.low), np.abs(arrival.high))
    return np.asarray(arrival.span < _FAINTEST * np.maximum(1, largest))


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What the image converter of a KerasHub model does with an image before the model gets it.

    Attributes:
        name: class of the converter.
        mean: subtracted from the pixels in [0, 255].
        std: what the difference is divided by.
        fit: how an image gets the model's shape.
        resize: with which interpolation; the nearest of edgeseg's.
        lacks: the converter's own interpolation, where edgeseg does not have it; else empty.
        input_size: the size ``(H, W)`` that images get; ``None`` where they keep their own.
        pads: whether the bars of a letterbox are black.
        crops: whether images are cropped, which edgeseg does not do.
    """

    name: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fit: Fit
    resize: Resize
    lacks: str
    input_size: tuple[int, int] | None
    pads: bool
    crops: bool

    def applied_to(self, spec: ModelSpec) -> ModelSpec:
        """Return a spec that feeds a model as the converter does."""
        pad_value = (0, 0, 0) if self.pads else spec.pad_value
        return spec.replace(mean=self.mean, std=self.std, fit=self.fit, resize=self.resize, pad_value=pad_value)


def conversion_of(model: keras.Model) -> Conversion | None:
    """Return what a model's own ``preprocessor.image_converter`` does; ``None`` where there is none.

    A task of KerasHub has one, which ``predict`` and ``fit`` call and the model itself does not. A converter that
    does something else to pixels than scale and shift them is none.

    Args:
        model: as it was loaded; a rebuilt one does not have it any more.
    """
    converter = getattr(getattr(model, "preprocessor", None), "image_converter", None)
    if converter is None:
        return None
    size = getattr(converter, "image_size", None)
    side = size or (8, 8)  # any, if it keeps the size
    black, gray, white = (_converted(converter, value, side) for value in (0, 128, 255))
    if black is None or gray is None or white is None:
        return None
    span = white - black
    # Affine to the last bits of float32, which has seven digits.
    if not span.all() or not np.allclose(gray, black + span * (128 / 255), rtol=0, atol=1e-4 * np.abs(span).max()):
        return None
    std = 255 / span
    crops, pads = (bool(getattr(converter, f"{name}_to_aspect_ratio", False)) for name in ("crop", "pad"))
    interpolation = getattr(converter, "interpolation", "bilinear")
    averages = bool(getattr(converter, "antialias", False))
    resize = _INTERPOLATIONS.get((interpolation, averages))
    return Conversion(
        name=type(converter).__name__,
        mean=_rounded(-black * std),
        std=_rounded(std),
        fit="letterbox" if size is None or crops or pads else "stretch",
        # Lanczos is the one that is left.
        resize=resize or ("bicubic-antialias" if averages else "bicubic"),
        lacks="" if resize else interpolation,
        input_size=None if size is None else (int(size[0]), int(size[1])),
        pads=pads,
        crops=crops and size is not None,
    )


def size_for(model: keras.Model, conversion: Conversion | None) -> tuple[int | None, int | None]:
    """Return ``(H, W)`` of a model's input in pixels: its own where it is fixed, else its converter's."""
    size = size_of(model)
    return conversion.input_size if None in size and conversion and conversion.input_size else size


def _converted(converter: Any, value: int, size: tuple[int, int]) -> Any:
    """Return what three channels of one value become, float64; ``None`` if not three channels of one value."""
    try:
        image = keras.ops.convert_to_numpy(converter(np.full((1, *size, 3), value, np.float32)))
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError):  # of a converter of the user's own
        return None
    pixels = image.reshape(-1, image.shape[-1]).astype(float)
    return pixels[0] if pixels.shape[1] == 3 and np.ptp(pixels, axis=0).max() == 0 else None


def _rounded(values: Any) -> tuple[float, float, float]:
    """Return the six digits of float32 that are sure, as 123.675 was written before it became a float32 offset."""
    red, green, blue = (float(f"{value:.6g}") + 0.0 for value in values)  # + 0.0: no -0.0
    return red, green, blue
