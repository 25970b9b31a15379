"""TensorFlow ops that tf2onnx has nothing for, though ONNX can say them: by identities of the ops that it has.

    Erfc(x)  = 1 - Erf(x)        Keras' exact GELU, 0.5 x erfc(-x / sqrt 2)
    Expm1(x) = Exp(x) - 1        Keras' CELU
    Log1p(x) = Log(1 + x)

TensorFlow has the three for results near 0, of which the difference loses digits: it is rounded like a number near 1,
by 6e-8, in float32. An activation adds or multiplies such a result to values of a map, where 6e-8 is as nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tf2onnx import utils

#: An ONNX graph that is being made, a name in it for the number 1, and the op's argument; gives the result's name.
_Identity = Callable[[Any, str, str], tuple[str, list[str]]]


def _erfc(graph: Any, one: str, x: str) -> tuple[str, list[str]]:
    return "Sub", [one, graph.make_node("Erf", [x]).output[0]]


def _expm1(graph: Any, one: str, x: str) -> tuple[str, list[str]]:
    return "Sub", [graph.make_node("Exp", [x]).output[0], one]


def _log1p(graph: Any, one: str, x: str) -> tuple[str, list[str]]:
    return "Log", [graph.make_node("Add", [x, one]).output[0]]


def _handler(identity: _Identity) -> tuple[Callable[..., None], list[Any]]:
    """What tf2onnx takes as a handler: a function that puts other nodes in place of one, and its arguments."""

    def replace(graph: Any, node: Any, name: str, _: list[Any]) -> None:
        (x,), (result,) = node.input, node.output
        shape, dtype = graph.get_shape(result), graph.get_dtype(result)
        ones = np.ones((), utils.map_onnx_to_numpy_type(dtype))
        one = graph.make_const(utils.make_name(f"{name}_one"), ones).output[0]
        last, inputs = identity(graph, one, x)
        graph.remove_node(name)
        graph.make_node(last, inputs, name=name, outputs=[result], shapes=[shape], dtypes=[dtype])

    return replace, []


#: The argument ``custom_op_handlers`` of tf2onnx.
HANDLERS = {"Erfc": _handler(_erfc), "Expm1": _handler(_expm1), "Log1p": _handler(_log1p)}
