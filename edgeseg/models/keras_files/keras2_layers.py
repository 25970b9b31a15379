"""Provide layers of Keras 2 models that Keras 3 has under no public name: those in the backbones of applications.

Names and weights are those in the files. ``from_config`` refuses arguments that the original does not have.
"""

# ruff: noqa: D102 - call, build, compute_output_shape and get_config are Keras' own

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from edgeseg.models.layers import Shape


@keras.saving.register_keras_serializable(package="edgeseg")
class LayerScale(keras.layers.Layer):  # type: ignore[misc]
    """A factor for each channel: keras.applications' ConvNeXt.

    Args:
        projection_dim: number of channels.
        init_values: the factor at first.

    Call: ``(..., projection_dim)`` float to the same shape.
    """

    def __init__(self, projection_dim: int, init_values: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.projection_dim, self.init_values = projection_dim, init_values

    def build(self, input_shape: Shape) -> None:
        initializer = keras.initializers.Constant(self.init_values)
        self.gamma = self.add_weight(name="gamma", shape=(self.projection_dim,), initializer=initializer)

    def call(self, inputs: Any) -> Any:
        return inputs * self.gamma

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "projection_dim": self.projection_dim, "init_values": self.init_values}


@keras.saving.register_keras_serializable(package="edgeseg")
class CustomScaleLayer(keras.layers.Layer):  # type: ignore[misc]
    """A sum with a scaled second map: keras.applications' InceptionResNetV2.

    Args:
        scale: what the second map is multiplied by.

    Call: two tensors of one shape to ``first + second * scale``.
    """

    def __init__(self, scale: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, inputs: Sequence[Any]) -> Any:
        return inputs[0] + inputs[1] * self.scale

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}
