"""The table of ops of a file, read once for all; the partitions and models of one node are in ``test_coverage``."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgeseg.errors import InputError
from edgeseg.tflite.graph import count_ops, op_name, read_graph
from edgeseg.tflite.litert_internals import load_schema, to_bytes

SHAPE = (1, 4, 4, 3)


def test_an_op_has_the_schemas_name_or_its_own() -> None:
    schema = load_schema()
    assert op_name(schema.OperatorCodeT(builtinCode=3, deprecatedBuiltinCode=3)) == "CONV_2D"
    # Files from before 2020 have the 8-bit field alone; numbers that it cannot say are 127 there.
    assert op_name(schema.OperatorCodeT(deprecatedBuiltinCode=3)) == "CONV_2D"
    assert op_name(schema.OperatorCodeT(builtinCode=130, deprecatedBuiltinCode=127)) == "BROADCAST_TO"
    custom = schema.BuiltinOperator.CUSTOM
    assert op_name(schema.OperatorCodeT(builtinCode=custom, customCode=b"MaxUnpooling2D")) == "MaxUnpooling2D"


def test_ops_are_counted_in_every_graph(tflite_model: Callable[..., bytes]) -> None:
    data = tflite_model(["NEG", "ABS", "ABS"], [(SHAPE, "float32")])
    assert list(count_ops(data).items()) == [("ABS", 2), ("NEG", 1)]
    assert read_graph(data).ops == ["NEG", "ABS", "ABS"]
    model = load_schema().ModelT.InitFromPackedBuf(data, 0)
    model.subgraphs = [*model.subgraphs, *model.subgraphs]  # as a model with a loop has them
    assert count_ops(to_bytes(model)) == {"ABS": 4, "NEG": 2}
    assert read_graph(to_bytes(model)).ops == ["NEG", "ABS", "ABS"]


def test_a_broken_file_is_refused() -> None:
    with pytest.raises(InputError, match="the TFLite model is broken"):
        count_ops(b"\x00\x00\x00\x00TFL3 and no more")
