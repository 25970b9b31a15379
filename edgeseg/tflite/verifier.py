"""Verify a ``.tflite`` file before a runtime reads it: offsets, indices, shapes, lengths, and settings that divide.

LiteRT checks by itself that all offsets lie in the file, but not that what they lead to goes together: a tensor's
number that is no tensor, a block size of 0 or an absent scale ends its process. Field numbers are those of TFLite's
schema, version 3; what the file does not use is not looked at.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as field_of
from typing import Literal

from edgeseg._internal.limits.models import MEMORY_VARIABLE, max_model_memory
from edgeseg.tflite.file import child, field, floats, integers, is_tflite, string, tables, uint32

#: Bits of an element, by the number of a type in TFLite's ``TensorType``; types without a size (text, handles) lack.
_BITS = {
    0: 32, 1: 16, 2: 32, 3: 8, 4: 64, 6: 8, 7: 16, 8: 64, 9: 8, 10: 64, 11: 128, 12: 64, 15: 32, 16: 16, 17: 4, 18: 16,
    19: 2, 20: 4, 21: 8, 22: 8,
}  # fmt: skip
_UNSIZED = (5, 13, 14)
#: Least and greatest value of the types that are quantized: INT32 (a bias), UINT8, INT16, INT8, UINT16, INT4.
_RANGES = {
    2: (-(2**31), 2**31 - 1),
    3: (0, 255),
    7: (-(2**15), 2**15 - 1),
    9: (-128, 127),
    16: (0, 2**16 - 1),
    17: (-8, 7),
}

_MODEL_OPCODES, _MODEL_SUBGRAPHS, _MODEL_BUFFERS, _MODEL_METADATA, _MODEL_SIGNATURES = 1, 2, 4, 6, 7
_GRAPH_TENSORS, _GRAPH_INPUTS, _GRAPH_OUTPUTS, _GRAPH_OPERATORS = 0, 1, 2, 3
_SHAPE, _TYPE, _BUFFER, _NAME, _QUANTIZATION, _IS_VARIABLE, _SPARSITY, _SIGNATURE, _EXTERNAL = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    10,
)
_SCALE, _ZERO_POINT, _DETAILS_TYPE, _AXIS = 2, 3, 4, 6
_OPCODE, _OP_INPUTS, _OP_OUTPUTS, _OPTIONS_TYPE, _OPTIONS = 0, 1, 2, 3, 4
_DATA, _OFFSET, _SIZE = 0, 1, 2

_CONVOLUTION = {"stride_w": (1, 0), "stride_h": (2, 0)}
_POOLING = {**_CONVOLUTION, "filter_width": (3, 0), "filter_height": (4, 0)}


@dataclass(frozen=True, kw_only=True)
class _Rule:
    """What holds for the settings of an op.

    Attributes:
        op: its name in TFLite's schema.
        table: the number of its settings in ``BuiltinOptions``.
        positive: the settings that are above 0: name to the number of the field, and what an absent one is.
        counts: the field that is the number of its outputs, or of its inputs.
        graphs: the fields that name other graphs.
    """

    op: str
    table: int
    positive: Mapping[str, tuple[int, int]] = field_of(default_factory=dict)
    counts: tuple[Literal["inputs", "outputs"], int] | None = None
    graphs: tuple[int, ...] = ()


#: The rule for an op, by its number in TFLite's ``BuiltinOperator``. Others have no setting that ends a process.
_RULES = {
    1: _Rule(op="AVERAGE_POOL_2D", table=5, positive=_POOLING),
    3: _Rule(
        op="CONV_2D",
        table=1,
        positive={**_CONVOLUTION, "dilation_w_factor": (4, 1), "dilation_h_factor": (5, 1)},
    ),
    4: _Rule(
        op="DEPTHWISE_CONV_2D",
        table=2,
        positive={**_CONVOLUTION, "dilation_w_factor": (5, 1), "dilation_h_factor": (6, 1)},
    ),
    5: _Rule(op="DEPTH_TO_SPACE", table=94, positive={"block_size": (0, 0)}),
    12: _Rule(op="L2_POOL_2D", table=5, positive=_POOLING),
    17: _Rule(op="MAX_POOL_2D", table=5, positive=_POOLING),
    26: _Rule(op="SPACE_TO_DEPTH", table=19, positive={"block_size": (0, 0)}),
    49: _Rule(op="SPLIT", table=35, counts=("outputs", 0)),
    67: _Rule(op="TRANSPOSE_CONV", table=49, positive=_CONVOLUTION),
    83: _Rule(op="PACK", table=59, counts=("inputs", 0)),
    88: _Rule(op="UNPACK", table=64, counts=("outputs", 0)),
    102: _Rule(op="SPLIT_V", table=79, counts=("outputs", 0)),
    118: _Rule(op="IF", table=92, graphs=(0, 1)),
    119: _Rule(op="WHILE", table=93, graphs=(0, 1)),
    129: _Rule(op="CALL_ONCE", table=103, graphs=(0,)),
}


class Damaged(ValueError):
    """A file that is not what a TFLite file can be; the text goes after its name."""


@dataclass(frozen=True, kw_only=True)
class _Tensor:
    """A tensor as the checks of ops need it."""

    shape: tuple[int, ...]
    constant: bool


def verify(data: bytes) -> None:
    """Check a whole file; the time grows with the number of its tables and not with its weights.

    Args:
        data: a whole ``.tflite`` file.

    Raises:
        Damaged: it is none, or it is damaged; the text says what.
        InputError: the environment variable of the limit is no number.
    """
    if not is_tflite(data):
        raise Damaged("not a TFLite model")
    try:
        _model(data, uint32(data, 0))
    except Damaged:
        raise
    except (struct.error, IndexError, OverflowError, UnicodeDecodeError) as error:
        raise Damaged("truncated TFLite model, or an offset leads out of it") from error


def _model(data: bytes, model: int) -> None:
    buffers = [_buffer(data, buffer) for buffer in _tables(data, model, _MODEL_BUFFERS)]
    graphs = _tables(data, model, _MODEL_SUBGRAPHS)
    codes = [_op_code(data, code) for code in _tables(data, model, _MODEL_OPCODES)]
    if not graphs:
        raise Damaged("a TFLite model without a graph")
    calls: list[set[int]] = []
    for number, graph in enumerate(graphs):
        tensors = [_tensor(data, tensor, index, buffers) for index, tensor in enumerate(_graph_tensors(data, graph))]
        calls.append(_graph(data, graph, number, tensors, codes, len(graphs)))
    _check_calls(calls)
    for entry in _tables(data, model, _MODEL_METADATA):
        string(data, entry, 0)
        _index(_unsigned(data, entry, 1), len(buffers), "a metadata entry", "buffer")
    for signature in _tables(data, model, _MODEL_SIGNATURES):
        graph_number = _unsigned(data, signature, 4)
        _index(graph_number, len(graphs), "a signature", "graph")
        count = len(_graph_tensors(data, graphs[graph_number]))
        for side in (0, 1):
            for entry in _tables(data, signature, side):
                string(data, entry, 0).decode()
                _index(_unsigned(data, entry, 1), count, "a signature", "tensor")


def _graph_tensors(data: bytes, graph: int) -> list[int]:
    return _tables(data, graph, _GRAPH_TENSORS)


def _tables(data: bytes, table: int, number: int) -> list[int]:
    vector = child(data, table, number)
    if vector is not None and vector + 4 + 4 * uint32(data, vector) > len(data):  # before there is a list of 2^32
        raise IndexError
    return tables(data, table, number)


def _buffer(data: bytes, buffer: int) -> int:
    """Return the number of bytes of a buffer; those of a file beyond 2 GB are after the flatbuffer."""
    vector = child(data, buffer, _DATA)
    if vector is not None:
        size = uint32(data, vector)
        if vector + 4 + size > len(data):
            raise IndexError
        return size
    offset, size = (_number(data, buffer, name, "<Q", 0) for name in (_OFFSET, _SIZE))
    if offset > 1 and offset + size > len(data):
        raise IndexError
    return size if offset > 1 else 0


def _tensor(data: bytes, tensor: int, number: int, buffers: Sequence[int]) -> _Tensor:
    string(data, tensor, _NAME).decode()
    kind = _number(data, tensor, _TYPE, "<b", 0)
    if kind not in _BITS and kind not in _UNSIZED:
        raise Damaged(f"tensor {number} has the type {kind}, which TFLite does not have")
    shape = _integers(data, tensor, _SHAPE)
    if min(shape, default=0) < -1 or min(_integers(data, tensor, _SIGNATURE), default=0) < -1:
        raise Damaged(f"tensor {number} has a negative side, {shape}")
    if _unsigned(data, tensor, _EXTERNAL):
        raise Damaged(f"tensor {number} keeps its values in another file, which edgeseg does not open")
    buffer = _unsigned(data, tensor, _BUFFER)
    _index(buffer, len(buffers), f"tensor {number}", "buffer")
    bits = _BITS.get(kind, 0)
    size = (math.prod(abs(side) for side in shape) * bits + 7) // 8
    if size > max_model_memory() << 20:
        raise Damaged(
            f"tensor {number} of shape {shape} has {size} bytes, more than {max_model_memory()} MiB; "
            f"{MEMORY_VARIABLE} sets another limit"
        )
    sparse = child(data, tensor, _SPARSITY) is not None
    has_data = buffers[buffer] > 0
    if has_data and bits and not sparse and buffers[buffer] != size:
        raise Damaged(f"tensor {number} of shape {shape} takes {size} bytes, and its buffer has {buffers[buffer]}")
    quantization = child(data, tensor, _QUANTIZATION)
    if quantization is not None:
        _quantization(data, quantization, shape, kind, number)
    return _Tensor(shape=shape, constant=has_data)


def _quantization(data: bytes, quantization: int, shape: tuple[int, ...], kind: int, number: int) -> None:
    """Check that scales and zero points are one, or one for each channel; a blockwise quantization has neither."""
    scale = child(data, quantization, _SCALE)
    scales = 0 if scale is None else uint32(data, scale)
    if scale is not None and scale + 4 + 4 * scales > len(data):
        raise IndexError
    vector = child(data, quantization, _ZERO_POINT)
    zeros = 0 if vector is None else uint32(data, vector)
    if vector is not None and vector + 4 + 8 * zeros > len(data):
        raise IndexError
    if _number(data, quantization, _DETAILS_TYPE, "<B", 0) or not scales:
        return
    axis = _number(data, quantization, _AXIS, "<i", 0)
    channels = shape[axis] if 0 <= axis < len(shape) else 1
    if scales > 1 and not 0 <= axis < len(shape):
        raise Damaged(f"tensor {number} of shape {shape} is quantized along axis {axis}")
    if scales not in (1, channels):
        raise Damaged(f"tensor {number} has {scales} scales for {channels} channels")
    if zeros not in (0, 1, scales):
        raise Damaged(f"tensor {number} has {scales} scales and {zeros} zero points")
    values = floats(data, quantization, _SCALE)
    # A channel of zeros alone may have the scale 0.
    if any(not 0 <= value < math.inf for value in values) or values == (0.0,):
        raise Damaged(f"tensor {number} has a scale that is not above 0")
    low, high = _RANGES.get(kind, (-(2**63), 2**63 - 1))
    for value in struct.unpack_from(f"<{zeros}q", data, vector + 4) if vector is not None else ():
        if not low <= value <= high:
            raise Damaged(f"tensor {number} has the zero point {value}, accepted: {low} to {high}")


def _graph(
    data: bytes, graph: int, number: int, tensors: Sequence[_Tensor], codes: Sequence[int], num_graphs: int
) -> set[int]:
    """Check a graph's ops; return the graphs that they call."""
    count = len(tensors)
    inputs = _integers(data, graph, _GRAPH_INPUTS)
    outputs = _integers(data, graph, _GRAPH_OUTPUTS)
    for tensor in (*inputs, *outputs):
        _index(tensor, count, f"an end of graph {number}", "tensor")
    operators = _tables(data, graph, _GRAPH_OPERATORS)
    made_by: dict[int, int] = {}
    for index, op in enumerate(operators):
        for tensor in _integers(data, op, _OP_OUTPUTS):
            _index(tensor, count, f"op {index}", "tensor")
            if tensors[tensor].constant:
                raise Damaged(f"op {index} writes the constant tensor {tensor}")
            if made_by.setdefault(tensor, index) != index:
                raise Damaged(f"ops {made_by[tensor]} and {index} write the same tensor, {tensor}")
    called: set[int] = set()
    for index, op in enumerate(operators):
        code = _unsigned(data, op, _OPCODE)
        _index(code, len(codes), f"op {index}", "operator code")
        op_inputs = _integers(data, op, _OP_INPUTS)
        if op_inputs[:1] == (-1,):
            raise Damaged(f"op {index} has no first input")
        for tensor in op_inputs:
            if tensor == -1:  # an optional one that is absent
                continue
            _index(tensor, count, f"op {index}", "tensor")
            if made_by.get(tensor, -1) >= index:
                raise Damaged(f"op {index} reads tensor {tensor}, which op {made_by[tensor]} writes later")
        called |= _options(data, op, index, codes[code], num_graphs)
    return called


