"""Make the float file that an engine quantizes of a ``.tflite``: builtin ops, float32, one image in, one map out.

    Given:   scores = MODEL(image)       image (1, H, W, 3) as its spec says, float16 weights, ops of MediaPipe's own
    Result:  class_map = ARG_MAX(MODEL(image * 1/std - mean/std))      image (1, H, W, 3) float32 in [0, 255]

What depends on no image is computed once and becomes a constant: weights in half precision, and sizes that the graph
asks of its own tensors. The activation at the end goes where the best class is the same without it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from edgeseg.errors import InputError, UnsupportedModel
from edgeseg.outputs import Reading
from edgeseg.spec import ModelSpec
from edgeseg.tflite.portable import make_portable
from edgeseg_converters.keras_model.freeze import INPUT_NAME
from edgeseg_converters.tflite.convert import finish
from edgeseg_converters.tflite.graph import TfliteGraph
from edgeseg_converters.tflite.litert_internals import schema

# Ops with graphs of their own, and such whose constants are no array.
_REFUSED = ("WHILE", "IF", "CALL", "CALL_ONCE", "DENSIFY")
# What may follow an ARG_MAX without another class map: the same numbers in the same order.
_SAME_IDS = ("CAST", "RESHAPE", "SQUEEZE", "EXPAND_DIMS")
# Activations that keep the order of the channels.
_MONOTONIC = ("SOFTMAX", "LOG_SOFTMAX", "LOGISTIC")

_INTEGERS = ("INT4", "INT8", "UINT8", "INT16")


def integer_tensors(data: bytes) -> int:
    """Return how many tensors of a file are quantized.

    Args:
        data: a whole ``.tflite`` file that was verified.
    """
    types = {getattr(schema.TensorType, name) for name in _INTEGERS}
    tensors = [tensor for graph in TfliteGraph.read(data).model.subgraphs for tensor in graph.tensors]
    return sum(tensor.type in types and _has_scale(tensor) for tensor in tensors)


def float_model(data: bytes, spec: ModelSpec, reading: Reading, output: str) -> bytes:
    """Return the float file of an artifact.

    Args:
        data: a whole ``.tflite`` file that was verified, without integers.
        spec: of the float file: its size and output kind are obeyed; where it does not normalize, ``normalized`` did.
        reading: how the output is read.
        output: its name.

    Returns:
        A ``.tflite`` file from ``image`` to what the spec says, with the spec inside.

    Raises:
        UnsupportedModel: it has ops that are not TFLite's own, loops, or an output that is not known to be scores.
        InputError: it does not run at that size.
    """
    graph = TfliteGraph.read(make_portable(data))
    if len(graph.model.subgraphs) > 1 or (refused := [op for op in _ops(graph) if op in _REFUSED]):
        what = ", ".join(dict.fromkeys(refused)) if len(graph.model.subgraphs) == 1 else "several graphs"
        raise UnsupportedModel(f"the model has {what}, which integers do not: export it without loops.")
    graph.model.metadata = None
    for code in graph.model.operatorCodes:  # files from before 2020 have the number in the old field alone
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
    _name_all(graph)
    _take_floats(graph)
    named = [tensor for tensor in graph.outputs if graph.tensor_name(tensor) == output]
    result = (named or graph.outputs)[0]
    graph.outputs = [result]
    graph = _folded(graph, spec.input_size)
    _Head(graph, reading, spec).append(result)
    _prune(graph)
    return finish(_compacted(graph), spec)


def normalized(data: bytes, spec: ModelSpec, given: ModelSpec) -> bytes:
    """Return a float file that takes bytes as float32, and computes ``(image - mean) / std`` by itself.

    As ``freeze`` does it: a 1x1 depthwise convolution, which every integer backend has.

    Args:
        data: of ``float_model``.
        spec: of the result.
        given: has the mean and the std.
    """
    graph = TfliteGraph.read(data)
    scale = 1 / np.asarray(given.std, np.float32)
    kernel = _constant(graph, "normalization", scale.reshape(1, 1, 1, 3))
    bias = _constant(graph, "normalization_bias", -np.asarray(given.mean, np.float32) * scale)
    (inner,) = graph.inputs
    image = _tensor(graph, "pixels", graph.tensors[inner].shape, schema.TensorType.FLOAT32)
    graph.tensors[inner].name = b"normalized"
    options = schema.DepthwiseConv2DOptionsT(
        padding=schema.Padding.VALID,
        strideW=1,
        strideH=1,
        depthMultiplier=1,
        dilationWFactor=1,
        dilationHFactor=1,
    )
    graph.insert(_operator(graph, "DEPTHWISE_CONV_2D", [image, kernel, bias], [inner], options))
    graph.inputs = [image]
    return finish(graph, spec)


class _Head:
    """Appends what turns an output into the class map or the scores that a spec says."""

    def __init__(self, graph: TfliteGraph, reading: Reading, spec: ModelSpec) -> None:
        self._graph, self._reading, self._spec = graph, reading, spec

    def append(self, result: int) -> None:
        """Make the class map, or the scores, of an output the only output of the graph."""
        reading, kind = self._reading, self._spec.output_kind
        if any(reading.border):
            raise UnsupportedModel(
                "the model gives a map of the middle of the image, as its convolutions do not pad; export it with "
                "padding, as integers are compared pixel by pixel."
            )
        scores = self._before_arg_max(result) if reading.kind == "ids" else self._of_channels(result)
        if kind == "argmax":
            scores = self._class_map(scores)
        self._graph.outputs = [scores]

    def _of_channels(self, result: int) -> int:
        reading, kind = self._reading, self._spec.output_kind
        self._require_float(result)
        before, activation = self._without_activation(result)
        is_mask = reading.kind == "mask"
        if not is_mask:
            scores = self._as_map(before if kind == "argmax" else result)
            probable = reading.scores == "softmax"
            return (
                self._add("SOFTMAX", [scores], "scores", _softmax()) if kind == "softmax" and not probable else scores
            )
        if activation == "LOGISTIC":
            share = reading.threshold
            offset = math.log(share / (1 - share)) if 0 < share < 1 else math.inf
            return self._of_logit(self._as_map(before), offset)
        if reading.scores == "softmax":
            return self._of_probability(self._as_map(result))
        return self._of_logit(self._as_map(result), reading.threshold)

    def _of_logit(self, x: int, offset: float) -> int:
        """Return the scores ``[0, x - offset]``, which ``add_head`` gives of a binary model."""
        if not math.isfinite(offset):
            raise UnsupportedModel("a threshold of probabilities is above 0 and below 1: give `threshold=0.5`.")
        if offset:
            constant = _constant(self._graph, "threshold", np.array([offset], np.float32))
            x = self._add("SUB", [x, constant], "above_threshold", schema.SubOptionsT())
        sides = _constant(self._graph, "sides", np.array([[0, 0], [0, 0], [0, 0], [1, 0]], np.int32))
        shape = [*self._shape_of(x)[:3], 2]
        scores = self._add("PAD", [x, sides], "two_scores", schema.PadOptionsT(), shape=shape)
        return self._add("SOFTMAX", [scores], "scores", _softmax()) if self._spec.output_kind == "softmax" else scores

    def _of_probability(self, p: int) -> int:
        """Return the scores ``[1 - p, p]``."""
        one = _constant(self._graph, "one", np.array([1], np.float32))
        rest = self._add("SUB", [one, p], "rest", schema.SubOptionsT(), shape=self._shape_of(p))
        shape = [*self._shape_of(p)[:3], 2]
        return self._add("CONCATENATION", [rest, p], "two_scores", schema.ConcatenationOptionsT(axis=3), shape=shape)

    def _before_arg_max(self, result: int) -> int:
        """Return the scores ``(1, h, w, C)`` that a class map was chosen from."""
        op = self._graph.producer(result)
        while op is not None and self._graph.op_name(op) in _SAME_IDS:
            op = self._graph.producer(op.inputs[0])
        if op is None or self._graph.op_name(op) != "ARG_MAX":
            raise UnsupportedModel(
                "the model gives class ids that are not those of an ARG_MAX, so that integers cannot be compared; "
                "name an output with its scores: `output=...`."
            )
        if self._spec.output_kind != "argmax":
            raise UnsupportedModel("the model gives class ids and no scores: ask for argmax.")
        scores, shape = int(op.inputs[0]), self._shape_of(op.inputs[0])
        axis = int(np.ravel(_content(self._graph, op.inputs[1]))[0]) % max(len(shape), 1)
        self._require_float(scores)
        before, _ = self._without_activation(scores)
        if len(shape) != 4 or axis not in (1, 3):
            raise UnsupportedModel(
                f"the model chooses the class along axis {axis} of {tuple(shape)}; accepted: 1 and 3."
            )
        return before if axis == 3 else self._transposed(before, (0, 2, 3, 1))

    def _without_activation(self, tensor: int) -> tuple[int, str | None]:
        op = self._graph.producer(tensor)
        name = None if op is None else self._graph.op_name(op)
        if op is None or name not in _MONOTONIC:
            return tensor, None
        return int(op.inputs[0]), name

    def _as_map(self, tensor: int) -> int:
        """Return an output as ``(1, h, w, C)``."""
        reading = self._reading
        if self._shape_of(tensor) != [1, *reading.shape]:
            shape = [1, *reading.shape]
            options = schema.ReshapeOptionsT(newShape=np.array(shape, np.int32))
            sizes = _constant(self._graph, "map_shape", np.array(shape, np.int32))
            tensor = self._add("RESHAPE", [tensor, sizes], "map", options, shape=shape)
        order = tuple(1 + place for place in reading.order)
        return tensor if order == (1, 2, 3) else self._transposed(tensor, (0, *order))

    def _transposed(self, tensor: int, order: tuple[int, ...]) -> int:
        axes = _constant(self._graph, "axes", np.array(order, np.int32))
        shape = [self._shape_of(tensor)[axis] for axis in order]
        return self._add("TRANSPOSE", [tensor, axes], "map_nhwc", schema.TransposeOptionsT(), shape=shape)

    def _class_map(self, scores: int) -> int:
        shape = self._shape_of(scores)[:3]
        axis = _constant(self._graph, "class_axis", np.array(3, np.int32))
        integer = schema.TensorType.INT32
        chosen = self._add(
            "ARG_MAX", [scores, axis], "class_ids", schema.ArgMaxOptionsT(outputType=integer), shape=shape, kind=integer
        )
        options = schema.CastOptionsT(inDataType=integer, outDataType=schema.TensorType.UINT8)
        return self._add("CAST", [chosen], "class_map", options, shape=shape, kind=schema.TensorType.UINT8)

    def _add(
        self,
        name: str,
        inputs: Sequence[int],
        tensor: str,
        options: Any,
        *,
        shape: Sequence[int] | None = None,
        kind: int = schema.TensorType.FLOAT32,
    ) -> int:
        """Append an op and return its output."""
        made = _tensor(self._graph, tensor, self._shape_of(inputs[0]) if shape is None else shape, kind)
        op = _operator(self._graph, name, inputs, [made], options)
        self._graph.insert(op, after=self._graph.operators[-1] if self._graph.operators else None)
        return made

    def _shape_of(self, tensor: int) -> list[int]:
        return [int(side) for side in self._graph.tensors[int(tensor)].shape]

    def _require_float(self, tensor: int) -> None:
        if self._graph.tensors[tensor].type != schema.TensorType.FLOAT32:
            raise UnsupportedModel("the model's scores are not float32; give the file as it was before it was changed.")


def _take_floats(graph: TfliteGraph) -> None:
    """Let a model of bytes take them as float32: the casts of its image go."""
    (image,) = graph.inputs
    tensor = graph.tensors[image]
    if tensor.type == schema.TensorType.FLOAT32:
        return
    readers = graph.readers(image)
    if tensor.type != schema.TensorType.UINT8 or any(graph.op_name(op) != "CAST" for op in readers):
        raise UnsupportedModel("the model computes with the bytes of its image; give one that takes float32.")
    tensor.type = schema.TensorType.FLOAT32
    for op in readers:
        if graph.tensors[op.outputs[0]].type != schema.TensorType.FLOAT32:
            raise UnsupportedModel("the model casts its image to another type than float32.")
        cast = int(op.outputs[0])
        graph.remove(op)
        graph.replace(cast, image)


def _folded(graph: TfliteGraph, input_size: tuple[int, int]) -> TfliteGraph:
    """Return the graph at a size, with what depends on no image as constants.

    It is run once, which gives every tensor its shape, and the values of the constants.
    """
    depends = set(graph.inputs)
    constant_ops = []
    for op in graph.operators:
        computed = [int(tensor) for tensor in op.inputs if int(tensor) in depends]
        if graph.op_name(op) == "SHAPE" or not computed:
            constant_ops.append(op)
        else:
            depends.update(int(tensor) for tensor in op.outputs)
    interpreter = _run(graph, input_size)
    details = {entry["index"]: entry for entry in interpreter.get_tensor_details()}
    for index, tensor in enumerate(graph.tensors):
        tensor.shapeSignature = None
        if index in details:
            tensor.shape = np.array(details[index]["shape"], np.int32)
    for op in constant_ops:
        for index in (int(tensor) for tensor in op.outputs):
            _fill(graph, index, interpreter.get_tensor(index))
        graph.remove(op)
    if any(tensor.type == schema.TensorType.FLOAT16 for tensor in _read(graph)):
        raise UnsupportedModel("the model computes in float16, not only its weights have it; give one in float32.")
    return graph


def _run(graph: TfliteGraph, input_size: tuple[int, int]) -> Any:
    """Run a graph once at a size, without XNNPACK, and return the interpreter with all tensors."""
    shape = [1, *input_size, 3]
    try:
        interpreter = Interpreter(
            model_content=graph.write(),
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        (image,) = interpreter.get_input_details()
        interpreter.resize_tensor_input(image["index"], shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(image["index"], np.zeros(shape, np.float32))
        interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())[:300]
        if "custom op" in text:
            raise UnsupportedModel(f"the model has an op that is not TFLite's own: {text}.") from error
        raise InputError(f"the model does not run at {input_size[0]},{input_size[1]} (H,W): {text}.") from error
    return interpreter


def _read(graph: TfliteGraph) -> list[Any]:
    """Return the tensors that an op reads."""
    return [graph.tensors[int(tensor)] for op in graph.operators for tensor in op.inputs if int(tensor) >= 0]


def _prune(graph: TfliteGraph) -> None:
    """Remove the ops that the output does not need."""
    needed = set(graph.outputs)
    for op in reversed(list(graph.operators)):
        if needed.intersection(int(tensor) for tensor in op.outputs):
            needed.update(int(tensor) for tensor in op.inputs)
        else:
            graph.remove(op)


def _compacted(graph: TfliteGraph) -> TfliteGraph:
    """Return the graph without the tensors, buffers and kinds of ops that nothing uses.

    A delegate has no memory for such tensors, of which the calibration asks.
    """
    model, ops = graph.model, list(graph.operators)
    (subgraph,) = model.subgraphs
    read = {int(tensor) for op in ops for tensor in (*op.inputs, *op.outputs)} - {-1}
    used = sorted(read.union(graph.inputs, graph.outputs))
    new = {-1: -1} | {old: number for number, old in enumerate(used)}
    buffers: list[Any] = [schema.BufferT()]
    codes: list[Any] = []
    contents: dict[int, int] = {}
    kinds: dict[int, int] = {}
    for tensor in (subgraph.tensors[old] for old in used):
        buffer = model.buffers[tensor.buffer]
        if buffer.data is None or not len(buffer.data):
            tensor.buffer = 0
            continue
        if tensor.buffer not in contents:
            contents[tensor.buffer] = len(buffers)
            buffers.append(buffer)
        tensor.buffer = contents[tensor.buffer]
    for op in ops:
        op.inputs, op.outputs = ([new[int(tensor)] for tensor in side] for side in (op.inputs, op.outputs))
        if op.opcodeIndex not in kinds:
            kinds[op.opcodeIndex] = len(codes)
            codes.append(model.operatorCodes[op.opcodeIndex])
        op.opcodeIndex = kinds[op.opcodeIndex]
    subgraph.inputs, subgraph.outputs = ([new[tensor] for tensor in side] for side in (graph.inputs, graph.outputs))
    subgraph.tensors = [subgraph.tensors[old] for old in used]
    model.buffers, model.operatorCodes, model.signatureDefs = buffers, codes, None
    return TfliteGraph(model)


def _ops(graph: TfliteGraph) -> list[str]:
    return [graph.op_name(op) for op in graph.operators]


def _name_all(graph: TfliteGraph) -> None:
    """Give a name to each tensor without one; the quantizer knows an op by the names of its outputs."""
    for index, tensor in enumerate(graph.tensors):
        name = (tensor.name or b"").decode(errors="replace").partition(";")[0]
        tensor.name = (f"tensor_{index}" if not name or name == INPUT_NAME else name).encode()


def _content(graph: TfliteGraph, tensor: int) -> NDArray[np.int32]:
    data = graph.model.buffers[graph.tensors[int(tensor)].buffer].data
    if data is None:
        raise UnsupportedModel("the model computes the axis of its ARG_MAX.")
    return np.frombuffer(bytes(data), "<i4")


def _fill(graph: TfliteGraph, index: int, values: NDArray[Any]) -> None:
    """Make a tensor a constant."""
    tensor, buffer = graph.tensors[index], schema.BufferT()
    buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    tensor.buffer, tensor.shape = len(graph.model.buffers), np.array(values.shape, np.int32)
    graph.model.buffers.append(buffer)


def _constant(graph: TfliteGraph, name: str, values: NDArray[Any]) -> int:
    kind = schema.TensorType.INT32 if values.dtype == np.int32 else schema.TensorType.FLOAT32
    index = _tensor(graph, name, values.shape, kind)
    _fill(graph, index, values)
    return index


def _tensor(graph: TfliteGraph, name: str, shape: Sequence[int], kind: int) -> int:
    sides = np.array([int(side) for side in shape], np.int32)
    return graph.add_tensor(schema.TensorT(name=name.encode(), shape=sides, type=kind, buffer=0, hasRank=True))


def _operator(graph: TfliteGraph, name: str, inputs: Sequence[int], outputs: Sequence[int], options: Any) -> Any:
    kind = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
    index = graph.opcode(name, 1, any_version=True)
    return schema.OperatorT(
        opcodeIndex=index,
        inputs=[int(tensor) for tensor in inputs],
        outputs=list(outputs),
        builtinOptionsType=kind,
        builtinOptions=options,
    )


def _softmax() -> Any:
    return schema.SoftmaxOptionsT(beta=1.0)


def _has_scale(tensor: Any) -> bool:
    quantization = tensor.quantization
    return quantization is not None and quantization.scale is not None and len(quantization.scale) > 0
