"""Give a quantized TFLite file integer ends: bytes of an image in, a class map out, and no needless op in float.

litert-quantizer leaves an int8 input, and a float island around every op that it has no rule for. Here

* the image becomes uint8, by a QUANTIZE after it: the bytes that a camera gives;
* a normalization whose integers are those of the bytes is omitted: the image has its scale then, which is 1 otherwise;
* ``DEQUANTIZE -> op -> QUANTIZE`` becomes ``op`` where the op only moves values and both scales are the same, so the
  result is the same to the bit;
* ARG_MAX reads integers, which a scale does not reorder;
* int8 probabilities become uint8, by a QUANTIZE that adds 128: LiteRT.js reads no int8 output;
* the unread part of a SPLIT, such as the last of SegNet's windows, has the type of the others;
* a separate RELU, as before Xception's convolutions, becomes the QUANTIZE from its input's scale to its output's, whose
  lowest integer is zero: values below are cut off either way. XNNPACK has that QUANTIZE in int8, but no RELU;
* a transposed convolution has no fused activation where the range of its integers ends as the activation does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeseg_converters.keras_model.freeze import INPUT_NAME
from edgeseg_converters.tflite.graph import TfliteGraph
from edgeseg_converters.tflite.litert_internals import schema
from edgeseg_converters.tflite.split_activations import drop_activations

#: Ops that copy values and for which litert-quantizer 0.11 has no rule.
_MOVES_VALUES = frozenset({"DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "TILE", "RESIZE_NEAREST_NEIGHBOR"})


def put_in(graph: TfliteGraph) -> None:
    """Give a quantized network integer ends and remove the float islands that are not needed, in place.

    Args:
        graph: of a file by ``quantize.quantize`` in a static precision. Afterwards its input is uint8: the bytes of an
            image, whatever its scale.
    """
    _merge_islands(graph)
    _quantize_unread(graph)
    _read_integers(graph)
    _cut_off_by_range(graph)
    drop_activations(graph)
    _omit_normalization(graph)
    _uint8_input(graph)
    _uint8_output(graph)


def _merge_islands(graph: TfliteGraph) -> None:
    """Let ops that move values work on integers."""
    for op in [op for op in graph.operators if graph.op_name(op) in _MOVES_VALUES]:
        before, after = graph.producer(op.inputs[0]), graph.readers(op.outputs[0])
        if before is None or graph.op_name(before) != "DEQUANTIZE" or not after:
            continue
        source, results = graph.tensors[before.inputs[0]], [graph.tensors[reader.outputs[0]] for reader in after]
        # These ops have no kernel for int16.
        same = source.type == schema.TensorType.INT8 and all(_same_scale(source, result) for result in results)
        if any(graph.op_name(reader) != "QUANTIZE" for reader in after) or not same:
            continue
        moved = graph.tensors[op.outputs[0]]
        moved.type, moved.quantization = source.type, source.quantization
        graph.rewire(op, inputs=[before.inputs[0], *op.inputs[1:]])
        for reader in after:
            graph.replace(reader.outputs[0], op.outputs[0])
            graph.remove(reader)
    _remove_unread(graph)


def _quantize_unread(graph: TfliteGraph) -> None:
    """Give the unread part of a SPLIT the scale of the others; the tool leaves it in float."""
    for tensor in graph.unread():
        op = graph.producer(tensor)
        if op is not None and graph.op_name(op) == "SPLIT":
            source = graph.tensors[op.inputs[1]]
            graph.tensors[tensor].type = source.type
            graph.tensors[tensor].quantization = source.quantization


def _read_integers(graph: TfliteGraph) -> None:
    """Let an ARG_MAX read the input of its DEQUANTIZE; a positive scale keeps the order."""
    for op in graph.operators:
        if graph.op_name(op) != "ARG_MAX":
            continue
        before = graph.producer(op.inputs[0])
        if before is not None and graph.op_name(before) == "DEQUANTIZE":
            source = graph.tensors[before.inputs[0]]
            if source.type == schema.TensorType.INT8:  # the builtin has no kernel for int16
                graph.rewire(op, inputs=[before.inputs[0], *op.inputs[1:]])
    _remove_unread(graph)


def _cut_off_by_range(graph: TfliteGraph) -> None:
    """Let the lowest integer do what a RELU does."""
    lowest = np.iinfo(np.int8).min
    for op in graph.operators:
        if graph.op_name(op) != "RELU":
            continue
        before, after = graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]
        integers = before.type == after.type == schema.TensorType.INT8  # XNNPACK has no kernel for int16
        if integers and _zero_point(after) == lowest:
            op.opcodeIndex = _opcode(graph, "QUANTIZE")


def _omit_normalization(graph: TfliteGraph) -> None:
    """Let the network read the image's integers where normalizing them changes none.

        Given:   int8 image -> DEPTHWISE_CONV_2D, the same integers of another scale -> network
        Result:  int8 image of that scale -> network

    What the convolution gives is computed for each of the 256 bytes. On a small network it takes a twelfth of the time.
    """
    (image,) = graph.inputs
    readers = graph.readers(image)
    if len(readers) != 1 or graph.op_name(readers[0]) != "DEPTHWISE_CONV_2D" or image in graph.outputs:
        return
    (op,) = readers
    if len(op.inputs) != 3 or int(op.inputs[2]) < 0:  # the quantizer gives every convolution a bias
        return
    given, weights, bias, result = (graph.tensors[int(tensor)] for tensor in (*op.inputs[:3], op.outputs[0]))
    options = op.builtinOptions
    per_pixel = tuple(weights.shape) == (1, 1, 1, 3) and (options.strideW, options.strideH) == (1, 1)
    integers = given.type == result.type == schema.TensorType.INT8
    linear = options.fusedActivationFunction == schema.ActivationFunctionType.NONE
    if not (per_pixel and integers and linear) or op.outputs[0] in graph.outputs:
        return
    bytes_ = np.arange(-128, 128)[:, None]
    factors, biases = (graph.model.buffers[tensor.buffer].data for tensor in (weights, bias))
    sums = (bytes_ - _zero_point(given)) * factors.view(np.int8).astype(np.int64) + biases.view(np.int32)
    step = np.float64(given.quantization.scale[0]) * np.asarray(weights.quantization.scale, np.float64)
    normalized = np.round(sums * (step / result.quantization.scale[0])) + _zero_point(result)
    if not np.all(np.clip(normalized, -128, 127) == bytes_):
        return
    given.quantization = result.quantization
    graph.replace(op.outputs[0], image)
    graph.remove(op)


def _zero_point(tensor: schema.TensorT) -> int:
    return int(np.ravel(tensor.quantization.zeroPoint)[0])


def _uint8_input(graph: TfliteGraph) -> None:
    """Put a uint8 image before the network's input: by QUANTIZE for int8, by DEQUANTIZE for float.

    The QUANTIZE only moves the zero point, so that each byte stays what it is.
    """
    (index,) = graph.inputs
    inner = graph.tensors[index]
    image = schema.TensorT(name=INPUT_NAME.encode(), shape=inner.shape, type=schema.TensorType.UINT8, hasRank=True)
    scale, zero_point = 1.0, 0
    if inner.type == schema.TensorType.INT8:
        scale, zero_point = float(inner.quantization.scale[0]), _zero_point(inner) + 128
    image.quantization = schema.QuantizationParametersT(
        scale=np.array([scale], np.float32), zeroPoint=np.array([zero_point], np.int64)
    )
    inner.name = f"{INPUT_NAME}_network".encode()
    new = graph.add_tensor(image)
    kind = "DEQUANTIZE" if inner.type == schema.TensorType.FLOAT32 else "QUANTIZE"
    graph.insert(schema.OperatorT(opcodeIndex=_opcode(graph, kind), inputs=[new], outputs=[index]))
    graph.inputs = [new]
    for signature in graph.model.signatureDefs or []:
        for entry in signature.inputs:
            entry.tensorIndex = new


def _uint8_output(graph: TfliteGraph) -> None:
    """Let an int8 output be uint8, with the same scale and the zero point moved."""
    (index,) = graph.outputs
    inner = graph.tensors[index]
    if inner.type != schema.TensorType.INT8:
        return
    result = schema.TensorT(name=inner.name, shape=inner.shape, type=schema.TensorType.UINT8, hasRank=True)
    result.quantization = schema.QuantizationParametersT(
        scale=inner.quantization.scale, zeroPoint=np.asarray(inner.quantization.zeroPoint, np.int64) + 128
    )
    inner.name = f"{(inner.name or b'').decode()}_network".encode()
    new = graph.add_tensor(result)
    op = schema.OperatorT(opcodeIndex=_opcode(graph, "QUANTIZE"), inputs=[index], outputs=[new])
    graph.insert(op, after=graph.operators[-1])
    graph.outputs = [new]
    for signature in graph.model.signatureDefs or []:
        for entry in signature.outputs:
            entry.tensorIndex = new


def _opcode(graph: TfliteGraph, name: str) -> int:
    # Version 1 reads float and int8; version 2 added uint8 to int8, and int16. The tool raises no version, so its own
    # are taken.
    return graph.opcode(name, version=2, any_version=True)


def _remove_unread(graph: TfliteGraph) -> None:
    """Remove DEQUANTIZE and QUANTIZE ops whose result nobody reads any more."""
    while unread := [
        op for op in map(graph.producer, graph.unread()) if graph.op_name(op) in ("DEQUANTIZE", "QUANTIZE")
    ]:
        for op in unread:
            graph.remove(op)


def _same_scale(first: Any, second: Any) -> bool:
    return first.type == second.type and all(
        np.array_equal(getattr(first.quantization, field), getattr(second.quantization, field))
        for field in ("scale", "zeroPoint")
    )
