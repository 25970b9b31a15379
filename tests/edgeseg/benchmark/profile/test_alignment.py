from __future__ import annotations

from collections.abc import Callable

import pytest

from edgeseg.benchmark.profile.alignment import align, aligned
from edgeseg.tflite.graph import read_graph
from edgeseg.tflite.profiler_internals import OpEvent

CONV, GEMM = "Convolution (NHWC, F32) IGEMM", "Fully Connected (NC, F32) GEMM"
PAD, CLAMP, ADD = "Constant Pad", "Clamp (NC)", "Add"


@pytest.mark.parametrize(
    ("ops", "operators", "places"),
    [
        (["CONV_2D", "CONV_2D", "ADD"], [CONV, GEMM, ADD], [0, 1, 2]),
        # An activation of its own after a sum; of a convolution it is inside.
        (["ADD", "CONV_2D"], [ADD, CLAMP, CONV], [0, 0, 1]),
        # A margin that the convolution takes, and one that it does not.
        (["PAD", "CONV_2D", "PAD", "CONV_2D"], [CONV, PAD, CONV], [1, 2, 3]),
        (["CONV_2D", "PAD"], [CONV], [0]),
        # An activation that is a node is not taken for an addition to the one before.
        (["ADD", "RELU6", "ADD"], [ADD, CLAMP, ADD], [0, 1, 2]),
        # What does not fit is not forced.
        (["CONV_2D", "ADD"], [CONV], None),
        (["CONV_2D"], [CONV, CONV], None),
        (["CONV_2D"], [CLAMP, CONV], None),
        (["NEW_OP"], ["New Op (NC)"], None),
        ([], [], []),
    ],
)
def test_operators_go_to_their_nodes(ops: list[str], operators: list[str], places: list[int] | None) -> None:
    assert align(ops, operators) == places


def event(name: str, index: int, *, delegated: bool = True, graph: int = 0) -> OpEvent:
    return OpEvent(name=name, delegated=delegated, index=index, graph=graph, us=1)


def test_partitions_with_an_op_of_litert_between(tflite_model: Callable[..., bytes]) -> None:
    graph = read_graph(tflite_model(["ABS", "NEG", "SIGN", "NEG"], [((1, 4), "float32")]))
    run = [event("Abs (NC)", 0), event("Negate (NC)", 1), event("SIGN", 2, delegated=False), event("Negate (NC)", 0)]
    assert aligned(graph, run) == [0, 1, 2, 3]
    # One partition has an operator that no node explains: the others keep their nodes.
    run[3] = event("Sine (NC)", 0)
    assert aligned(graph, run) == [0, 1, 2, None]
    # There are more partitions than the file gives.
    run.append(event("Negate (NC)", 0))
    assert aligned(graph, run) == [None, None, 2, None, None]


@pytest.mark.parametrize(
    "own",
    [
        event("SIGN", 0, delegated=False),  # that node is another op
        event("SIGN", 9, delegated=False),  # there is no such node
        event("SIGN", 1, delegated=False, graph=1),  # it is in the body of a loop
    ],
)
def test_numbers_that_are_no_nodes_give_none(own: OpEvent, tflite_model: Callable[..., bytes]) -> None:
    graph = read_graph(tflite_model(["ABS", "SIGN"], [((1, 4), "float32")]))
    assert aligned(graph, [event("Abs (NC)", 0), own]) == [None, None]
