"""Edits of a flatbuffer: what ops read and make is known at any time, and what comes out is the edited file."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgeseg.tflite.file import read_metadata
from edgeseg_converters.tflite.graph import TfliteGraph
from edgeseg_converters.tflite.litert_internals import schema

X = np.array([[-2.0, 0.5]], np.float32)


def new_tensor(name: str) -> schema.TensorT:
    return schema.TensorT(name=name.encode(), shape=[1, 2], type=schema.TensorType.FLOAT32, hasRank=True)


@pytest.fixture
def graph() -> TfliteGraph:
    """``x -> ABS -> a -> ADD(a, a) -> y``, and ``b`` from a NEG of ``x`` that nobody reads."""
    model, main = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers, model.operatorCodes = 3, [main], [schema.BufferT()], []
    main.tensors, main.operators = [new_tensor(name) for name in "xaby"], []
    main.inputs, main.outputs = [0], [3]
    made = TfliteGraph(model)
    last = None
    for name, inputs, output in (("NEG", [0], 2), ("ABS", [0], 1), ("ADD", [1, 1], 3)):
        op = schema.OperatorT(opcodeIndex=made.opcode(name, version=1), inputs=inputs, outputs=[output])
        if name == "ADD":
            op.builtinOptionsType, op.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
        made.insert(op, after=last)
        last = op
    signature = schema.SignatureDefT(signatureKey=b"serving_default")
    signature.inputs, signature.outputs = [schema.TensorMapT(b"x", 0)], [schema.TensorMapT(b"y", 3)]
    model.signatureDefs = [signature]
    return TfliteGraph.read(made.write())


def ops(graph: TfliteGraph) -> list[str]:
    return [graph.op_name(op) for op in graph.operators]


def run(graph: TfliteGraph) -> list[NDArray[np.float32]]:
    interpreter = Interpreter(model_content=graph.write())
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], X)
    interpreter.invoke()
    return [np.array(interpreter.get_tensor(details["index"])) for details in interpreter.get_output_details()]


def test_producers_and_readers(graph: TfliteGraph) -> None:
    neg, absolute, add = graph.operators
    assert ops(graph) == ["NEG", "ABS", "ADD"]
    assert [graph.tensor_name(tensor) for tensor in range(4)] == ["x", "a", "b", "y"]
    assert [graph.producer(tensor) for tensor in range(4)] == [None, absolute, neg, add]
    assert graph.readers(0) == [neg, absolute]
    assert graph.readers(1) == [add]  # once, though it reads it twice
    assert graph.readers(3) == []
    assert graph.unread() == [2]  # the output is read by the caller
    np.testing.assert_array_equal(run(graph), [2 * np.abs(X)])


def test_an_op_is_inserted_after_another(graph: TfliteGraph) -> None:
    absolute = graph.operators[1]
    inner = graph.add_tensor(new_tensor("inner"))
    graph.rewire(absolute, outputs=[inner])
    neg = schema.OperatorT(opcodeIndex=graph.opcode("NEG", version=1), inputs=[inner], outputs=[1])
    graph.insert(neg, after=absolute)
    assert ops(graph) == ["NEG", "ABS", "NEG", "ADD"]
    assert (graph.producer(inner), graph.readers(inner), graph.producer(1)) == (absolute, [neg], neg)
    np.testing.assert_array_equal(run(graph), [-2 * np.abs(X)])


def test_a_tensor_is_replaced_for_all_that_read_it(graph: TfliteGraph) -> None:
    _, absolute, add = graph.operators
    graph.replace(1, 2)
    graph.remove(absolute)
    assert ops(graph) == ["NEG", "ADD"]
    assert (graph.readers(2), graph.readers(1), graph.producer(1), graph.unread()) == ([add], [], None, [])
    np.testing.assert_array_equal(run(graph), [-2 * X])
    graph.replace(3, 2)
    assert graph.outputs == [2]
    assert graph.unread() == [3]


def test_an_op_is_added_to_the_table_once(graph: TfliteGraph) -> None:
    known = len(graph.model.operatorCodes)
    assert graph.opcode("ABS", version=1) < known
    assert graph.opcode("ABS", version=2, any_version=True) == graph.opcode("ABS", version=1)
    assert graph.opcode("ABS", version=2) == known
    # Beyond the old 8-bit field.
    code = graph.model.operatorCodes[graph.opcode("BROADCAST_TO", version=2)]
    assert (code.builtinCode, code.deprecatedBuiltinCode, code.version) == (130, 127, 2)
    assert graph.opcode("BROADCAST_TO", version=2) == known + 1


def test_other_outputs_leave_the_graph_as_it_is(graph: TfliteGraph) -> None:
    more = graph.with_outputs([*graph.outputs, *graph.unread()])
    np.testing.assert_array_equal(run(more), [2 * np.abs(X), -X])
    assert more.model.signatureDefs[0].signatureKey == b"serving_default"
    inner = graph.with_outputs([1])
    np.testing.assert_array_equal(run(inner), [np.abs(X)])
    assert inner.model.signatureDefs is None  # it names an output that is none any more
    assert graph.outputs == [3]
    np.testing.assert_array_equal(run(graph), [2 * np.abs(X)])


def test_metadata_takes_the_place_of_its_name(graph: TfliteGraph) -> None:
    graph.set_metadata("ours", b"old")
    graph.set_metadata("theirs", b"kept")
    graph.set_metadata("ours", b"new")
    assert [entry.name for entry in graph.model.metadata] == [b"theirs", b"ours"]
    assert [read_metadata(graph.write(), name) for name in ("ours", "theirs")] == [b"new", b"kept"]
