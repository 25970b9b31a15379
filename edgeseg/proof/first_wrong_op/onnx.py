"""Cut the graph of an ONNX file with the package ``onnx``, which a device need not have.

Where a file is quantized by pairs of QuantizeLinear and DequantizeLinear, ONNX Runtime makes one integer op of what is
between two pairs. It is cut after the pairs only: a prefix that ended inside would run in float.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import InputError, missing_extra
from edgeseg.proof.first_wrong_op.graph import CutGraph, Op, largest

_FLOATS = {1: np.float32, 10: np.float16, 11: np.float64}  # by the number in TensorProto.DataType
_UNKNOWN = 0

#: Ops that are a program of a vendor's compiler, or a part of the model that only one execution provider knows.
_COMPILED = ("EPContext",)

_OLDEST_IR = 4  # before it every initializer is an input as well


class OnnxCuts(CutGraph):
    """The main graph of an ``.onnx`` file; values are numbered in the order in which the file names them."""

    suffix = ".onnx"

    def __init__(self, data: bytes) -> None:
        """Read a file.

        Raises:
            InputError: it is broken, has several inputs, keeps its weights in another file, or was compiled by a
                vendor.
            BackendUnavailable: the package onnx is not installed.
        """
        try:
            import onnx
        except ModuleNotFoundError as error:
            raise missing_extra("cutting an .onnx model to find a wrong op", "convert") from error
        from google.protobuf.message import DecodeError

        try:
            self._model = onnx.load_from_string(data)
        except (DecodeError, ValueError) as error:
            raise InputError("the bytes are not an ONNX model.") from error
        graph = self._model.graph
        for index, node in enumerate(graph.node):
            if node.op_type in _COMPILED:
                raise InputError(
                    f"the model runs only whole: its node {index}, '{node.op_type}', is a program of a vendor's "
                    "compiler; look for the op in the .onnx file that was compiled."
                )
        if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(self._model)):
            raise InputError(
                "the model keeps its weights in another file and cannot be cut; write it as one file: "
                "`onnx.save(onnx.load(FILE), NEW)`."
            )
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        sparse = {tensor.values.name for tensor in graph.sparse_initializer}
        inputs = [value.name for value in graph.input if value.name not in {*self._constants, *sparse}]
        if len(inputs) != 1 or not graph.output:
            raise InputError(f"the model has {len(inputs)} inputs; accepted: one image, and an output.")
        self._types = _types(self._model)
        self._numbers: dict[str, int] = {}
        ops = [
            Op(
                index=index,
                kind=node.op_type,
                inputs=tuple(self._number(name) for name in _reads(node)),
                outputs=tuple(self._number(name) for name in node.output if name),
            )
            for index, node in enumerate(graph.node)
        ]
        source, output = self._number(inputs[0]), self._number(graph.output[0].name)
        self._names = {number: name for name, number in self._numbers.items()}
        self._quantized = {
            value for op in ops if op.kind == "QuantizeLinear" for value in (*op.inputs[:1], *op.outputs)
        }
        super().__init__(ops, source, output)

    def name(self, value: int) -> str:
        """See ``CutGraph.name``."""
        return self._names[value]

    def shape(self, value: int) -> tuple[int, ...]:
        """See ``CutGraph.shape``."""
        found = self._types.get(self._names[value])
        if found is None or not found.HasField("shape"):
            return ()
        return tuple(side.dim_value if side.HasField("dim_value") else -1 for side in found.shape.dim)

    def step(self, value: int) -> float:
        """See ``CutGraph.step``; of an integer op it is counted in steps, as ONNX has the scale at the ops alone."""
        op = self.maker(value)
        if op.kind.startswith("QLinear"):
            return 1.0
        names = [self._names[number] for number in op.inputs[1:2]]
        scales = [self._constants[name] for name in names if name in self._constants]
        if op.kind != "DequantizeLinear" or not scales:
            return 0.0
        import onnx

        values = onnx.numpy_helper.to_array(scales[0]).reshape(-1)
        return float(values[0]) if len(values) == 1 else 0.0

    def is_cut(self, value: int) -> bool:
        """See ``CutGraph.is_cut``."""
        if value in self._quantized:
            return False
        found = self._types.get(self._names[value])
        kind = _UNKNOWN if found is None else found.elem_type
        return kind == _UNKNOWN or kind in _FLOATS or self.maker(value).kind.startswith("QLinear")

    def channel_axis(self, rank: int) -> int:
        """See ``CutGraph.channel_axis``: NCHW."""
        return 1 if rank >= 4 else rank - 1

    def part(self, value: int, given: Mapping[int, NDArray[Any]]) -> tuple[bytes, NDArray[Any] | None]:
        """See ``CutGraph.part``. Metadata is omitted, and all that the part does not use."""
        import onnx

        source = self._model
        nodes = [source.graph.node[op.index] for op in self.needed(value, given)]
        read = {name for node in nodes for name in _reads(node)} - {self._names[number] for number in given}
        fed = largest(given)
        raw = {number: self._raw(number, array) for number, array in given.items()}
        model = onnx.ModelProto(ir_version=max(source.ir_version, _OLDEST_IR))
        model.opset_import.extend(source.opset_import)
        model.functions.extend(source.functions)
        graph = model.graph
        graph.name = source.graph.name or "part"
        graph.node.extend(nodes)
        graph.initializer.extend(tensor for name, tensor in self._constants.items() if name in read)
        graph.sparse_initializer.extend(t for t in source.graph.sparse_initializer if t.values.name in read)
        graph.initializer.extend(
            onnx.numpy_helper.from_array(array, self._names[number]) for number, array in raw.items() if number != fed
        )
        if fed is None:
            graph.input.extend(each for each in source.graph.input if each.name == self._names[self.source])
        else:
            kind = onnx.helper.np_dtype_to_tensor_dtype(raw[fed].dtype)
            graph.input.append(onnx.helper.make_tensor_value_info(self._names[fed], kind, raw[fed].shape))
        graph.output.append(self._info(value))
        return model.SerializeToString(), None if fed is None else raw[fed]

    def _info(self, value: int) -> Any:
        """Return a value as an output; ONNX Runtime infers what the file does not say."""
        import onnx

        info = onnx.ValueInfoProto(name=self._names[value])
        if (found := self._types.get(info.name)) is not None:
            info.type.tensor_type.CopyFrom(found)
        return info

    def _raw(self, value: int, array: NDArray[Any]) -> NDArray[Any]:
        found = self._types.get(self._names[value])
        return array.astype(array.dtype if found is None else _FLOATS.get(found.elem_type, array.dtype))

    def _number(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers))


def _reads(node: Any) -> Iterator[str]:
    """Yield the names that a node reads, those in the bodies of its loops and branches too."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
            yield from (value.name for value in graph.output)
            for inner in graph.node:
                yield from _reads(inner)


def _tensors(model: Any) -> Iterator[Any]:
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t


def _types(model: Any) -> dict[str, Any]:
    """Return the type of each tensor, as far as ONNX can infer it; it has no rule for custom ops."""
    import onnx

    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except (RuntimeError, ValueError):  # InferenceError is a RuntimeError; ValueError: larger than 2 GB
        graph = model.graph
    known = (*graph.value_info, *graph.input, *graph.output)
    return {value.name: value.type.tensor_type for value in known if value.type.HasField("tensor_type")}
