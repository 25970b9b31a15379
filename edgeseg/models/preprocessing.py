"""Find out how a model is fed: from the zoo architecture it is, its input's dtype, and its first layers."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from edgeseg.models.keras_graph import graph_of
from edgeseg.models.keras_internals import Call, calls_of
from edgeseg.models.weights.load import head_of
from edgeseg.models.weights.variables import model_layers
from edgeseg.models.zoo.table import ZOO, ZooModel

#: Width that [0, 255] may have after a layer made for it; after one made for [0, 1] or [-1, 1] it is wider.
_WIDEST = 100.0

#: The mean that is subtracted from pixels is above this; that of values in [0, 1] or [-1, 1] is below.
_LEAST_MEAN = 10.0

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
    met, _ = _follow(graph_of(model), image)
    first = next((call.operation for call in met if 255 * _factor(call) <= _WIDEST or _mean(call) >= _LEAST_MEAN), None)
    if first is None:
        return ""
    is_layer = isinstance(first, keras.layers.Layer)
    return f"begins with {f'a {type(first).__name__}' if is_layer else 'arithmetic on pixels'} ('{first.name}')"


def _follow(graph: Any, tensor: Any) -> tuple[list[Call], list[Any]]:
    """Return the calls that receive a tensor's values, and the tensors that have them, also in nested models."""
    met: list[Call] = []
    same, calls = [tensor], calls_of(graph)
    for known in same:  # which grows
        readers = [(call, i) for call in calls for i, read in enumerate(call.inputs) if read is known]
        for call, place in readers:
            inner = graph_of(call.operation)
            if inner is not None:
                met_inside, same_inside = _follow(inner, inner.inputs[place])
                met += met_inside
                same_ids = {id(inside) for inside in same_inside}
                same += [
                    out
                    for out, inner_output in zip(call.outputs, inner.outputs, strict=True)
                    if id(inner_output) in same_ids
                ]
            elif _keeps_values(call.operation):
                same += call.outputs
            else:
                met.append(call)
    return met, same


def _keeps_values(operation: Any) -> bool:
    """Return whether inference passes the values through; augmentations do nothing then.

    GetItem and Stack put the channels into another order, as ``keras.applications.resnet.preprocess_input`` does.
    """
    name = type(operation).__name__
    augments = (name,) if name.startswith("Random") else ()
    return _is(operation, "Cast", "Identity", "Resizing", "Dropout", "GetItem", "Stack", *augments)


def _is(operation: Any, *names: str) -> bool:
    """Return whether an operation is Keras' own and of one of these classes; those of ``keras.ops`` are not public."""
    return type(operation).__module__.startswith("keras.") and type(operation).__name__ in names


def _factor(call: Call) -> float:
    """Return the factor that the image is multiplied by, the largest over the channels; infinite if it is not."""
    operation = call.operation
    if isinstance(operation, keras.layers.Rescaling):
        return float(np.abs(operation.scale).max())
    if isinstance(operation, keras.layers.Normalization) and not operation.invert:
        smallest = float(keras.ops.convert_to_numpy(operation.variance).min())
        return 1 / math.sqrt(smallest) if smallest > 0 else math.inf
    if _is(operation, "TrueDivide") and (divisor := _constant(call)) is not None:
        return float(1 / np.abs(divisor).min()) if divisor.all() else math.inf
    if _is(operation, "Multiply") and (factor := _constant(call)) is not None:
        return float(np.abs(factor).max())
    return math.inf


def _mean(call: Call) -> float:
    """Return what is subtracted from the image, the largest over the channels; 0 where nothing is."""
    if not _is(call.operation, "Subtract", "Add"):
        return 0.0
    mean = _constant(call)
    return 0.0 if mean is None else float(np.abs(mean).max())


def _constant(call: Call) -> Any:
    """Return the constant operand, float64, of an operation of two arguments one of which is a tensor."""
    given = call.args
    fixed = [argument for argument in given if not isinstance(argument, keras.KerasTensor)]
    if len(given) != 2 or len(fixed) != 1 or (fixed[0] is given[0] and _is(call.operation, "TrueDivide")):
        return None  # also where a number is divided by the image
    return np.asarray(keras.ops.convert_to_numpy(fixed[0]), np.float64)