def _options(data: bytes, op: int, index: int, code: int, num_graphs: int) -> set[int]:
    """Check the settings of an op; return the graphs that they name."""
    kind = _number(data, op, _OPTIONS_TYPE, "<B", 0)
    options = child(data, op, _OPTIONS)
    if options is not None:
        field(data, options, 0)  # reads the place of its fields
    rule = _RULES.get(code)
    if rule is None:
        return set()
    if options is None or kind != rule.table:
        raise Damaged(f"op {index}, a {rule.op}, has not the settings of a {rule.op}")
    for name, (number, absent) in rule.positive.items():
        value = _number(data, options, number, "<i", absent)
        if value < 1:
            raise Damaged(f"op {index}, a {rule.op}, has the {name} {value}, which must be above 0")
    if rule.counts is not None:
        side, number = rule.counts
        value = _number(data, options, number, "<i", 0)
        count = len(_integers(data, op, _OP_INPUTS if side == "inputs" else _OP_OUTPUTS))
        if value != count:
            raise Damaged(f"op {index}, a {rule.op}, says that it has {value} {side}, and has {count}")
    graphs = {_number(data, options, number, "<i", 0) for number in rule.graphs}
    for graph in graphs:
        _index(graph, num_graphs, f"op {index}", "graph")
    return graphs


