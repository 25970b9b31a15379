"""Quantize a float ONNX file by ONNX Runtime's QDQ quantizer; the result takes the bytes of an image.

Activations are uint8 and weights int8 with a scale for each output channel, on purpose:

* An image is uint8, and with uint8 activations its bytes go into the first convolution as they are.
* On x86 CPUs without VNNI, ONNX Runtime adds pairs of uint8 x int8 products in 16 bits that saturate (VPMADDUBSW), and
  255 * 127 * 2 does not fit. Weights of 7 bits do: 255 * 64 * 2 = 32640. So a file gives the same on every CPU.
* Depthwise convolutions keep 8 bits: their kernels multiply in 32 bits, and 7 bits hurt their weights most.
* int8 activations and uint8 weights give the same everywhere, too, but run on slower kernels.

Measured with ONNX Runtime 1.31 on the packaged model, CamVid's 101 validation images, ``minmax`` ranges of 100 of its
training images (float: mIoU 0.7237); the last two columns are the share of pixels that keep the float model's class,
in two images, on a CPU with VNNI and on an emulated one with only AVX2:

=========================================== ======= ================= ====== ======
activations, weights                        mIoU    time over float's VNNI   AVX2
=========================================== ======= ================= ====== ======
uint8, int8 of 7 bits, depthwise 8 (here)   0.7222  0.6 to 0.7        0.9894 0.9894
uint8, int8                                 0.7244  0.6 to 0.7        0.9897 0.9829
uint8, int8 of 7 bits                       0.7084  0.6 to 0.7        0.9805 0.9805
int8, int8                                  0.7245  1.1
uint8, uint8                                0.7253  7                 0.9905 0.9905
uint8, int8 with one scale for all channels 0.5692  0.7
=========================================== ======= ================= ====== ======

A normalization that is not part of a convolution becomes a depthwise one. Ops that only move values keep the scale of
their input, and so do the exact products and differences of unpooling, which stay in float: they return the values
that they were given, to the bit.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import onnx
import onnx_ir as ir
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType, TensorData, TensorsData

from edgeseg_converters.calibration import Ranges
from edgeseg_converters.onnx.file import read, to_proto, write
from edgeseg_converters.onnx.memory import new_objects_collected
from edgeseg_converters.onnx.passes import FINISH_QUANTIZED, PREPARE_TO_QUANTIZE
from edgeseg_converters.onnx.passes.constants import array_of

#: Key of the entry in ``metadata_props`` that says how a file was quantized: a ``Scheme`` as JSON.
SCHEME_KEY = "edgeseg.quantization"

IntegerType = Literal["uint8", "int8"]

_TYPES = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}

# Ops that ONNX Runtime computes on integers.
_COMPUTES = frozenset(
    {"Add", "Concat", "Conv", "ConvTranspose", "Gemm", "GlobalAveragePool", "LeakyRelu", "MatMul", "Mul", "Sigmoid"}
)

# Ops whose result has the scale of their input. ONNX Runtime's own list lacks DepthToSpace, SpaceToDepth and Tile.
_MOVES = frozenset(
    {"AveragePool", "DepthToSpace", "Flatten", "MaxPool", "Pad", "Reshape", "Resize", "Slice", "SpaceToDepth", "Split"}
    | {"Squeeze", "Tile", "Transpose", "Unsqueeze"}
)

# The largest weight of a channel of zeros.
_NEARLY_ZERO = 1e-9

# Ops whose effect the range of the integers has as well.
_ACTIVATIONS = frozenset({"Clip", "Relu"})


@dataclass(frozen=True)
class Scheme:
    """The integers of a file.

    Attributes:
        activations: with a zero point of their own.
        weights: of convolutions and products.
        reduce_range: whether weights have 7 bits; with ``per_channel`` those of depthwise convolutions keep 8.
        per_channel: whether each output channel of a weight has a scale of its own.
    """

    activations: IntegerType = "uint8"
    weights: IntegerType = "int8"
    reduce_range: bool = True
    per_channel: bool = True


#: Gives the same classes on every CPU; see the module.
PORTABLE = Scheme()


def quantizable(data: bytes) -> tuple[str, ...]:
    """Return the ops that ``quantize`` can keep in float, each by the name of its output, in the graph's order.

    Args:
        data: a float32 ``.onnx`` file.
    """
    return _quantizable(PREPARE_TO_QUANTIZE(read(data)).model.graph)


@new_objects_collected()
def quantize(
    data: bytes,
    ranges: Ranges,
    *,
    keep: Collection[str] = (),
    only: Collection[str] | None = None,
    scheme: Scheme = PORTABLE,
) -> bytes:
    """Quantize a float file.

    Args:
        data: a float32 ``.onnx`` file whose input takes values 0 to 255.
        ranges: of its tensors, from ``calibrate.measure`` or ``calibrate.cut``.
        keep: names of outputs whose ops stay in float.
        only: names of the outputs of the only ops that are quantized; every op when omitted.
        scheme: the integers; see the module.

    Returns:
        An ``.onnx`` file of standard ops with a uint8 input; its output is as before.
    """
    model = PREPARE_TO_QUANTIZE(read(data)).model
    chosen = {name for name in _quantizable(model.graph) if (only is None or name in only) and name not in keep}
    if chosen:
        tensors = TensorsData(CalibrationMethod.MinMax, _tied(model.graph, ranges))
        excluded = _left_in_float(model.graph, chosen)
        overrides = _overrides(model.graph, scheme) if scheme.per_channel else {}  # before the weights move on
        quantizer = QDQQuantizer(
            to_proto(model),
            scheme.per_channel,
            scheme.reduce_range,
            _TYPES[scheme.weights],
            _TYPES[scheme.activations],
            tensors,
            nodes_to_quantize=[],
            nodes_to_exclude=excluded,
            op_types_to_quantize=sorted(_COMPUTES | _MOVES | _ACTIVATIONS),
            extra_options={
                "ForceQuantizeNoInputCheck": True,  # _left_in_float checks that
                "TensorQuantOverrides": overrides,
            },
        )
        quantizer.quantize_model()
        model = ir.from_proto(quantizer.model.model)
    FINISH_QUANTIZED(model)
    model.metadata_props[SCHEME_KEY] = json.dumps(asdict(scheme))
    quantized = write(model)
    onnx.checker.check_model(quantized)
    return quantized


def _quantizable(graph: ir.Graph) -> tuple[str, ...]:
    selections = _selections(graph)
    computes = [node.outputs[0] for node in graph if node.op_type in _COMPUTES]
    return tuple(_name(value) for value in computes if value not in selections)


def _selections(graph: ir.Graph) -> dict[ir.Value, ir.Value]:
    """Return the exact arithmetic of unpooling: products with a mask, and what remains of a value after them.

    Returns:
        The result of each such Mul and Sub, to the value that it selects from.
    """
    selections: dict[ir.Value, ir.Value] = {}
    for node in graph:
        if node.op_type not in ("Mul", "Sub"):
            continue
        first, second = (value for value in node.inputs if value is not None)
        if node.op_type == "Mul" and (_is_mask(first) or _is_mask(second)):
            selections[node.outputs[0]] = second if _is_mask(first) else first
        elif node.op_type == "Sub" and selections.get(second) is first:
            selections[node.outputs[0]] = first
    return selections


def _is_mask(value: ir.Value) -> bool:
    """Return whether a value is a comparison cast to a number."""
    cast = value.producer()
    compared = cast.inputs[0] if cast is not None and cast.op_type == "Cast" else None
    equal = compared.producer() if compared is not None else None
    return equal is not None and equal.op_type == "Equal"


def _left_in_float(graph: ir.Graph, chosen: Collection[str]) -> list[str]:
    """Return the names of the nodes that the quantizer must skip: all but the chosen, and those that move integers."""
    integers: set[ir.Value | None] = {graph.inputs[0]}
    for node in graph:
        if node.name in chosen:
            integers.update(node.inputs, node.outputs)
    excluded = []
    for node in graph:
        if node.op_type in _MOVES | _ACTIVATIONS and node.inputs[0] in integers:
            integers.update(node.outputs)
        elif node.name not in chosen:
            excluded.append(node.name or "")
    return excluded


def _overrides(graph: ir.Graph, scheme: Scheme) -> dict[str, list[dict[str, Any]]]:
    """Return what the quantizer is told about weights, by their names.

    Depthwise ones have 8 bits. A channel of zeros has the range of a small number: its scale would be 1 otherwise, and
    the steps of its bias, all that is left of the channel, those of the input. The quantizer widens that scale until
    the bias is an int32.
    """
    overrides = {}
    for node in graph:
        weight = node.inputs[1] if node.op_type in ("Conv", "ConvTranspose") else None
        array = array_of(weight)
        if weight is None or array is None:
            continue
        groups = node.attributes.get_int("group", 1)
        is_depthwise = node.op_type == "Conv" and 1 < groups == array.shape[0]
        told: dict[str, Any] = {"axis": int(node.op_type == "ConvTranspose")}
        if is_depthwise and scheme.reduce_range:
            told["reduce_range"] = False
        others = tuple(axis for axis in range(array.ndim) if axis != told["axis"])
        is_zero = np.abs(array).max(axis=others) < _NEARLY_ZERO
        if np.any(is_zero):
            range_ = {"rmin": np.float32(-_NEARLY_ZERO), "rmax": np.float32(_NEARLY_ZERO)}
            overrides[_name(weight)] = [{**told, **range_} if zero else told for zero in is_zero]
        elif "reduce_range" in told:
            overrides[_name(weight)] = [told]
    return overrides


def _tied(graph: ir.Graph, ranges: Ranges) -> dict[str, TensorData]:
    """Return the range of every tensor, the same range for all tensors with the same values."""
    group: dict[str, str] = {}

    def find(name: str) -> str:
        while name in group:
            name = group[name]
        return name

    def tie(values: Iterable[ir.Value | None]) -> None:
        first, *others = dict.fromkeys(find(_name(value)) for value in values if value is not None)
        group.update(dict.fromkeys(others, first))

    selections = _selections(graph)
    for node in graph:
        if node.op_type in _MOVES:
            tie([node.inputs[0], *node.outputs])
        elif node.outputs[0] in selections:
            tie([node.outputs[0], selections[node.outputs[0]]])
        elif node.op_type == "Concat" and set(node.inputs) <= set(selections):
            tie([*node.inputs, node.outputs[0]])
    limits: dict[str, tuple[float, float]] = {}
    for name in ranges.low:
        low, high = ranges.limits(name)
        known = limits.get(find(name), (low, high))
        limits[find(name)] = min(low, known[0]), max(high, known[1])
    pairs = {name: np.array(limits[find(name)], np.float32) for name in ranges.low}
    return {name: TensorData(lowest=low, highest=high) for name, (low, high) in pairs.items()}


def _name(value: ir.Value) -> str:
    """Return the name of a value; every value of a file has one."""
    if value.name is None:
        raise ValueError(f"{value!r} has no name")
    return value.name
