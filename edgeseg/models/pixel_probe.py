"""Run the beginning of a model on two test images and read which values reach its first weighted layers.

What a model does to its pixels before it computes with them is seen in these values, whatever ops do it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgeseg.models.keras_graph import graph_of, takes_training
from edgeseg.models.keras_internals import Call, calls_of, layers_directly_within

_SIDE = 64  # of the test images, where the model leaves its own open
_FEWEST = 12  # values of a channel that tell a range; fewer are means over the image
_LEAST_SHARE = 0.25  # of a channel's values that depend on the image
_NOISE = 1e-5  # of float32 sums, as a share of the value or of 1; the two images have the same mean


@dataclass(frozen=True)
class Arrival:
    """The values that a weighted layer gets for pixels from 0 to 255, where they depend on the pixels.

    Attributes:
        layer: its name.
        low: the smallest value of each channel, float64.
        high: the largest.
        median: between them where the pixels' differences are kept; at one of them where they are cut off.
    """

    layer: str
    low: NDArray[Any]
    high: NDArray[Any]
    median: NDArray[Any]

    @property
    def span(self) -> NDArray[Any]:
        """What lies between black and white, in each channel."""
        return np.asarray(self.high - self.low)

    def text(self, channels: NDArray[np.bool_]) -> str:
        """Return the range of some of the channels, for people."""
        return f"{self.low[channels].min():.3g} to {self.high[channels].max():.3g}"


def arrivals(model: keras.Model, feed: Callable[[NDArray[Any]], NDArray[Any]] | None = None) -> list[Arrival]:
    """Return what reaches the weighted layers that no other weighted layer is before, also in nested models and layers.

    A weighted layer is one with a kernel. Normalization, BatchNormalization and all others that only scale and shift
    channels are run: with the statistics of pixels they are preprocessing, with any other they change nothing much.

    Args:
        model: a functional model of one image; inputs after the first are ignored.
        feed: normalizes pixels in [0, 255], ``(1, H, W, C)`` uint8; they are fed as they are when ``None``.

    Returns:
        One for each such layer that the image reaches; none where the model cannot be run.
    """
    graph = graph_of(model)
    image = graph.inputs[0]
    if len(image.shape) != 4:
        return []
    pixels = _blocks(tuple(side or (_SIDE if axis else 1) for axis, side in enumerate(image.shape)))
    try:
        # The second is the first one's negative: what is the same in both does not depend on the image.
        first, second = (_Run(graph, _as_input(each, image.dtype, feed)).arrived for each in (pixels, 255 - pixels))
    except _unforeseen():
        return []
    pairs = zip(first, second, strict=False)  # as many, unless a layer decides by the values what it calls
    found = [_arrival(name, one, other) for (name, one), (_, other) in pairs if one.shape == other.shape]
    return [arrival for arrival in found if arrival is not None]


def _arrival(layer: str, one: NDArray[Any], other: NDArray[Any]) -> Arrival | None:
    """Return what arrived at a layer, from its values for an image and for its negative; ``None`` if not an image."""
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return None
    channels = one.shape[-1] if one.ndim > 1 and one.size >= _FEWEST * one.shape[-1] else 1
    one, other = (each.reshape(-1, channels).T for each in (one, other))
    moved = np.abs(one - other) > _NOISE * np.maximum(1, np.abs(one))
    # Borders do not move, and where a clip leaves little of the range, neither do most pixels.
    is_image = (moved.sum(1) >= _FEWEST) & (moved.mean(1) >= _LEAST_SHARE)
    values = [np.concatenate([one[i, moved[i]], other[i, moved[i]]]) for i in np.flatnonzero(is_image)]
    if not values:
        return None
    low, high, median = (np.array([summary(each) for each in values]) for summary in (np.min, np.max, np.median))
    return Arrival(layer, low, high, median)


def _blocks(shape: Sequence[int]) -> NDArray[np.uint8]:
    """Return a gray image of 4x4 blocks from 0 to 255: many levels, and few edges that a resize would blend."""
    _, height, width, _ = shape
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    levels = (np.arange(16) * 7 % 16 * 17).astype(np.uint8).reshape(4, 4)  # 16 steps of 17, neighbors far apart
    return np.broadcast_to(levels[rows[:, None], columns][None, ..., None], shape)


def _as_input(pixels: NDArray[Any], dtype: str, feed: Callable[[NDArray[Any]], NDArray[Any]] | None) -> Any:
    fed = pixels if feed is None else feed(pixels)
    if np.issubdtype(np.dtype(dtype if dtype != "bfloat16" else "float32"), np.integer):
        limits = np.iinfo(dtype)
        fed = np.clip(np.rint(fed), limits.min, limits.max)
    return keras.ops.convert_to_tensor(fed, dtype)


def _unforeseen() -> tuple[type[Exception], ...]:
    """Return what a user's call may raise, and Keras on values that the layers are not made for."""
    common = (ArithmeticError, AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError)
    if keras.config.backend() != "tensorflow":
        return common
    import tensorflow as tf

    return (*common, tf.errors.OpError)