def _op_code(data: bytes, code: int) -> int:
    """Return the number of an op; files from before 2020 have it in the old 8-bit field alone."""
    string(data, code, 1).decode()
    return max(_number(data, code, 0, "<b", 0), _number(data, code, 3, "<i", 0))


def _check_calls(calls: Sequence[set[int]]) -> None:
    """Raise ``Damaged`` where graphs call each other in a circle, which no runtime leaves."""
    done: set[int] = set()
    while ready := {number for number, called in enumerate(calls) if number not in done and called <= done}:
        done |= ready
    if len(done) < len(calls):
        raise Damaged("its graphs call each other in a circle")


def _index(number: int, count: int, who: str, what: str) -> None:
    if not 0 <= number < count:
        raise Damaged(f"{who} names {what} {number}, and there are {count}")


def _integers(data: bytes, table: int, number: int) -> tuple[int, ...]:
    vector = child(data, table, number)
    if vector is not None and vector + 4 + 4 * uint32(data, vector) > len(data):
        raise IndexError
    return integers(data, table, number)


def _unsigned(data: bytes, table: int, number: int) -> int:
    return _number(data, table, number, "<I", 0)


def _number(data: bytes, table: int, number: int, form: str, absent: int) -> int:
    at = field(data, table, number)
    return absent if at is None else int(struct.unpack_from(form, data, at)[0])
