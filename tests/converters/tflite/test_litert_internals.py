"""What LiteRT does not promise to keep and the workstation reaches: each test says where to look when it is gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import pytest

import edgeseg_converters


@contextmanager
def replacement(name: str, place: str) -> Iterator[None]:
    """Turn the failure of a name into a sentence that says where LiteRT may have it now."""
    try:
        yield
    except (AttributeError, ImportError, TypeError) as error:
        pytest.fail(
            f"ai-edge-litert {version('ai-edge-litert')} has no {name} that works as in 2.3.0; look for {place} "
            f"({error})"
        )


def test_schema() -> None:
    with replacement("schema_py_generated", "the module that flatc generates from schema.fbs with --gen-object-api"):
        from ai_edge_litert import schema_py_generated as schema

        for name in ("ModelT", "SubGraphT", "OperatorT", "OperatorCodeT", "TensorT", "BufferT", "MetadataT"):
            getattr(schema, name)()
        schema.QuantizationParametersT(scale=[1.0], zeroPoint=[0])
        schema.TensorMapT(b"image", 0)
        schema.SignatureDefT(signatureKey=b"serving_default")
        numbers = schema.BuiltinOperator.CONV_2D, schema.TensorType.INT8, schema.ActivationFunctionType.RELU6
    assert numbers == (3, 9, 3)


def test_read_model_from_bytearray() -> None:
    with replacement(
        "flatbuffer_utils.read_model_from_bytearray",
        "its reader of a ModelT; else ModelT.InitFromPackedBuf, with lists in place of arrays of int32 and without the "
        "converter's empty buffers",
    ):
        from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray, read_model_from_bytearray

        from edgeseg_converters.tflite.litert_internals import read_model, schema

        model, graph = schema.ModelT(version=3), schema.SubGraphT()
        graph.tensors, graph.operators = [schema.TensorT(shape=[1, 2], buffer=2)], []
        graph.inputs, graph.outputs = [0], [0]
        model.subgraphs = [graph]
        model.buffers = [schema.BufferT(), schema.BufferT(), schema.BufferT(data=[1, 2])]
        data = bytes(convert_object_to_bytearray(model))
        read_model_from_bytearray(bytearray(data))
        read = read_model(data)
    assert (read.subgraphs[0].inputs, read.subgraphs[0].tensors[0].shape) == ([0], [1, 2]), "numbers are lists"
    assert len(read.buffers) == 2, "empty buffers are dropped"
    assert bytes(read.buffers[read.subgraphs[0].tensors[0].buffer].data) == b"\1\2"


def test_the_door_is_the_only_one() -> None:
    folder = Path(edgeseg_converters.__file__).parent
    private = ("schema_py_generated", "flatbuffer_utils", "_get_ops_details")
    reaching = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        if any(name in path.read_text(encoding="utf-8") for name in private)
    }
    assert reaching == {"tflite/litert_internals.py"}
