"""Make inner tensors the outputs of a graph, to measure them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from edgeseg.choices import Layout


class ReturnLogits(ir.passes.InPlacePass):
    """Make the input of the class map's ArgMax the output, ``(1, h, w, C)`` float32."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """See the class."""
        graph = model.graph
        arg_max = _arg_max(graph.outputs[0])
        logits = arg_max.inputs[0]
        if arg_max.attributes.get_int("axis", 0) == 1:  # an NCHW argmax; the caller compares NHWC
            transpose = ir.node("Transpose", [logits], {"perm": [0, 2, 3, 1]}, outputs=[ir.Value(name="tapped_nhwc")])
            graph.append(transpose)
            logits = transpose.outputs[0]
        # A cast also tells the checker the dtype, which an inner tensor of an fp16 model does not show.
        tapped = _float_output("tapped", ir.Shape([None] * 4))
        graph.append(ir.node("Cast", [logits], {"to": ir.DataType.FLOAT.value}, outputs=[tapped]))
        graph.outputs[:] = [tapped]
        return ir.passes.PassResult(model, modified=True)


#: What ``NameScores`` calls the scores of a class map, by their axes.
SCORES: Mapping[Layout, str] = {"nhwc": "edgeseg_scores_nhwc", "nchw": "edgeseg_scores_nchw"}


class NameScores(ir.passes.InPlacePass):
    """Name the input of the class map's ArgMax by its axes; do nothing where the output is scores itself."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """See the class."""
        try:
            arg_max = _arg_max(model.graph.outputs[0])
        except ir.passes.PreconditionError:
            return ir.passes.PassResult(model, modified=False)
        scores = arg_max.inputs[0]
        assert scores is not None
        scores.name = SCORES["nchw" if arg_max.attributes.get_int("axis", 0) == 1 else "nhwc"]
        return ir.passes.PassResult(model, modified=True)


class ReturnExtremes(ir.passes.InPlacePass):
    """Make two scalars for each name the outputs: all the smallest values, then all the largest."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """See the class."""
        graph, values = model.graph, ir.convenience.create_value_mapping(model.graph)
        graph.outputs.clear()
        for kind in ("ReduceMin", "ReduceMax"):
            for index, name in enumerate(self.names):
                output = _float_output(f"{kind}_{index}", ir.Shape([]))
                graph.append(ir.node(kind, [values[name]], {"keepdims": 0}, outputs=[output]))
                graph.outputs.append(output)
        return ir.passes.PassResult(model, modified=True)


class ReturnValues(ir.passes.InPlacePass):
    """Make the named tensors the outputs, in this order, as float32."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """See the class."""
        graph, values = model.graph, ir.convenience.create_value_mapping(model.graph)
        graph.outputs.clear()
        for index, name in enumerate(self.names):
            output = _float_output(f"tapped_{index}", None)
            graph.append(ir.node("Cast", [values[name]], {"to": ir.DataType.FLOAT.value}, outputs=[output]))
            graph.outputs.append(output)
        return ir.passes.PassResult(model, modified=True)


def _arg_max(output: ir.Value | None) -> ir.Node:
    """Return the last ArgMax before an output: edgeseg's, before its Cast; the model may have one of its own."""
    node = None if output is None else output.producer()
    if node is None:
        raise ir.passes.PreconditionError("no ArgMax makes the output: it is not a class map")
    return node if node.op_type == "ArgMax" else _arg_max(node.inputs[0])


def _float_output(name: str, shape: ir.Shape | None) -> ir.Value:
    return ir.Value(name=name, shape=shape, type=ir.TensorType(ir.DataType.FLOAT))
