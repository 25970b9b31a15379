"""Read and add constants of a graph."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray


def add_constant(graph: ir.Graph, name: str, array: NDArray[Any]) -> ir.Value:
    """Add a constant to a graph.

    Args:
        graph: is changed.
        name: a name that no other value of the graph has.
        array: its values, shape and dtype.

    Returns:
        The value that nodes read.
    """
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def array_of(value: ir.Value | None) -> NDArray[Any] | None:
    """Return the array of a constant, without a copy; ``None`` for a value that is computed, fed, or absent.

    Args:
        value: an input of a node.
    """
    return None if value is None or value.const_value is None else value.const_value.numpy()


def arrays_of(node: ir.Node, start: int, stop: int) -> list[NDArray[Any]]:
    """Return the arrays of constants among a node's inputs, without a copy.

    Args:
        node: whose inputs are read.
        start: index of the first.
        stop: index after the last.

    Raises:
        PassError: one is not a constant.
    """
    arrays = [array for value in node.inputs[start:stop] if (array := array_of(value)) is not None]
    if len(arrays) != stop - start:
        raise ir.passes.PassError(f"the inputs {start} to {stop - 1} of {node.op_type} '{node.name}' are not constants")
    return arrays
