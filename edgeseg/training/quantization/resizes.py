"""Round a bilinear resize of whole numbers as the kernel of a runtime does.

The kernels do not round an exact result: LiteRT's have integers for the weights too, and ONNX Runtime's computes in
float32. On the way from 47 to 191 intervals hardly any weight is exact, and every 400th pixel of the logits ends on the
other side.
"""

from __future__ import annotations

from typing import Any, Literal

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from edgeseg.training.quantization.scheme import Grid, Scheme

#: Where a target pixel is in the source: pixels are areas, or their centers are apart by a step that begins at 0, and
#: with ``corners`` ends at the last one too.
Coordinates = Literal["half-pixel", "legacy", "corners"]
_Taps = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]

# Weights of XNNPACK's int8 kernel and of LiteRT's int16 kernel, whose sum this is.
_ONE_INT8 = 2**11
_ONE_INT16 = 2**10


def coordinates_of(layer: Any) -> Coordinates | None:
    """Return how a layer that resizes bilinearly counts pixels, ``None`` for every other layer."""
    kind = type(layer).__name__
    if kind not in ("Resizing", "UpSampling2D", "ResizeBilinear", "LegacyResize"):
        return None
    if getattr(layer, "interpolation", "bilinear") != "bilinear":
        return None
    if getattr(layer, "align_corners", False):
        return "corners"
    return "legacy" if kind == "LegacyResize" else "half-pixel"


def resized(numbers: Any, size: tuple[int, int], coordinates: Coordinates, grid: Grid, scheme: Scheme) -> Any:
    """Resize whole numbers as the file does.

    Args:
        numbers: ``(B, h, w, C)`` steps from zero.
        size: ``(H, W)`` of the result.
        coordinates: of the layer.
        grid: of the numbers, which is that of the result.
        scheme: the integers, whose format says which kernel.

    Returns:
        ``(B, H, W, C)`` float32 whole numbers.
    """
    if scheme.file_format == "onnx":
        return ops.round(in_float(numbers * grid.scale, size, coordinates) / grid.scale)
    if scheme.is_symmetric:
        taps = [_taps_int16(own, new, coordinates) for own, new in _axes(numbers, size)]
        # Up to 2^35: in float64, which JAX has only where it is told to, every sum is exact.
        wide = "float32" if keras.backend.backend() == "jax" else "float64"
        total = _interpolated(
            ops.cast(numbers, wide), [(*places, ops.cast(w, wide)) for *places, w in taps], _ONE_INT16
        )
        whole = float(_ONE_INT16**2)
        return ops.cast(ops.sign(total) * ops.floor(ops.absolute(total) / whole + 0.5), "float32")
    taps = [_taps_int8(own, new, coordinates) for own, new in _axes(numbers, size)]
    total = _interpolated(ops.cast(numbers, "int32"), taps, _ONE_INT8)
    bits = 2 * (_ONE_INT8.bit_length() - 1)
    return ops.cast(ops.right_shift(total + 2 ** (bits - 1), bits), "float32")


def _axes(numbers: Any, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the old and the new number of pixels of both axes."""
    _, height, width, _ = numbers.shape
    return (height, size[0]), (width, size[1])


def _interpolated(values: Any, taps: Any, one: int) -> Any:
    """Return the sums of four neighbors times their weights, in the dtype of ``values``.

    Args:
        values: ``(B, h, w, C)``.
        taps: of the rows and of the columns: the pixel before, that after, and the weight of that after.
        one: what the two weights of an axis add up to.
    """
    (top, bottom, down), (left, right, along) = taps
    down, along = ops.reshape(down, (-1, 1, 1)), ops.reshape(along, (-1, 1))
    rows = [ops.take(values, places, axis=1) for places in (top, bottom)]
    upper, lower = (ops.take(row, left, axis=2) * (one - along) + ops.take(row, right, axis=2) * along for row in rows)
    return upper * (one - down) + lower * down


def _taps_int8(own: int, new: int, coordinates: Coordinates) -> _Taps:
    """Return what XNNPACK multiplies by: positions are float32, weights are rounded to 11 bits."""
    less = int(coordinates == "corners" and new > 1)
    scale = np.float32(own - less) / np.float32(new - less)
    at = np.arange(new, dtype=np.float32) * scale
    if coordinates == "half-pixel":
        at = np.clip(at + (np.float32(0.5) * scale - np.float32(0.5)), 0, np.float32(own - 1))
    first = at.astype(np.int32)
    weights = np.round((at - first.astype(np.float32)) * np.float32(_ONE_INT8)).astype(np.int32)
    return first, np.minimum(first + 1, own - 1), weights


def _taps_int16(own: int, new: int, coordinates: Coordinates) -> _Taps:
    """Return what LiteRT's own kernel multiplies by: positions are integers of 10 bits after the point."""
    less = int(coordinates == "corners" and new > 1)
    scale = (_ONE_INT16 * (own - less) + (new - less) // 2) // (new - less)
    at = np.arange(new) * scale
    if coordinates == "half-pixel":
        at += scale // 2 - _ONE_INT16 // 2
    first = np.maximum(at // _ONE_INT16, 0)
    second = np.clip(-(-at // _ONE_INT16), 0, own - 1)
    weights = at - _ONE_INT16 * first
    return first.astype(np.int32), second.astype(np.int32), weights.astype(np.int32)


def in_float(values: Any, size: tuple[int, int], coordinates: Coordinates) -> Any:
    """Resize bilinearly in float32, in the order of ONNX Runtime's kernel: its rounding decides where a half goes.

    Args:
        values: ``(B, h, w, C)`` float32.
        size: ``(H, W)`` of the result.
        coordinates: of the layer.

    Returns:
        ``(B, H, W, C)`` float32.
    """
    (top, bottom, up, down), (left, right, before, after) = (
        _neighbors(*each, coordinates) for each in _axes(values, size)
    )
    rows = [ops.take(values, places, axis=1) for places in (top, bottom)]
    corners = [[ops.take(row, places, axis=2) for places in (left, right)] for row in rows]
    weights = [[across[None, :, None] * along[:, None, None] for across in (after, before)] for along in (down, up)]
    total = weights[0][0] * corners[0][0]
    for y, x in ((0, 1), (1, 0), (1, 1)):
        total = total + weights[y][x] * corners[y][x]
    return total


def _neighbors(own: int, new: int, coordinates: Coordinates) -> tuple[NDArray[Any], ...]:
    """Return the two places of each new one along an axis, and its distances from them."""
    index, scale, half = np.arange(new, dtype=np.float32), np.float32(new / own), np.float32(0.5)
    if coordinates == "corners":
        place = index * np.float32(own - 1) / np.float32(new - 1) if new > 1 else index
    else:
        place = index / scale if coordinates == "legacy" else (index + half) / scale - half
    place = np.clip(place, 0, own - 1).astype(np.float32)
    first = np.minimum(place.astype(np.int32), own - 1)
    second = np.minimum(first + 1, own - 1)
    same = first == second
    near, far = (np.where(same, half, np.abs(place - each)) for each in (first, second))
    return first, second, near.astype(np.float32), far.astype(np.float32)
