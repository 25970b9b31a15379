"""ONNX with integers: ONNX Runtime's QDQ quantizer on a float file, which takes the bytes of an image afterwards.

Activations are uint8 and weights int8 with a scale for each output channel, on purpose:

* An image is uint8, and with uint8 activations its bytes go into the first convolution as they are.
* On x86 CPUs without VNNI, ONNX Runtime adds pairs of uint8 x int8 products in 16 bits that saturate (VPMADDUBSW), and
  255 * 127 * 2 does not fit. Weights of 7 bits do: 255 * 64 * 2 = 32640. So a file says the same on every CPU.
* Depthwise convolutions keep 8 bits: their kernels multiply in 32 bits, and theirs are the weights that 7 bits hurt.
* int8 activations and uint8 weights say the same everywhere, too, but run on slower kernels.

Measured with ONNX Runtime 1.31 on the packaged model, CamVid's 101 validation images, ``minmax`` ranges of 100 of its
training images (float: mIoU 0.7237); the last two columns are the share of pixels that keep the float model's class,
in two images on a CPU with VNNI and an emulated one with AVX2 alone:

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

A normalization that is no part of a convolution becomes a depthwise one. Ops that only move values keep the scale of
their input, and so do the exact products and differences of unpooling, which stay in float: what they give is what
they were given, to the bit.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType, TensorData, TensorsData

from edgeseg_converters.calibration import Ranges
from edgeseg_converters.keras_model.freeze import INPUT_NAME
from edgeseg_converters.onnx.compact import compact

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

# Ops that the integers' range does.
_ACTIVATIONS = frozenset({"Clip", "Relu"})


@dataclass(frozen=True)
class Scheme:
    """Which integers.

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


#: The same classes on every CPU; see the module.
PORTABLE = Scheme()


