"""Replace ExtractImagePatches by ops that TFLite has.

    Given:   y = ExtractImagePatches(k, stride s, rate r)(x)     x (1, h, w, C), y (1, H, W, k*k*C)
    Result:  side by side, s = k: RESHAPE, TRANSPOSE, RESHAPE
             s > 1:  y = transpose(DepthwiseConv2D(k, s)(x))     a kernel of one 1 for each pixel of a patch
             s = 1:  y = concat over rows of (concat over columns of the shifted x)

A depthwise convolution gives the pixels of a patch channel by channel, the op gives the channels pixel by pixel: the
last two of (H * W, C, k*k) change places. Exact: values are copied, or summed with zeros. The kernel is exact in
integers too.

Holds for fixed sizes. XNNPACK takes each form, a slice only at stride 1: 3x3 patches of 64x64x16 took 0.4 ms by slices,
1.1 by the depthwise convolution and 1.9 by the dense one that ``keras.ops.image.extract_patches`` makes; at stride 2 it
was 2.0, 0.24 and 0.24 ms (x86-64, 2 threads).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgeseg_converters.rewrites.ops.base import OpRewrite, OpSite, Trace

_Pair = tuple[int, int]


class PatchesToCopies(OpRewrite):
    """See the module."""

    types = ("ExtractImagePatches",)
    atol = 0.0  # values are copied

    def match(self, trace: Trace, op: tf.Operation) -> OpSite:
        """Match every such op."""
        return OpSite(op, (op.inputs[0],), (op.outputs[0],))

    def replacement(self, trace: Trace, site: OpSite, inputs: Sequence[Any]) -> Sequence[Any]:
        """Build the form that costs least."""
        (x,) = inputs
        patch, stride, rate = (_pair(site.op, name) for name in ("ksizes", "strides", "rates"))
        target = (int(site.outputs[0].shape[1]), int(site.outputs[0].shape[2]))
        # From here on the padding is that of "valid", and nothing lies beyond the last patch.
        spans = [(n - 1) * s + (k - 1) * r + 1 for n, s, k, r in zip(target, stride, patch, rate, strict=True)]
        x = _fitted(x, spans, is_centered=site.op.get_attr("padding") == b"SAME")
        if patch == stride and rate == (1, 1):
            return [_beside(x, patch, target)]
        if stride[0] == stride[1] > 1 and rate == (1, 1):
            return [_convolved(x, patch, stride[0], target)]
        for axis in (2, 1):
            n, s, k, r = (both[axis - 1] for both in (target, stride, patch, rate))
            x = tf.concat([_slice(x, axis, at * r, (n - 1) * s + 1, s) for at in range(k)], axis=-1)
        return [x]


def _pair(op: tf.Operation, name: str) -> _Pair:
    _, rows, columns, _ = op.get_attr(name)
    return int(rows), int(columns)


def _fitted(x: Any, spans: Sequence[int], *, is_centered: bool) -> Any:
    """Cut or pad a map to what the patches cover; "same" pads before and after."""
    extra = [max(span - side, 0) for span, side in zip(spans, x.shape[1:3], strict=True)]
    if is_centered and any(extra):
        x = tf.pad(x, [[0, 0], *([each // 2, each - each // 2] for each in extra), [0, 0]])
    return x if tuple(spans) == tuple(x.shape[1:3]) else x[:, : spans[0], : spans[1]]


def _beside(x: Any, patch: _Pair, target: _Pair) -> Any:
    channels = x.shape[3]
    x = tf.reshape(x, (target[0], patch[0], target[1], patch[1] * channels))
    return tf.reshape(tf.transpose(x, (0, 2, 1, 3)), (1, *target, patch[0] * patch[1] * channels))


def _convolved(x: Any, patch: _Pair, stride: int, target: _Pair) -> Any:
    pixels, channels = patch[0] * patch[1], x.shape[3]
    unit = np.eye(pixels).reshape(*patch, 1, pixels)
    kernel = tf.constant(np.repeat(unit, channels, axis=2), x.dtype)
    x = tf.nn.depthwise_conv2d(x, kernel, (1, stride, stride, 1), "VALID")
    x = tf.transpose(tf.reshape(x, (target[0] * target[1], channels, pixels)), (0, 2, 1))
    return tf.reshape(x, (1, *target, pixels * channels))


def _slice(x: Any, axis: int, start: int, length: int, stride: int) -> Any:
    places = slice(start, start + length, stride)
    return x[:, places] if axis == 1 else x[:, :, places]
