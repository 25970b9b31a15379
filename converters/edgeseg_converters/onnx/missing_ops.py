"""Convert TensorFlow ops that tf2onnx does not know, by identities of ops that ONNX has.

    Erfc(x)  = 1 - Erf(x)        Keras' exact GELU, 0.5 x erfc(-x / sqrt 2)
    Expm1(x) = Exp(x) - 1        Keras' CELU
    Log1p(x) = Log(1 + x)

TensorFlow has the three for results near 0, where the difference loses digits: it is rounded like a number near 1, by
6e-8 in float32. An activation adds or multiplies such a result to values of a map, where 6e-8 is negligible.
"""

from __future__ import annotations

from typing import Any

from edgeseg_converters.onnx.tf2onnx_internals import handler


def _erfc(graph: Any, one: str, x: str) -> tuple[str, list[str]]:
    return "Sub", [one, graph.make_node("Erf", [x]).output[0]]


def _expm1(graph: Any, one: str, x: str) -> tuple[str, list[str]]:
    return "Sub", [graph.make_node("Exp", [x]).output[0], one]


def _log1p(graph: Any, one: str, x: str) -> tuple[str, list[str]]:
    return "Log", [graph.make_node("Add", [x, one]).output[0]]


#: The argument ``handlers`` of ``tf2onnx_internals.convert``.
HANDLERS = {"Erfc": handler(_erfc), "Expm1": handler(_expm1), "Log1p": handler(_log1p)}