def quantizable(data: bytes) -> tuple[str, ...]:
    """Names of the ops that ``quantize`` can be told to keep, each the name of its output, in the graph's order.

    Args:
        data: a float32 ``.onnx`` file.
    """
    return _quantizable(_prepared(data))


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
        ranges: of its tensors, from ``calibrate_onnx.measure``.
        keep: names of outputs whose ops stay in float.
        only: names of outputs whose ops alone are quantized, all others stay in float; every op when left out.
        scheme: which integers; see the module.

    Returns:
        An ``.onnx`` file of standard ops with a uint8 input; its output is as before.
    """
    model = _prepared(data)
    chosen = {name for name in _quantizable(model) if (only is None or name in only) and name not in keep}
    if chosen:
        overrides = {name: [{"axis": 0, "reduce_range": False}] for name in _depthwise_weights(model.graph)}
        quantizer = QDQQuantizer(
            model,
            scheme.per_channel,
            scheme.reduce_range,
            _TYPES[scheme.weights],
            _TYPES[scheme.activations],
            TensorsData(CalibrationMethod.MinMax, _tied(model, ranges)),
            nodes_to_quantize=[],
            nodes_to_exclude=_left_in_float(model, chosen),
            op_types_to_quantize=sorted(_COMPUTES | _MOVES | _ACTIVATIONS),
            extra_options={
                "ForceQuantizeNoInputCheck": True,  # _left_in_float has looked
                "TensorQuantOverrides": overrides if scheme.reduce_range and scheme.per_channel else {},
            },
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
        model = quantizer.model.model
    _take_bytes(model.graph)
    compact(model.graph)
    model.metadata_props.add(key=SCHEME_KEY, value=json.dumps(asdict(scheme)))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _prepared(data: bytes) -> onnx.ModelProto:
    """The model with inferred shapes, nodes named by their outputs, and normalizations as convolutions."""
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(data))
    _normalizations_to_convolutions(model.graph)
    for node in model.graph.node:
        node.name = node.output[0]
    return model


def _quantizable(model: onnx.ModelProto) -> tuple[str, ...]:
    selections = _selections(model.graph)
    return tuple(node.name for node in model.graph.node if node.op_type in _COMPUTES and node.name not in selections)


def _normalizations_to_convolutions(graph: onnx.GraphProto) -> None:
    """Make each BatchNormalization a 1x1 depthwise convolution, which integers have and which they round exactly.

    A channel's one weight is its scale times the largest integer.
    """
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for index, node in enumerate(list(graph.node)):
        if node.op_type != "BatchNormalization":
            continue
        gamma, beta, mean, variance = (constants[name] for name in node.input[1:5])
        epsilon = next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)
        weight = gamma / np.sqrt(variance + np.float32(epsilon))
        names = [f"{node.output[0]}_weight", f"{node.output[0]}_bias"]
        for name, value in zip(names, (weight.reshape(-1, 1, 1, 1), beta - mean * weight), strict=True):
            graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
        conv = helper.make_node("Conv", [node.input[0], *names], [node.output[0]], group=len(weight))
        graph.node.remove(node)
        graph.node.insert(index, conv)
    # What nobody reads any more goes: the quantizer will want some of those names for scales of its own.
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _selections(graph: onnx.GraphProto) -> dict[str, str]:
    """The exact arithmetic of unpooling: products with a mask, and what they leave of a value.

    Returns:
        Output name of each such Mul and Sub to the name of the value that it selects from.
    """
    kinds = {name: node.op_type for node in graph.node for name in node.output}
    masks = {node.output[0] for node in graph.node if node.op_type == "Cast" and kinds.get(node.input[0]) == "Equal"}
    found: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "Mul" and masks & set(node.input):
            found[node.output[0]] = next(name for name in node.input if name not in masks)
        elif node.op_type == "Sub" and found.get(node.input[1]) == node.input[0]:
            found[node.output[0]] = node.input[0]
    return found


def _left_in_float(model: onnx.ModelProto, chosen: Collection[str]) -> list[str]:
    """Names of the nodes that the quantizer must pass over: all but the chosen, and what moves integers anyway."""
    integers = {INPUT_NAME}
    for node in model.graph.node:
        if node.name in chosen:
            integers.update(node.input, node.output)
    excluded = []
    for node in model.graph.node:
        if node.op_type in _MOVES | _ACTIVATIONS and node.input[0] in integers:
            integers.update(node.output)
        elif node.name not in chosen:
            excluded.append(node.name)
    return excluded


def _depthwise_weights(graph: onnx.GraphProto) -> set[str]:
    """Names of the weights ``(C, 1, kh, kw)`` of convolutions of C groups."""
    channels = {tensor.name: tensor.dims[0] for tensor in graph.initializer if len(tensor.dims) == 4}
    groups = {node.name: a.i for node in graph.node for a in node.attribute if a.name == "group" and a.i > 1}
    return {
        node.input[1]
        for node in graph.node
        if node.op_type == "Conv" and groups.get(node.name) == channels.get(node.input[1], 0)
    }


def _tied(model: onnx.ModelProto, ranges: Ranges) -> dict[str, TensorData]:
    """The range of every tensor, the same one for all that hold the same values."""
    group: dict[str, str] = {}

    def find(name: str) -> str:
        while name in group:
            name = group[name]
        return name

    def tie(names: Iterable[str]) -> None:
        first, *others = {find(name) for name in names}
        group.update(dict.fromkeys(others, first))

    selections = _selections(model.graph)
    for node in model.graph.node:
        if node.op_type in _MOVES:
            tie([node.input[0], *node.output])
        elif node.output[0] in selections:
            tie([node.output[0], selections[node.output[0]]])
        elif node.op_type == "Concat" and set(node.input) <= set(selections):
            tie([*node.input, node.output[0]])
    limits: dict[str, tuple[float, float]] = {}
    for name in ranges.low:
        low, high = ranges.limits(name)
        known = limits.get(find(name), (low, high))
        limits[find(name)] = min(low, known[0]), max(high, known[1])
    pairs = {name: np.array(limits[find(name)], np.float32) for name in ranges.low}
    return {name: TensorData(lowest=low, highest=high) for name, (low, high) in pairs.items()}


def _take_bytes(graph: onnx.GraphProto) -> None:
    """Make the input uint8: what quantizes it to scale 1 and zero point 0 goes, what reads it in float gets a Cast."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    image, as_float = graph.input[0], f"{INPUT_NAME}_float"
    image.type.tensor_type.elem_type = TensorProto.UINT8
    for node in [node for node in graph.node if INPUT_NAME in node.input]:
        if node.op_type == "QuantizeLinear" and _keeps_bytes(*(constants[name] for name in node.input[1:])):
            _rename_inputs(graph.node, node.output[0], INPUT_NAME)
            graph.node.remove(node)
        else:
            _rename_inputs([node], INPUT_NAME, as_float)
    if any(as_float in node.input for node in graph.node):
        graph.node.insert(0, helper.make_node("Cast", [INPUT_NAME], [as_float], to=TensorProto.FLOAT))


def _keeps_bytes(scale: onnx.TensorProto, zero_point: onnx.TensorProto) -> bool:
    exact = bool(numpy_helper.to_array(scale) == 1 and numpy_helper.to_array(zero_point) == 0)
    return exact and zero_point.data_type == TensorProto.UINT8


def _rename_inputs(nodes: Iterable[onnx.NodeProto], old: str, new: str) -> None:
    for node in nodes:
        node.input[:] = [new if name == old else name for name in node.input]
