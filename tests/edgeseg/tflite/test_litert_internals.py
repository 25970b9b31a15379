"""What LiteRT does not promise to keep and the device's code reaches: each test says where to look when it is gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ai_edge_litert.interpreter import Interpreter

import edgeseg
from edgeseg.tflite.file import is_tflite
from edgeseg.tflite.litert_internals import load_schema, op_details, to_bytes

SHAPE = (1, 4, 4, 3)


def test_the_schema_has_the_classes_and_numbers_that_are_read() -> None:
    look = "look in the wheel for the module that flatc generated from TFLite's schema.fbs"
    try:
        schema = load_schema()
    except ImportError:
        pytest.fail(f"ai_edge_litert.schema_py_generated is gone; {look}")
    for name in ("ModelT", "SubGraphT", "OperatorT", "OperatorCodeT", "TensorT", "BufferT"):
        assert hasattr(schema, name), f"the schema's object {name} is gone; {look}, made with --gen-object-api"
    assert hasattr(schema.ModelT, "InitFromPackedBuf"), f"ModelT reads no bytes; {look}: ModelT.InitFromObj takes Model"
    assert schema.BuiltinOperator.CONV_2D == 3, f"BuiltinOperator is no class of plain numbers; {look}"
    assert schema.TensorType.FLOAT32 == 0, f"TensorType is no class of plain numbers; {look}"


def test_a_model_is_written(tflite_model: Callable[..., bytes]) -> None:
    model = load_schema().ModelT.InitFromPackedBuf(tflite_model(["ABS"], [(SHAPE, "float32")]), 0)
    try:
        data = to_bytes(model)
    except (ImportError, AttributeError):
        pytest.fail(
            "flatbuffer_utils.convert_object_to_bytearray is gone; flatbuffers.Builder and ModelT.Pack write the same: "
            "builder.Finish(model.Pack(builder), b'TFL3')"
        )
    assert is_tflite(data)


def test_an_interpreter_lists_its_ops_and_delegates(tflite_model: Callable[..., bytes]) -> None:
    interpreter = Interpreter(model_content=tflite_model(["ABS", "NEG"], [(SHAPE, "float32")]))
    interpreter.allocate_tensors()
    try:
        *ops, delegate = op_details(interpreter)
    except AttributeError:
        pytest.fail("Interpreter._get_ops_details is gone; look for what Interpreter has beside get_tensor_details")
    assert [op["op_name"] for op in ops] == ["ABS", "NEG"]
    assert delegate["op_name"] == "DELEGATE", "XNNPACK's partitions are listed no more; CompiledModel may list its own"
    assert ([int(t) for t in delegate["inputs"]], [int(t) for t in delegate["outputs"]]) == ([0], [2])


def test_the_door_is_the_only_one() -> None:
    folder = Path(edgeseg.__file__).parent
    private = ("schema_py_generated", "flatbuffer_utils", "_get_ops_details")
    reaching = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        if any(name in path.read_text(encoding="utf-8") for name in private)
    }
    assert reaching == {"tflite/litert_internals.py"}