class _Run:
    """One run of the ops before the first weighted layers.

    Attributes:
        arrived: what those layers got: the layer's name, and a value.
    """

    def __init__(self, graph: Any, image: Any) -> None:
        """Run a functional model on an image; its other inputs are not known."""
        self.arrived: list[tuple[str, NDArray[Any]]] = []
        first, *others = (id(tensor) for tensor in graph.inputs)
        self._through(graph, {first: image, **dict.fromkeys(others)})

    def _through(self, graph: Any, inputs: Mapping[int, Any]) -> dict[int, Any]:
        """Run a graph as far as it goes.

        Args:
            graph: a functional model.
            inputs: by the ``id`` of the symbolic tensor, its value; ``None`` for what is not known.

        Returns:
            The same of all tensors of the graph; what comes after a weighted layer is not known.
        """
        values = dict(inputs)
        for call in reversed(calls_of(graph)):
            if call.inputs:
                values.update(zip(map(id, call.outputs), self._results(call, values), strict=True))
        return values

    def _results(self, call: Call, values: Mapping[int, Any]) -> list[Any]:
        operation, unknown = call.operation, [None] * len(call.outputs)
        given = [values[id(tensor)] for tensor in call.inputs]
        if all(value is None for value in given):
            return unknown
        weighted, inner = _weighted_within(operation), graph_of(operation)
        if weighted and inner is not None:
            inside = self._through(inner, dict(zip(map(id, inner.inputs), given, strict=True)))
            return [inside.get(id(tensor)) for tensor in inner.outputs]
        if weighted == [operation]:
            self._note(operation, given)
            return unknown
        if any(value is None for value in given):
            return unknown
        with self._watched(weighted):
            results = keras.tree.flatten(_called(call, values))
        return unknown if weighted else results

    @contextmanager
    def _watched(self, layers: Sequence[keras.Layer]) -> Iterator[None]:
        """Note what layers inside of another layer get, and make all that they return independent of the image."""
        try:
            for layer in layers:
                layer.call = self._stand_in(layer, layer.call)
            yield
        finally:
            for layer in layers:
                vars(layer).pop("call", None)

    def _stand_in(self, layer: keras.Layer, own: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._note(layer, keras.tree.flatten((args, kwargs)))
            return keras.tree.map_structure(keras.ops.ones_like, own(*args, **kwargs))

        return call

    def _note(self, layer: keras.Layer, given: Sequence[Any]) -> None:
        for value in given:
            if keras.ops.is_tensor(value):
                self.arrived.append((layer.name, keras.ops.convert_to_numpy(value).astype(float)))


def _called(call: Call, values: Mapping[int, Any]) -> Any:
    """Call an operation in inference mode: as Keras does in predict, also where the graph says training=True."""
    given = (call.args, call.kwargs)
    args, kwargs = keras.tree.map_structure(
        lambda value: values[id(value)] if isinstance(value, keras.KerasTensor) else value, given
    )
    if takes_training(call.operation):
        kwargs["training"] = False
    return call.operation(*args, **kwargs)


def _weighted_within(operation: Any) -> list[keras.Layer]:
    """Return the weighted layers in a layer, itself if it is one and has none inside; none for an op."""
    if not isinstance(operation, keras.Layer):
        return []
    inside = [found for layer in layers_directly_within(operation) for found in _weighted_within(layer)]
    return inside or ([operation] if _is_weighted(operation) else [])


def _is_weighted(layer: keras.Layer) -> bool:
    """Return whether a layer has more than factors and offsets of channels.

    Those are vectors: the statistics of a BatchNormalization, the mean and variance of a layer of the user's own.
    """
    if isinstance(layer, keras.layers.Normalization):  # whose statistics may be those of each pixel
        return False
    return any(
        weight.name.endswith("kernel") or any(side != 1 for side in weight.shape[:-1]) for weight in layer.weights
    )
