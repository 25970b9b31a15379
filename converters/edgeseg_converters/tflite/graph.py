"""Edit the graph of a TFLite file: know which op makes a tensor and which ops read it, and replace its constants."""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import NDArray

from edgeseg.tflite.graph import op_name
from edgeseg_converters.tflite.litert_internals import read_model, schema

# Larger vectors are weights; comparing those would cost more than it saves.
_MAX_SHARED = 65536


class TfliteGraph:
    """Read the main graph of a ``.tflite`` file, and edit it in place.

    A tensor is given by its number, as in the file. The inputs and outputs of ops are changed by the methods, which
    keep ``producer`` and ``readers`` up to date; all other fields of tensors and ops are changed directly.

    Attributes:
        model: everything in the file.
        tensors: the tensors, each at its number.
        operators: the ops in the order of execution; ``insert`` and ``remove`` change it.
    """

    def __init__(self, model: schema.ModelT) -> None:
        self.model = model
        self._graph: schema.SubGraphT = model.subgraphs[0]
        self.tensors: list[schema.TensorT] = self._graph.tensors
        self.operators: Sequence[schema.OperatorT] = self._graph.operators
        self._producers: dict[int, schema.OperatorT] = {}
        self._readers: dict[int, list[schema.OperatorT]] = defaultdict(list)
        for op in self.operators:
            self._link(op)

    @classmethod
    def read(cls, data: bytes) -> TfliteGraph:
        """Read a whole ``.tflite`` file; a zip archive after the flatbuffer is not kept."""
        return cls(read_model(data))

    def write(self, *, shared: bool = True) -> bytes:
        """Return the file, with equal small vectors stored once.

        A channel of a quantized convolution has 24 bytes of scales and zero points, with those of its bias, and most of
        the zero points are vectors of zeros: with these stored once, a file of many small convolutions is a tenth
        smaller.

        Args:
            shared: whether they are; a file whose bytes are changed afterwards has each on its own.
        """
        for buffer in self.model.buffers:
            if buffer.data is not None and not isinstance(buffer.data, np.ndarray):
                # The library writes anything else one byte at a time: seconds for a megabyte.
                buffer.data = np.frombuffer(bytes(buffer.data), np.uint8)
        for tensor in (tensor for graph in self.model.subgraphs for tensor in graph.tensors):
            if tensor.shape is not None:
                tensor.shape = np.asarray(tensor.shape, np.int32)
            if (quantization := tensor.quantization) is not None and quantization.scale is not None:
                quantization.scale = np.asarray(quantization.scale, np.float32)
                quantization.zeroPoint = np.asarray(quantization.zeroPoint, np.int64)
        builder = _SharingBuilder(1024) if shared else flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    @property
    def inputs(self) -> list[int]:
        """Return the input tensors of the graph."""
        return [int(tensor) for tensor in self._graph.inputs]

    @inputs.setter
    def inputs(self, tensors: Iterable[int]) -> None:
        self._graph.inputs = list(tensors)

    @property
    def outputs(self) -> list[int]:
        """Return the output tensors of the graph."""
        return [int(tensor) for tensor in self._graph.outputs]

    @outputs.setter
    def outputs(self, tensors: Iterable[int]) -> None:
        self._graph.outputs = list(tensors)

    def tensor_name(self, tensor: int) -> str:
        """Return a tensor's name."""
        return str((self.tensors[tensor].name or b"").decode())

    def code(self, op: schema.OperatorT) -> schema.OperatorCodeT:
        """Return the entry of an op in the table of ops, which other ops of its kind share."""
        return self.model.operatorCodes[op.opcodeIndex]

    def op_name(self, op: schema.OperatorT) -> str:
        """Return an op's name in TFLite's schema (``CONV_2D``), or a custom op's own name."""
        return op_name(self.code(op))

    def opcode(self, name: str, version: int, *, any_version: bool = False) -> int:
        """Return the index of a builtin in the table of ops, to which it is added if it is missing.

        Args:
            name: of the builtin in TFLite's schema.
            version: of the op.
            any_version: whether an entry of another version will do.
        """
        number = getattr(schema.BuiltinOperator, name)
        for index, code in enumerate(self.model.operatorCodes):
            if code.builtinCode == number and (any_version or code.version == version):
                return index
        # The old field has 8 bits; 127 in it means that only the new field has the number.
        code = schema.OperatorCodeT(builtinCode=number, deprecatedBuiltinCode=min(number, 127), version=version)
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def producer(self, tensor: int) -> schema.OperatorT | None:
        """Return the op that makes a tensor; ``None`` for an input and a constant."""
        return self._producers.get(int(tensor))

    def readers(self, tensor: int) -> list[schema.OperatorT]:
        """Return the ops that read a tensor, each once."""
        return list(self._readers.get(int(tensor), ()))

    def unread(self) -> list[int]:
        """Return the tensors that an op makes and nobody reads, such as a part of a SPLIT.

        A delegate has no memory for them.
        """
        outputs = set(self.outputs)
        results = (int(tensor) for op in self.operators for tensor in op.outputs)
        return [tensor for tensor in results if tensor not in outputs and not self._readers.get(tensor)]

    def add_tensor(self, tensor: schema.TensorT) -> int:
        """Append a tensor and return its number."""
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def insert(self, op: schema.OperatorT, *, after: schema.OperatorT | None = None) -> None:
        """Insert an op after another one; at the beginning without one."""
        self._graph.operators.insert(0 if after is None else self._graph.operators.index(after) + 1, op)
        self._link(op)

    def remove(self, op: schema.OperatorT) -> None:
        """Remove an op; its tensors stay in the file."""
        self._graph.operators.remove(op)
        self._unlink(op)

    def rewire(
        self, op: schema.OperatorT, *, inputs: Iterable[int] | None = None, outputs: Iterable[int] | None = None
    ) -> None:
        """Let an op read other tensors, or make other ones; ``None`` keeps them as they are."""
        self._unlink(op)
        if inputs is not None:
            op.inputs = [int(tensor) for tensor in inputs]
        if outputs is not None:
            op.outputs = [int(tensor) for tensor in outputs]
        self._link(op)

    def replace(self, old: int, new: int) -> None:
        """Let all readers of a tensor read another one; an output of the graph is replaced too."""
        for op in self.readers(old):
            self.rewire(op, inputs=[new if tensor == old else tensor for tensor in op.inputs])
        self.outputs = [new if tensor == old else tensor for tensor in self.outputs]

    def with_outputs(self, tensors: Iterable[int]) -> TfliteGraph:
        """Return the same graph with other outputs, to read inner tensors; all else is shared with this graph.

        A signature is kept if all outputs that it names are still outputs; it need not name all of them.
        """
        outputs = [int(tensor) for tensor in tensors]
        model, graph = copy.copy(self.model), copy.copy(self._graph)
        graph.outputs = outputs
        model.subgraphs = [graph, *self.model.subgraphs[1:]]
        kept = [s for s in model.signatureDefs or [] if {entry.tensorIndex for entry in s.outputs} <= set(outputs)]
        model.signatureDefs = kept or None
        return TfliteGraph(model)

    def set_metadata(self, name: str, content: bytes) -> None:
        """Put a metadata entry into the file, in place of one of that name."""
        entry, buffer = schema.MetadataT(name=name.encode(), buffer=len(self.model.buffers)), schema.BufferT()
        buffer.data = np.frombuffer(content, np.uint8)
        self.model.buffers.append(buffer)
        self.model.metadata = [*(old for old in self.model.metadata or [] if old.name != entry.name), entry]

    def _link(self, op: schema.OperatorT) -> None:
        for tensor in op.outputs:
            self._producers[int(tensor)] = op
        for tensor in dict.fromkeys(op.inputs):
            self._readers[int(tensor)].append(op)

    def _unlink(self, op: schema.OperatorT) -> None:
        for tensor in op.outputs:
            del self._producers[int(tensor)]
        for tensor in dict.fromkeys(op.inputs):
            self._readers[int(tensor)].remove(op)


