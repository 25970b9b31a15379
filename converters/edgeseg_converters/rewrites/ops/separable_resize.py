"""Replace resizes that a format has no op for by two products with constant matrices.

    Given:   y = ResizeBicubic(x), ResizeArea(x), ScaleAndTranslate(x) or CropAndResize(x)
                                                     x (1, h, w, C), y (1, H, W, C)
    Result:  y[:, :, c] = R x[:, :, c] K^T           R (H, h), K (W, w)

ScaleAndTranslate is what ``tf.image.resize`` and ``keras.ops.image.resize`` become with antialiasing, and for Lanczos
and Gaussian kernels. All these resizes are linear, treat each channel alone, and weigh rows and columns independently,
so the op itself says what R and K are: R is its result on the rows of the unit matrix, one in each channel.

Holds for fixed sizes. Exact up to the order of the sums. Ops: TRANSPOSE and FULLY_CONNECTED, which XNNPACK and the
integer kernels have. TFLite has none of the old ops, ONNX only the first, and ONNX Runtime's takes over a hundred
times as long: bicubic, 64x64x16 to twice the size, took 166 ms as Resize and 1.3 as two products (x86-64, 2 threads).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edgeseg.errors import RewriteRefused
from edgeseg_converters.rewrites.ops.base import OpRewrite, OpSite, Trace


class ResizeToProducts(OpRewrite):
    """See the module."""

    types = ("ResizeBicubic", "ResizeArea", "ScaleAndTranslate", "CropAndResize")
    atol = 1e-5  # a sum of weights that are about 1 in all, of values below 4, in another order

    def match(self, trace: Trace, op: tf.Operation) -> OpSite | None:
        """Match a resize by constants."""
        x, *settings = op.inputs
        if not all(trace.is_constant(tensor) for tensor in settings):
            raise RewriteRefused(f"the size of the {op.type} depends on the image; give it a fixed size")
        if x.shape.rank != 4 or x.shape[0] != 1 or op.outputs[0].shape[0] != 1:
            raise RewriteRefused(f"the {op.type} makes {op.outputs[0].shape} of {x.shape}, not one map of one")
        return OpSite(op, (x,), (op.outputs[0],))

    def replacement(self, trace: Trace, site: OpSite, inputs: Sequence[Any]) -> Sequence[Any]:
        """Multiply by the columns' matrix, then by the rows'."""
        settings = [trace.array(tensor) for tensor in site.op.inputs[1:]]
        with tf.init_scope():
            rows, columns = (_weights(site.op, settings, axis) for axis in (0, 1))
        x = tf.transpose(tf.cast(inputs[0], tf.float32), (0, 3, 1, 2))
        # The constant is always on the right: quantizers lose a constant on the left.
        x = tf.matmul(x, columns.T)
        x = tf.matmul(tf.transpose(x, (0, 1, 3, 2)), rows.T)
        return [tf.transpose(x, (0, 3, 2, 1))]


def _weights(op: tf.Operation, settings: Sequence[NDArray[Any]], axis: int) -> NDArray[np.float32]:
    """Return how an op weighs the pixels along an axis, ``(target, source)`` float32."""
    source = int(op.inputs[0].shape[1 + axis])
    unit = np.eye(source, dtype=np.float32)
    x = unit[None, :, None, :] if axis == 0 else unit[None, None, :, :]
    y = np.asarray(_ONE_AXIS[op.type](op, x, settings, axis))
    weights: NDArray[np.float32] = y[0, :, 0] if axis == 0 else y[0, 0]
    return weights


def _resize(kind: str) -> Any:
    """Return a function that runs a resize to a size along one axis, the other being one pixel."""

    def along(op: tf.Operation, x: NDArray[np.float32], settings: Sequence[NDArray[Any]], axis: int) -> Any:
        size = np.ones(2, np.int32)
        size[axis] = settings[0][axis]
        attributes = {
            name: op.get_attr(name) for name in ("align_corners", "half_pixel_centers") if name in _attributes(op)
        }
        return getattr(tf.raw_ops, kind)(images=x, size=size, **attributes)

    return along


def _attributes(op: tf.Operation) -> set[str]:
    return {attribute.name for attribute in op.op_def.attr}


def _scale(op: tf.Operation, x: NDArray[np.float32], settings: Sequence[NDArray[Any]], axis: int) -> Any:
    """Run a ScaleAndTranslate along one axis."""
    size, scale, translation = np.ones(2, np.int32), np.ones(2, np.float32), np.zeros(2, np.float32)
    for one, given in zip((size, scale, translation), settings, strict=True):
        one[axis] = given[axis]
    kernel = op.get_attr("kernel_type").decode()
    return tf.raw_ops.ScaleAndTranslate(
        images=x,
        size=size,
        scale=scale,
        translation=translation,
        kernel_type=kernel,
        antialias=op.get_attr("antialias"),
    )


def _crop(op: tf.Operation, x: NDArray[np.float32], settings: Sequence[NDArray[Any]], axis: int) -> Any:
    """Run a CropAndResize of one box along one axis."""
    boxes, _, crop = settings
    box, size = np.array([[0, 0, 0, 0]], np.float32), np.ones(2, np.int32)
    box[0, axis::2], size[axis] = boxes[0, axis::2], crop[axis]
    return tf.raw_ops.CropAndResize(
        image=x, boxes=box, box_ind=[0], crop_size=size, method=op.get_attr("method").decode()
    )


_ONE_AXIS = {
    "ResizeBicubic": _resize("ResizeBicubic"),
    "ResizeArea": _resize("ResizeArea"),
    "ScaleAndTranslate": _scale,
    "CropAndResize": _crop,
}
