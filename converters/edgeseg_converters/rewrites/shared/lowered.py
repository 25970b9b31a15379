"""Define layers for rewrites that Keras does not have, each one or two TensorFlow ops of fixed sizes."""

# ruff: noqa: D102 - call, compute_output_shape and get_config are Keras' own; the class says what goes in and out

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable(package="edgeseg_converters")
class SpaceToDepth(keras.layers.Layer):  # type: ignore[misc]
    """Blocks of pixels to channels: ``(B, H, W, C)`` to ``(B, H/n, W/n, n*n*C)``.

    Channel ``(dy * n + dx) * C + c`` is pixel ``(dy, dx)`` of the block.

    Args:
        block_size: ``n``; H and W must be divisible by it.
    """

    def __init__(self, block_size: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.block_size = block_size

    def call(self, x: Any) -> Any:
        return tf.nn.space_to_depth(x, self.block_size)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, *sides, channels = input_shape
        small = (None if side is None else side // self.block_size for side in sides)
        return (batch, *small, None if channels is None else channels * self.block_size**2)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "block_size": self.block_size}


@keras.saving.register_keras_serializable(package="edgeseg_converters")
class DepthToSpace(keras.layers.Layer):  # type: ignore[misc]
    """The inverse of ``SpaceToDepth``: ``(B, h, w, n*n*C)`` to ``(B, h*n, w*n, C)``.

    Args:
        block_size: ``n``.
    """

    def __init__(self, block_size: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.block_size = block_size

    def call(self, x: Any) -> Any:
        return tf.nn.depth_to_space(x, self.block_size)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, *sides, channels = input_shape
        large = (None if side is None else side * self.block_size for side in sides)
        return (batch, *large, None if channels is None else channels // self.block_size**2)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "block_size": self.block_size}


@keras.saving.register_keras_serializable(package="edgeseg_converters")
class NearestResize(keras.layers.Layer):  # type: ignore[misc]
    """Nearest-neighbor resize to a fixed size: output row ``i`` is source row ``floor(i * h / H)``.

    One RESIZE_NEAREST_NEIGHBOR, one Resize; Keras' ``UpSampling2D`` becomes a five-dimensional TILE instead.

    Args:
        size: ``(H, W)`` in pixels.
    """

    def __init__(self, size: tuple[int, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = (int(size[0]), int(size[1]))

    def call(self, x: Any) -> Any:
        return tf.raw_ops.ResizeNearestNeighbor(images=x, size=self.size)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], *self.size, input_shape[3])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable(package="edgeseg_converters")
class NearestBroadcast(keras.layers.Layer):  # type: ignore[misc]
    """Nearest-neighbor upsampling by whole factors: ``(B, h, w, C)`` to ``(B, h*a, w*b, C)``.

    One multiplication of ``(B*h, 1, w, 1, C)`` by ones ``(1, a, 1, b, 1)``, which XNNPACK broadcasts.

    Args:
        factors: ``(a, b)``.
    """

    def __init__(self, factors: tuple[int, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factors = (int(factors[0]), int(factors[1]))

    def call(self, x: Any) -> Any:
        _, height, width, channels = x.shape
        rows, columns = self.factors
        ones = np.ones((1, rows, 1, columns, 1), x.dtype.as_numpy_dtype)
        copies = tf.reshape(x, (-1, 1, width, 1, channels)) * ones
        return tf.reshape(copies, (-1, height * rows, width * columns, channels))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, *sides, channels = input_shape
        large = (None if side is None else side * factor for side, factor in zip(sides, self.factors, strict=True))
        return (batch, *large, channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factors": self.factors}


# Windows of 2x2 that do not overlap.
_WINDOWS = {"ksize": (1, 2, 2, 1), "strides": (1, 2, 2, 1), "padding": "VALID"}


@keras.saving.register_keras_serializable(package="edgeseg_converters")
class IndexedMaxPooling(keras.layers.Layer):  # type: ignore[misc]
    """2x2 max pooling with an index that ``IndexedUnpooling`` reads: ``(B, 2h, 2w, C)`` to two ``(B, h, w, C)``.

    MaxPoolWithArgmax, which ``delegate_ops`` turns into the delegates' custom op.
    """

    def call(self, x: Any) -> list[Any]:
        return list(tf.raw_ops.MaxPoolWithArgmax(input=x, Targmax=tf.int64, **_WINDOWS))

    def compute_output_spec(self, x: keras.KerasTensor) -> list[keras.KerasTensor]:
        batch, height, width, channels = x.shape
        shape = (batch, height // 2, width // 2, channels)
        return [keras.KerasTensor(shape, x.dtype), keras.KerasTensor(shape, "int64")]


@keras.saving.register_keras_serializable(package="edgeseg_converters")
class IndexedUnpooling(keras.layers.Layer):  # type: ignore[misc]
    """The inverse, on ``[pooled map's source, values, index]``: the gradient of the pooling is an unpooling.

    MaxPoolGradWithArgmax, which ``delegate_ops`` turns into the delegates' custom op; only the shape of the source
    matters.
    """

    def call(self, inputs: Any) -> Any:
        source, values, index = inputs
        return tf.raw_ops.MaxPoolGradWithArgmax(input=source, grad=values, argmax=index, **_WINDOWS)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        return keras.KerasTensor(inputs[0].shape[:3] + inputs[1].shape[3:], inputs[1].dtype)
