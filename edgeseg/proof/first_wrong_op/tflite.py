"""Cut the graph of a TFLite file with the schema of ``ai-edge-litert``."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import InputError
from edgeseg.proof.first_wrong_op.graph import CutGraph, Op, largest
from edgeseg.tflite.graph import read_graph
from edgeseg.tflite.half_arithmetic import ENTRY
from edgeseg.tflite.litert_internals import load_schema, to_bytes

_FLOATS = {"FLOAT32": np.float32, "FLOAT16": np.float16}
_INTEGERS: dict[str, Any] = {"INT8": np.int8, "UINT8": np.uint8, "INT16": np.int16}

#: How the names of custom ops begin that are a program of a vendor's compiler: Coral's, and LiteRT's own for the NPUs
#: of Qualcomm, MediaTek and Google, with a number where there are several (``DISPATCH_OP_1``).
_COMPILED = ("edgetpu-custom-op", "DISPATCH_OP")


class TfliteCuts(CutGraph):
    """The main graph of a ``.tflite`` file; a value's number is its tensor's."""

    suffix = ".tflite"

    def __init__(self, data: bytes) -> None:
        """Read a file.

        Raises:
            InputError: it is broken, has several inputs, or was compiled by a vendor.
            BackendUnavailable: ai-edge-litert is not installed.
        """
        graph = read_graph(data)
        self._tensors, self._model = graph.tensors, graph.model
        subgraph = graph.model.subgraphs[0]
        for node in graph.nodes:
            if node.op.startswith(_COMPILED):
                raise InputError(
                    f"the model runs only whole: its node {node.index}, '{node.op}', is a program of a vendor's "
                    "compiler; look for the op in the .tflite file that was compiled."
                )
        if len(subgraph.inputs) != 1:
            raise InputError(f"the model has {len(subgraph.inputs)} inputs; accepted: one image.")
        if any((buffer.offset or 0) > 1 for buffer in graph.model.buffers):
            raise InputError("the model keeps weights after its graph, as files beyond 2 GB do, and cannot be cut.")
        super().__init__(
            [Op(index=n.index, kind=n.op, inputs=n.inputs, outputs=n.outputs) for n in graph.nodes],
            int(subgraph.inputs[0]),
            int(subgraph.outputs[0]),
        )

    def name(self, value: int) -> str:
        """See ``CutGraph.name``."""
        name = self._model.subgraphs[0].tensors[value].name
        return (name or b"").decode(errors="replace")

    def shape(self, value: int) -> tuple[int, ...]:
        """See ``CutGraph.shape``."""
        return self._tensors[value].shape

    def step(self, value: int) -> float:
        """See ``CutGraph.step``."""
        scale, _ = self._quantization(value)
        return scale

    def is_cut(self, value: int) -> bool:
        """See ``CutGraph.is_cut``: no indices of a pooling, which every delegate numbers in its own way."""
        dtype = self._tensors[value].dtype
        return dtype in _FLOATS or (dtype in _INTEGERS and self.step(value) > 0)

    def channel_axis(self, rank: int) -> int:
        """See ``CutGraph.channel_axis``."""
        return rank - 1

    def part(self, value: int, given: Mapping[int, NDArray[Any]]) -> tuple[bytes, NDArray[Any] | None]:
        """See ``CutGraph.part``.

        Metadata and signatures are omitted, and all that the part does not use. The entry that asks for half precision
        is kept: without it the part would compute in float32 what the whole file computes in half precision.
        """
        schema, source = load_schema(), self._model
        old = source.subgraphs[0]
        operators = [old.operators[op.index] for op in self.needed(value, given)]
        fed = largest(given)
        places: dict[int, int] = {}
        for number in (self.source if fed is None else fed, *given, *_all_tensors(operators), value):
            if number >= 0:
                places.setdefault(number, len(places))
        model, graph = schema.ModelT(), schema.SubGraphT()
        model.version, model.subgraphs = source.version, [graph, *source.subgraphs[1:]]
        graph.tensors = [copy.copy(old.tensors[number]) for number in places]
        model.metadata = [entry for entry in source.metadata or () if entry.name == ENTRY.encode()]
        kept = {tensor.buffer for part in model.subgraphs for tensor in part.tensors or ()}
        kept.update(entry.buffer for entry in model.metadata)
        model.buffers = [b if index in kept else schema.BufferT() for index, b in enumerate(source.buffers)]
        raw = {number: self._raw(number, array) for number, array in given.items()}
        for number, array in raw.items():
            if number != fed:
                buffer = schema.BufferT()
                buffer.data = np.frombuffer(array.tobytes(), np.uint8)
                graph.tensors[places[number]].buffer = len(model.buffers)
                model.buffers.append(buffer)
        graph.operators = []
        for operator in operators:
            moved = copy.copy(operator)
            for field in ("inputs", "outputs", "intermediates"):
                numbers = getattr(operator, field)
                if numbers is not None:
                    setattr(moved, field, [places.get(int(number), -1) for number in numbers])
            graph.operators.append(moved)
        model.operatorCodes = source.operatorCodes
        if len(model.subgraphs) == 1:  # the others name entries of this table, and stay as they are
            # A runtime looks up every entry, also one that no op uses.
            codes = {code: place for place, code in enumerate(dict.fromkeys(o.opcodeIndex for o in operators))}
            model.operatorCodes = [source.operatorCodes[code] for code in codes]
            for moved in graph.operators:
                moved.opcodeIndex = codes[moved.opcodeIndex]
        graph.inputs, graph.outputs = [0], [places[value]]
        return to_bytes(model), None if fed is None else raw[fed]

    def _quantization(self, value: int) -> tuple[float, int]:
        """Return scale and zero point of a tensor; zeros where it is not quantized, or by channel."""
        found = self._model.subgraphs[0].tensors[value].quantization
        if found is None or found.scale is None or len(found.scale) != 1:
            return 0.0, 0
        return float(found.scale[0]), int(found.zeroPoint[0]) if found.zeroPoint is not None else 0

    def _raw(self, value: int, array: NDArray[Any]) -> NDArray[Any]:
        """Return a value as the file has it, from what a runtime gave of it."""
        name = self._tensors[value].dtype
        scale, zero_point = self._quantization(value)
        if name not in _INTEGERS or not scale or array.dtype.kind != "f":  # or as the file has it already
            return array.astype(_FLOATS.get(name, array.dtype))
        limits = np.iinfo(_INTEGERS[name])
        steps = np.rint(array.astype(np.float64) / scale) + zero_point
        raw: NDArray[Any] = np.nan_to_num(steps).clip(limits.min, limits.max).astype(limits.dtype)
        return raw


def _all_tensors(operators: Iterable[Any]) -> Iterable[int]:
    for operator in operators:
        for field in ("inputs", "outputs", "intermediates"):
            numbers = getattr(operator, field)
            yield from map(int, () if numbers is None else numbers)
