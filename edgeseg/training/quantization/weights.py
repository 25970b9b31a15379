"""Write what was learned in integers as the float model whose weights are those that its integers mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops

from edgeseg.training.quantization.kernels import kernel_of
from edgeseg.training.quantization.network import FakeQuantized
from edgeseg.training.quantization.scheme import quantized_weights
from edgeseg.training.quantization.steps import Step


@contextmanager
def on_integers(layer: FakeQuantized) -> Iterator[keras.Model]:
    """Yield the float model whose weights are those that its integers mean; the weights are put back afterwards.

    A weight in the middle between two integers would be rounded this way here and that way by a converter, which folds
    the batch norm in another order.
    """
    variables = layer.network.weights
    before = [ops.convert_to_numpy(variable).copy() for variable in variables]
    limits = ops.convert_to_numpy(layer.limits())
    try:
        for step in layer.plan.steps:
            if step.kind == "filter" and type(step.operation).__name__ != "BatchNormalization":
                _round_weights(layer, step, limits)
        yield layer.network
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)


def _round_weights(layer: FakeQuantized, step: Step, limits: Any) -> None:
    kernel = kernel_of(step)
    largest = layer.scheme.largest_weight(depthwise=kernel.is_depthwise)
    numbers, scale = (
        ops.convert_to_numpy(x) for x in quantized_weights(ops.convert_to_tensor(kernel.weights), kernel.axes, largest)
    )
    kernel.weights.assign(numbers * scale)
    if step.norm is None and kernel.bias is None:
        return
    low, high = limits[layer.plan.groups[step.inputs[0]]]
    step_of_input = max(-low, high) / 32767 if layer.scheme.is_symmetric else (high - low) / 255
    scale = scale.reshape(-1).astype(np.float64)
    norm = step.norm
    if norm is None:
        unit = step_of_input * scale
        kernel.bias.assign(np.round(ops.convert_to_numpy(kernel.bias) / unit) * unit)
    elif norm.center:
        mean, variance = (ops.convert_to_numpy(x).astype(np.float64) for x in (norm.moving_mean, norm.moving_variance))
        factor = 1 / np.sqrt(variance + norm.epsilon)
        if norm.scale:
            factor = factor * ops.convert_to_numpy(norm.gamma)
        shift = -mean * factor if kernel.bias is None else (ops.convert_to_numpy(kernel.bias) - mean) * factor
        unit = np.maximum(step_of_input * scale * np.abs(factor), 1e-30)
        folded = shift + ops.convert_to_numpy(norm.beta)
        norm.beta.assign(np.round(folded / unit) * unit - shift)
