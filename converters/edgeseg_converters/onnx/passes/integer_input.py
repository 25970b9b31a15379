"""Give a graph that was quantized with a float input an input of bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeseg_converters.onnx.passes.constants import array_of, arrays_of


class TakeBytes(ir.passes.InPlacePass):
    """Make the input uint8: remove its quantization to scale 1 and zero point 0, and add a Cast for float readers."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """See the class."""
        graph, image = model.graph, model.graph.inputs[0]
        image.type = ir.TensorType(ir.DataType.UINT8)
        quantizers = [use.node for use in image.uses() if _keeps_bytes(use.node)]
        in_float = [use for use in image.uses() if use.node not in quantizers]
        for node in quantizers:
            node.outputs[0].replace_all_uses_with(image)
            graph.remove(node, safe=True)
        if in_float:
            as_float = ir.Value(name=f"{image.name}_float")
            for node, index in in_float:
                node.replace_input_with(index, as_float)
            cast = ir.node("Cast", [image], {"to": ir.DataType.FLOAT.value}, outputs=[as_float], name="")
            graph.insert_before(graph[0], cast)
        return ir.passes.PassResult(model, modified=True)


def _keeps_bytes(node: ir.Node) -> bool:
    """Return whether a node quantizes to uint8 by scale 1 and zero point 0."""
    if node.op_type != "QuantizeLinear":
        return False
    scale, zero_point = arrays_of(node, 1, 3)
    return bool(scale == 1 and zero_point == 0 and zero_point.dtype == "uint8")


class OmitNormalization(ir.passes.InPlacePass):
    """Let the network read the bytes of the image where normalizing them changes no integer.

        Given:   bytes -> DequantizeLinear of scale 1 -> 1x1 Conv of each channel -> QuantizeLinear, the same integers
        Result:  bytes, whose DequantizeLinear has the scale and zero point of that QuantizeLinear

    What the convolution gives is computed for each of the 256 bytes. The image's layout may be changed on the way.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """See the class."""
        chain = _chain(model.graph.inputs[0])
        quantizer = _only_reader(chain[-1].outputs[0]) if chain else None
        if quantizer is None or quantizer.op_type != "QuantizeLinear" or not _keeps_integers(chain[-1], quantizer):
            return ir.passes.PassResult(model, modified=False)
        *before, last, convolution = chain
        for node in before:
            if node.op_type != "Transpose":
                for place in (1, 2):
                    node.replace_input_with(place, quantizer.inputs[place])
        integers = before[-1].outputs[0] if before else model.graph.inputs[0]
        quantizer.outputs[0].replace_all_uses_with(integers)
        model.graph.remove([quantizer, convolution, last], safe=True)
        return ir.passes.PassResult(model, modified=True)


def _chain(image: ir.Value) -> list[ir.Node]:
    """Return the nodes from the image to the convolution that reads it; none where it is read in another way too."""
    nodes: list[ir.Node] = []
    node = _only_reader(image)
    while node is not None and node.op_type in ("DequantizeLinear", "QuantizeLinear", "Transpose"):
        nodes.append(node)
        node = _only_reader(node.outputs[0])
    starts = bool(nodes) and nodes[-1].op_type == "DequantizeLinear"
    return [*nodes, node] if starts and node is not None and node.op_type == "Conv" else []


def _only_reader(value: ir.Value) -> ir.Node | None:
    uses = tuple(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def _keeps_integers(convolution: ir.Node, quantizer: ir.Node) -> bool:
    """Return whether a convolution and the quantization of its result make of each byte the byte itself."""
    given, *constants = (value.producer() if value is not None else None for value in convolution.inputs)
    scale, zero_point = (array_of(value) for value in quantizer.inputs[1:3])
    if given is None or scale is None or zero_point is None or zero_point.dtype != np.uint8:
        return False
    weights, steps = _dequantized(constants[0])
    biases = _dequantized(constants[1])[0] if len(constants) > 1 else np.zeros(3, np.int32)
    if weights is None or steps is None or biases is None or weights.shape != (3, 1, 1, 1):
        return False
    plain = {"strides": (1, 1), "pads": (0, 0, 0, 0)}
    if any(tuple(convolution.attributes.get_ints(name, value)) != value for name, value in plain.items()):
        return False
    (fed,) = arrays_of(given, 1, 2)
    every = np.arange(256)[:, None]
    sums = every * weights.reshape(-1).astype(np.int64) + biases
    normalized = np.round(sums * (float(fed) * steps.astype(np.float64) / float(scale))) + int(zero_point)
    return bool(np.all(np.clip(normalized, 0, 255) == every))


def _dequantized(node: ir.Node | None) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """Return integers and scale of a constant."""
    if node is None or node.op_type != "DequantizeLinear":
        return None, None
    return array_of(node.inputs[0]), array_of(node.inputs[1])