class FloatConstants:
    """The float32 constants of a graph, by their tensors.

    Attributes:
        uses: how many inputs of ops are a tensor, as the graph was given.
    """

    def __init__(self, graph: TfliteGraph) -> None:
        self._graph = graph
        self.uses = Counter(int(tensor) for op in graph.operators for tensor in op.inputs)
        self._sharers = Counter(tensor.buffer for tensor in graph.tensors)

    def __contains__(self, tensor: int) -> bool:
        described = self._graph.tensors[tensor]
        data = self._graph.model.buffers[described.buffer].data
        return data is not None and len(data) > 0 and bool(described.type == schema.TensorType.FLOAT32)

    def is_own(self, tensor: int) -> bool:
        """Return whether a constant is read by one op alone."""
        alone = self.uses[tensor] == 1 and self._sharers[self._graph.tensors[tensor].buffer] == 1
        return tensor in self and alone

    def value(self, tensor: int) -> NDArray[np.float32]:
        """Return a constant in its own shape."""
        described = self._graph.tensors[tensor]
        data = np.asarray(self._graph.model.buffers[described.buffer].data, np.uint8)
        return data.view(np.float32).reshape(described.shape)

    def put(self, tensor: int, new: NDArray[np.float32]) -> None:
        """Replace the values of a tensor, in a buffer of its own; the shape stays."""
        data = np.ascontiguousarray(new, np.float32).reshape(-1).view(np.uint8)
        self._graph.model.buffers[self._graph.tensors[tensor].buffer].data = data


class _SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """Write a vector that has been written before as a reference to that one."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: Any) -> int:  # noqa: N802 - the base class's name
        if x.nbytes > _MAX_SHARED:
            return int(super().CreateNumpyVector(x))
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            self._written[key] = int(super().CreateNumpyVector(x))
        return self._written[key]
