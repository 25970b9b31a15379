"""Define the custom layers of the zoo: pooling indices and their inverse, and resizes that Keras does not have.

They are plain serializable Keras layers: a ``.keras`` file with them loads after ``import edgeseg.models.layers``.
On the TensorFlow backend each runs TensorFlow's own op; on the others an exact equivalent in ``keras.ops``.
"""

# ruff: noqa: D102 - call, compute_output_shape and get_config are Keras' own; the class documents inputs and outputs

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from edgeseg.errors import InputError

Shape = tuple[int | None, ...]

# The largest number of positions whose flat indices a dtype can tell apart.
_INDEX_LIMITS = {"float32": 2**24, "int32": 2**31}


@keras.saving.register_keras_serializable(package="edgeseg")
class MaxPoolingWithArgmax2D(keras.layers.Layer):  # type: ignore[misc]
    """Max pooling that also returns where each maximum was (Badrinarayanan et al. 2015, "SegNet").

    The index is TensorFlow's: ``(y * W + x) * C + c`` in the pooled map's input, or
    ``((b * H + y) * W + x) * C + c`` with ``include_batch_in_index``. Among equal values in a window the first in row
    order wins, as in ``tf.nn.max_pool_with_argmax``.

    The SegNet tutorial casts the index to float32. That is exact only up to 2**24 positions (512x512x64), and a
    mixed-precision policy would round it to float16, so the index is int32 here unless ``index_dtype`` asks for the
    tutorial's form; ``MaxUnpooling2D`` takes both.

    Args:
        pool_size: ``(height, width)`` of a window, or one number for both.
        strides: ``(height, width)`` between windows, or one number for both.
        padding: ``"same"`` or ``"valid"``.
        include_batch_in_index: whether the index counts through the whole batch.
        index_dtype: ``"int32"``, or ``"float32"`` as the tutorial has it.

    Call: ``(B, H, W, C)`` float to ``[values, index]``, both ``(B, h, w, C)``, the values in the input's dtype.

    Raises:
        InputError: an argument has none of these values; or H * W * C (times B, where it is known and part of the
            index) is more than the dtype of the index can tell apart.
    """

    def __init__(
        self,
        pool_size: int | Sequence[int] = (2, 2),
        strides: int | Sequence[int] = (2, 2),
        padding: str = "same",
        include_batch_in_index: bool = False,
        index_dtype: Literal["int32", "float32"] = "int32",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pool_size = _pair("pool_size", pool_size)
        self.strides = _pair("strides", strides)
        self.padding = str(padding).lower()
        self.include_batch_in_index = bool(include_batch_in_index)
        self.index_dtype = index_dtype
        if self.padding not in ("same", "valid"):
            raise InputError(f"padding must be 'same' or 'valid', got {padding!r}.")
        if index_dtype not in _INDEX_LIMITS:
            raise InputError(f"index_dtype must be 'int32' or 'float32', got {index_dtype!r}.")
        # XLA has no kernel for TensorFlow's op; the keras.ops version compiles anywhere.
        self.supports_jit = not _on_tensorflow()

    def call(self, inputs: Any) -> list[Any]:
        self._check_index(tuple(inputs.shape))
        if _on_tensorflow():
            import tensorflow as tf

            values, index = tf.nn.max_pool_with_argmax(
                inputs,
                self.pool_size,
                self.strides,
                self.padding.upper(),
                include_batch_in_index=self.include_batch_in_index,
            )
        else:
            values, index = self._pool_with_ops(inputs)
        return [values, ops.cast(index, self.index_dtype)]

    def _pool_with_ops(self, inputs: Any) -> tuple[Any, Any]:
        """Pool by comparing the elements of all windows one position at a time; needs static H, W and C."""
        batch, height, width, channels = inputs.shape
        size = (height, width)
        out: Any = self.compute_output_shape(inputs.shape)[0][1:3]
        # How many rows (columns) the windows cover in all, and how many of them are padding before the first.
        spans = [(n - 1) * s + k for n, s, k in zip(out, self.strides, self.pool_size, strict=True)]
        before = [max(span - n, 0) // 2 if self.padding == "same" else 0 for span, n in zip(spans, size, strict=True)]
        after = [max(span - n - b, 0) for span, n, b in zip(spans, size, before, strict=True)]
        padded = ops.pad(inputs, [(0, 0), *zip(before, after, strict=True), (0, 0)])

        best, index = None, None
        for dy in range(self.pool_size[0]):
            for dx in range(self.pool_size[1]):
                y = np.arange(out[0]) * self.strides[0] + dy - before[0]
                x = np.arange(out[1]) * self.strides[1] + dx - before[1]
                inside = ((y >= 0) & (y < size[0]))[:, None] & ((x >= 0) & (x < size[1]))[None, :]
                flat = (y[:, None] * size[1] + x[None, :])[..., None] * channels + np.arange(channels)
                position = ops.convert_to_tensor(np.where(inside[..., None], flat, -1)[None].astype(np.int32))
                stop = [d + (n - 1) * s + 1 for d, n, s in zip((dy, dx), out, self.strides, strict=True)]
                value = padded[:, dy : stop[0] : self.strides[0], dx : stop[1] : self.strides[1], :]
                if best is None or index is None:
                    best, index = value, ops.broadcast_to(position, ops.shape(value))
                    continue
                # An index below 0 is padding: any element inside replaces it, even minus infinity.
                better = (position >= 0) & ((value > best) | (index < 0))
                best, index = ops.where(better, value, best), ops.where(better, position, index)
        if self.include_batch_in_index:
            index = index + _batch_offsets(batch, math.prod(size) * channels)
        return best, index

    def compute_output_shape(self, input_shape: Shape) -> list[Shape]:
        sides = [
            side if side is None else -(-side // stride) if self.padding == "same" else (side - size) // stride + 1
            for side, size, stride in zip(input_shape[1:3], self.pool_size, self.strides, strict=True)
        ]
        return [(input_shape[0], *sides, input_shape[3])] * 2

    def compute_output_spec(self, inputs: keras.KerasTensor) -> list[keras.KerasTensor]:
        self._check_index(tuple(inputs.shape))
        values, index = self.compute_output_shape(inputs.shape)
        return [keras.KerasTensor(values, self.compute_dtype), keras.KerasTensor(index, self.index_dtype)]

    def _check_index(self, shape: Shape) -> None:
        counted = [side for side in shape[0 if self.include_batch_in_index else 1 :] if side is not None]
        positions, limit = math.prod(counted), _INDEX_LIMITS[self.index_dtype]
        if positions > limit:
            raise InputError(
                f"'{self.name}' cannot index a map of shape {shape}: {positions} positions, but {self.index_dtype} "
                f"tells only {limit} apart. Use a smaller input, or index_dtype='int32'."
            )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "strides": self.strides,
            "padding": self.padding,
            "include_batch_in_index": self.include_batch_in_index,
            "index_dtype": self.index_dtype,
        }


@keras.saving.register_keras_serializable(package="edgeseg")
class MaxUnpooling2D(keras.layers.Layer):  # type: ignore[misc]
    """Puts each value back where ``MaxPoolingWithArgmax2D`` found it, zeros elsewhere.

    The index counts positions in a map of the output's size, so the pooled height and width must be divisible by
    ``up_size``. Where overlapping windows share a maximum, their values add up, as in ``tf.scatter_nd``.

    Args:
        up_size: ``(height, width)`` factors, or one number for both; the strides of the pooling.
        include_batch_in_index: as in the pooling that made the index.

    Call: ``[values, index]``, both ``(B, h, w, C)``, the index int32 or float32, to
    ``(B, h * up_size[0], w * up_size[1], C)`` in the values' dtype.

    Raises:
        InputError: ``up_size`` is not one or two positive numbers.
    """

    def __init__(
        self, up_size: int | Sequence[int] = (2, 2), include_batch_in_index: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**{"autocast": False, **kwargs})  # a mixed-precision policy would round a float index
        self.up_size = _pair("up_size", up_size)
        self.include_batch_in_index = bool(include_batch_in_index)

    def call(self, inputs: Sequence[Any]) -> Any:
        values, index = inputs[0], ops.cast(inputs[1], "int32")
        batch, height, width, channels = ops.shape(values)
        height, width = height * self.up_size[0], width * self.up_size[1]
        positions = height * width * channels
        if not self.include_batch_in_index:
            index = index + _batch_offsets(batch, positions)
        flat = ops.scatter(ops.reshape(index, (-1, 1)), ops.reshape(values, (-1,)), (batch * positions,))
        return ops.reshape(flat, (-1, height, width, channels))

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        batch, *sides, channels = input_shape[0]
        return (batch, *(s if s is None else s * up for s, up in zip(sides, self.up_size, strict=True)), channels)

    def compute_output_spec(self, inputs: Sequence[keras.KerasTensor]) -> keras.KerasTensor:
        return keras.KerasTensor(self.compute_output_shape([i.shape for i in inputs]), inputs[0].dtype)

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "up_size": self.up_size}
        return {**config, "include_batch_in_index": self.include_batch_in_index}


@keras.saving.register_keras_serializable(package="edgeseg")
class UpsampleLike(keras.layers.Layer):  # type: ignore[misc]
    """Nearest-neighbor resize of one map to the height and width of another.

    Output row ``i`` is source row ``floor(i * h / H)``: the rule of TensorFlow 1's ``tf.image.resize_images``, with
    which HRNet and RetinaNet in Keras were trained. For whole factors it is the usual nearest upsampling.

    Call: ``[source, target]``, ``(B, h, w, C)`` and ``(B, H, W, any)``, to ``(B, H, W, C)`` in the source's dtype.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_jit = not _on_tensorflow()  # XLA has no kernel for the gradient of TensorFlow's op

    def call(self, inputs: Sequence[Any]) -> Any:
        source, target = inputs
        if _on_tensorflow():
            import tensorflow as tf

            return tf.raw_ops.ResizeNearestNeighbor(images=source, size=_height_width(target))
        for axis in (1, 2):
            source = ops.take(source, _nearest_indices(source.shape[axis], target.shape[axis]), axis=axis)
        return source

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        source, target = input_shape
        return (source[0], target[1], target[2], source[3])


@keras.saving.register_keras_serializable(package="edgeseg")
class ResizeBilinear(keras.layers.Layer):  # type: ignore[misc]
    """Bilinear resize, to a fixed size or to the size of a second map, without antialiasing.

    Args:
        size: ``(H, W)`` in pixels; when omitted, the layer is called on ``[source, target]`` and takes the target's.
        align_corners: ``True``: the centers of the corner pixels stay in place, output row ``i`` is at source row ``i *
            (h - 1) / (H - 1)``, as in TensorFlow 1 models with ``align_corners=True``. ``False``: pixels are areas, row
            ``i`` is at ``(i + 0.5) * h / H - 0.5``, as in Keras and OpenCV.

    Call: ``(B, h, w, C)`` float, or a list of it and ``(B, H, W, any)``, to ``(B, H, W, C)`` in the input's dtype.

    Raises:
        InputError: ``size`` is not two positive numbers.
    """

    def __init__(self, size: int | Sequence[int] | None = None, align_corners: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = None if size is None else _pair("size", size)
        self.align_corners = bool(align_corners)

    def call(self, inputs: Any) -> Any:
        source, size = (inputs, self.size) if self.size else (inputs[0], _height_width(inputs[1]))
        return resize_bilinear(source, size, align_corners=self.align_corners)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        source, size = (input_shape, self.size) if self.size else (input_shape[0], input_shape[1][1:3])
        return (source[0], *size, source[3])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size, "align_corners": self.align_corners}


@keras.saving.register_keras_serializable(package="edgeseg")
class LegacyResize(keras.layers.Layer):  # type: ignore[misc]
    """Resize by the rules of TensorFlow 1, which have no half-pixel centers: ``tf.compat.v1.image.resize``.

    Output row ``i`` is at source row ``i * h / H``, or at ``i * (h - 1) / (H - 1)`` with ``align_corners``.
    ``UpsampleLike`` and ``ResizeBilinear`` are two of the four cases under names of their own.

    Args:
        size: ``(H, W)`` in pixels; when omitted, the layer is called on ``[source, target]`` and takes the target's.
        interpolation: ``"bilinear"``, or ``"nearest"``, which takes the row before (``align_corners``: the closest).
        align_corners: whether the centers of the corner pixels stay in place.

    Call: ``(B, h, w, C)``, or a list of it and ``(B, H, W, any)``, to ``(B, H, W, C)`` in the input's dtype.

    Raises:
        InputError: an argument has none of these values.
    """

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        interpolation: Literal["bilinear", "nearest"] = "bilinear",
        align_corners: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.size = None if size is None else _pair("size", size)
        self.interpolation = interpolation
        self.align_corners = bool(align_corners)
        if interpolation not in ("bilinear", "nearest"):
            raise InputError(f"interpolation must be 'bilinear' or 'nearest', got {interpolation!r}.")
        self.supports_jit = not _on_tensorflow()  # XLA has no kernel for the gradient of TensorFlow's ops

    def call(self, inputs: Any) -> Any:
        source, size = (inputs, self.size) if self.size else (inputs[0], _height_width(inputs[1]))
        if _on_tensorflow():
            import tensorflow as tf

            op = tf.raw_ops.ResizeBilinear if self.interpolation == "bilinear" else tf.raw_ops.ResizeNearestNeighbor
            return tf.cast(op(images=source, size=size, align_corners=self.align_corners), source.dtype)
        for axis, target in zip((1, 2), size, strict=True):
            at = _legacy_positions(source.shape[axis], target, self.align_corners)
            if self.interpolation == "nearest":
                nearest = np.floor(at + np.float32(0.5)) if self.align_corners else np.floor(at)
                source = ops.take(source, np.minimum(nearest, source.shape[axis] - 1).astype(np.int32), axis=axis)
            else:
                matrix = ops.cast(_between_pixels(at, source.shape[axis]), source.dtype)
                source = ops.einsum("Hh,bhwc->bHwc" if axis == 1 else "Ww,bhwc->bhWc", matrix, source)
        return source

    def compute_output_shape(self, input_shape: Any) -> Shape:
        source, size = (input_shape, self.size) if self.size else (input_shape[0], input_shape[1][1:3])
        return (source[0], *size, source[3])

    def get_config(self) -> dict[str, Any]:
        own = {"size": self.size, "interpolation": self.interpolation, "align_corners": self.align_corners}
        return {**super().get_config(), **own}


def resize_bilinear(x: Any, size: Any, *, align_corners: bool) -> Any:
    """Compute the bilinear resize of ``ResizeBilinear``.

    Args:
        x: ``(B, h, w, C)`` float.
        size: ``(H, W)``; on TensorFlow also as tensors.
        align_corners: as in ``ResizeBilinear``.

    Returns:
        ``(B, H, W, C)`` in the input's dtype.
    """
    if _on_tensorflow():
        import tensorflow as tf

        half_pixel = not align_corners
        resized = tf.raw_ops.ResizeBilinear(
            images=x, size=size, align_corners=align_corners, half_pixel_centers=half_pixel
        )
        return tf.cast(resized, x.dtype)  # the op returns float32 whatever its input
    rows = bilinear_matrix(x.shape[1], size[0], align_corners=align_corners)
    columns = bilinear_matrix(x.shape[2], size[1], align_corners=align_corners)
    resized = ops.einsum("Hh,bhwc->bHwc", ops.cast(rows, x.dtype), x)
    return ops.einsum("Ww,bHwc->bHWc", ops.cast(columns, x.dtype), resized)


def bilinear_matrix(source: int, target: int, *, align_corners: bool) -> NDArray[np.float32]:
    """Return the weights of a bilinear resize along one axis, positions rounded to float32 as TensorFlow does.

    Args:
        source: number of pixels before.
        target: number of pixels after.
        align_corners: as in ``ResizeBilinear``.

    Returns:
        ``(target, source)`` float32; each row has at most two entries that are not 0, and sums to 1.
    """
    if align_corners:
        return _between_pixels(_legacy_positions(source, target, align_corners), source)
    half = np.float32(0.5)
    return _between_pixels(
        (np.arange(target, dtype=np.float32) + half) * (np.float32(source) / np.float32(target)) - half, source
    )


def _legacy_positions(source: int, target: int, align_corners: bool) -> NDArray[np.float32]:
    """Return where each target pixel is in the source, by TensorFlow 1's rules and in its precision."""
    if align_corners and target > 1:
        scale = np.float32(source - 1) / np.float32(target - 1)
    else:
        scale = np.float32(source) / np.float32(target)
    positions: NDArray[np.float32] = np.arange(target, dtype=np.float32) * scale
    return positions


def _between_pixels(at: NDArray[np.float32], source: int) -> NDArray[np.float32]:
    """Return the bilinear weights of the source pixels around each position, ``(target, source)``."""
    floor = np.floor(at)
    fraction = at - floor
    lower = np.maximum(floor, 0).astype(int)
    upper = np.minimum(np.ceil(at), source - 1).astype(int)
    matrix = np.zeros((len(at), source), np.float32)
    np.add.at(matrix, (np.arange(len(at)), lower), 1 - fraction)
    np.add.at(matrix, (np.arange(len(at)), upper), fraction)
    return matrix


def _nearest_indices(source: int, target: int) -> NDArray[np.int32]:
    """Return the source pixel of each target pixel, rounded as TensorFlow does: the scale is a float32."""
    at = _legacy_positions(source, target, align_corners=False)
    indices: NDArray[np.int32] = np.minimum(np.floor(at), source - 1).astype(np.int32)
    return indices


def _batch_offsets(batch: Any, positions: Any) -> Any:
    """Return the flat index at which each image of a batch starts, ``(B, 1, 1, 1)`` int32."""
    return ops.reshape(ops.arange(batch, dtype="int32") * positions, (-1, 1, 1, 1))


def _height_width(x: Any) -> Any:
    """Return H and W of a tensor: numbers where the graph knows them, so that no shape ops are converted."""
    if None not in x.shape[1:3] or not _on_tensorflow():
        return tuple(x.shape[1:3])
    import tensorflow as tf

    return tf.shape(x)[1:3]


def _on_tensorflow() -> bool:
    return bool(keras.backend.backend() == "tensorflow")


def _pair(name: str, value: int | Sequence[int]) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(side, int) and side > 0 for side in pair):
        raise InputError(f"{name} must be a positive whole number or two of them, got {value!r}.")
    return pair[0], pair[1]
