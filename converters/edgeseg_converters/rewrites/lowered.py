"""What rewrites put there where Keras has no layer for it: layers that are one TensorFlow op of fixed sizes."""

# ruff: noqa: D102 - call, compute_output_shape and get_config are Keras' own; the class says what goes in and out

from __future__ import annotations

from typing import Any

import keras
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
    """Nearest-neighbour resize to a fixed size: output row ``i`` is source row ``floor(i * h / H)``.

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
