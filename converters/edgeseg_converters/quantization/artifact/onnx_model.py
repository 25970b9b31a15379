"""Make the float file that an engine quantizes of an ``.onnx``: float32, one size, one image in, one map out.

    Given:   scores = MODEL(image)       any batch and size, float16 inside, weights in other files, an old opset
    Result:  class_map = ArgMax(MODEL(Conv(image, 1/std, -mean/std)))      image float32 in [0, 255], its own layout

ONNX Runtime's basic optimizations then fold what depends on no image, such as the sizes that PyTorch asks of its own
tensors. The activation at the end goes where the best class is the same without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.external_data_helper
import onnx.inliner
import onnx.version_converter
import onnx_ir as ir
from numpy.typing import NDArray

from edgeseg._internal.limits.models import MEMORY_VARIABLE, max_model_memory
from edgeseg.errors import InputError, UnsupportedModel
from edgeseg.outputs import Reading
from edgeseg.spec import METADATA_KEY, ModelSpec
from edgeseg_converters.keras_model.freeze import INPUT_NAME, OUTPUT_NAMES
from edgeseg_converters.onnx.file import write
from edgeseg_converters.onnx.memory import new_objects_collected
from edgeseg_converters.onnx.passes import TIDY
from edgeseg_converters.onnx.passes.constants import add_constant
from edgeseg_converters.onnx.passes.onnxruntime_basic import RunBasicOptimizations
from edgeseg_converters.recipes import DEFAULT_OPSET, OPSETS

_INTEGER_OPS = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger")
# What may follow an ArgMax without another class map: the same numbers in the same order.
_SAME_IDS = ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze")
# Activations that keep the order of the channels.
_MONOTONIC = ("Softmax", "LogSoftmax", "Sigmoid")
# Floats, by the numbers of TensorProto.DataType.
_FLOAT, _HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def read_model(data: bytes, folder: Path) -> onnx.ModelProto:
    """Return the model of a file that was verified, with the weights that are in other files beside it.

    Args:
        data: a whole ``.onnx`` file.
        folder: that it is in.

    Raises:
        InputError: a file with weights is damaged, or all together are larger than a model may be.
    """
    model = onnx.load_from_string(data)
    try:
        onnx.external_data_helper.load_external_data_for_model(model, str(folder))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise InputError(f"its weights in other files cannot be read: {' '.join(str(error).split())[:200]}") from error
    size = sum(len(tensor.raw_data) for tensor in _tensors(model))
    if size > max_model_memory() << 20:
        raise InputError(f"its weights have {size} bytes, too many; {MEMORY_VARIABLE} sets another limit.")
    return model


def integer_ops(model: onnx.ModelProto) -> int:
    """Return how many ops of a model quantize or compute with integers."""
    return sum(node.op_type in _INTEGER_OPS or node.op_type.startswith("QLinear") for node in model.graph.node)


def computes_in_half(model: onnx.ModelProto) -> bool:
    """Return whether a model has float16 weights, with which ONNX computes in float16."""
    return any(tensor.data_type == _HALF for tensor in _tensors(model))


@new_objects_collected()
def float_model(model: onnx.ModelProto, spec: ModelSpec, reading: Reading, output: str, given: ModelSpec) -> bytes:
    """Return the float file of an artifact.

    Args:
        model: of ``read_model``, without integers; it is changed.
        spec: of the float file: its size, layout and output kind are obeyed.
        reading: how the output is read.
        output: its name.
        given: how the file is fed; where ``spec`` takes bytes as float32 and it does not, the file normalizes them.

    Returns:
        An ``.onnx`` file from ``image`` to what the spec says, with the spec inside.

    Raises:
        UnsupportedModel: it has ops that are not ONNX's own, or an output that is not known to be scores.
        InputError: it does not run at that size.
    """
    model = _of_known_opset(_inlined(model))
    if not model.graph.node:
        raise UnsupportedModel("the model computes nothing.")
    domains = sorted({node.domain for node in model.graph.node} - {"", "ai.onnx"})
    if domains:
        raise UnsupportedModel(
            f"the model has ops of {', '.join(domains)}, which are not ONNX's own; give the file as it was before a "
            "runtime's optimizer wrote it."
        )
    _in_float32(model)
    _fix_input(model, spec)
    try:
        made = ir.from_proto(model)
        graph = made.graph
        _free_names(graph)
        _take_image(graph, given, normalize=(spec.mean, spec.std) != (given.mean, given.std))
        result = next(value for value in graph.outputs if value.name == output)
        _Head(graph, reading, spec).append(result)
        optimized = RunBasicOptimizations()(made).model
        tidy = TIDY(optimized).model
        tidy.metadata_props.clear()
        tidy.metadata_props[METADATA_KEY] = spec.to_json()
        tidy.producer_name, tidy.producer_version = model.producer_name, model.producer_version
        data = write(tidy)
        onnx.checker.check_model(data, full_check=True)
    except _BROKEN as error:
        height, width = spec.input_size
        text = " ".join(str(error.__cause__ or error).split())[:300].rstrip(".")
        raise InputError(f"the model does not run at {height},{width} (H,W): {text}.") from error
    return data


def _ort_errors() -> tuple[type[Exception], ...]:
    """Return what ONNX Runtime raises of a model that it does not run."""
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    return tuple(
        getattr(errors, name)
        for name in ("Fail", "InvalidArgument", "InvalidGraph", "NotImplemented", "RuntimeException")
    )


_BROKEN: tuple[type[Exception], ...] = (
    *_ort_errors(),
    ir.passes.PassError,
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
    ValueError,  # of onnx-ir, for a graph that it does not read
)


class _Head:
    """Appends what turns an output into the class map or the scores that a spec says."""

    def __init__(self, graph: ir.Graph, reading: Reading, spec: ModelSpec) -> None:
        self._graph, self._reading, self._spec = graph, reading, spec

    def append(self, result: ir.Value) -> None:
        """Make the class map, or the scores, of an output the only output of the graph."""
        reading, kind = self._reading, self._spec.output_kind
        if any(reading.border):
            raise UnsupportedModel(
                "the model gives a map of the middle of the image, as its convolutions do not pad; export it with "
                "padding, as integers are compared pixel by pixel."
            )
        scores, axis = self._before_arg_max(result) if reading.kind == "ids" else self._of_channels(result)
        if kind == "argmax":
            chosen = self._add("ArgMax", [scores], {"axis": axis, "keepdims": 0})
            last = self._add("Cast", [chosen], {"to": onnx.TensorProto.UINT8})
            last.type = ir.TensorType(ir.DataType.UINT8)
        else:
            wanted = 1 if self._spec.layout == "nchw" else 3
            order = [0, 3, 1, 2] if wanted == 1 else [0, 2, 3, 1]
            last = scores if axis == wanted else self._add("Transpose", [scores], {"perm": order})
            if last is result or last.producer() is None or last.is_graph_output():
                last = self._add("Identity", [last], {})
            last.type = ir.TensorType(ir.DataType.FLOAT)
        last.name, last.shape = OUTPUT_NAMES[kind], None
        self._graph.outputs[:] = [last]

    def _of_channels(self, result: ir.Value) -> tuple[ir.Value, int]:
        """Return scores with a channel for each class, and the axis of the channels."""
        reading, kind = self._reading, self._spec.output_kind
        before, activation = _without_activation(result)
        axis = 1 if reading.order[2] == 0 else 3
        if reading.kind == "scores":
            scores = self._as_map(before if kind == "argmax" else result)
            if kind == "softmax" and reading.scores != "softmax":
                scores = self._add("Softmax", [scores], {"axis": axis})
            return scores, axis
        if activation == "Sigmoid":
            share = reading.threshold
            return self._of_logit(self._as_map(before), _logit(share), axis), axis
        if reading.scores != "softmax":
            return self._of_logit(self._as_map(result), reading.threshold, axis), axis
        p = self._as_map(result)
        rest = self._add("Sub", [self._constant(np.array([1], np.float32)), p], {})
        return self._add("Concat", [rest, p], {"axis": axis}), axis

    def _of_logit(self, x: ir.Value, offset: float, axis: int) -> ir.Value:
        """Return the scores ``[0, x - offset]``."""
        if offset:
            x = self._add("Sub", [x, self._constant(np.array([offset], np.float32))], {})
        sides = [0] * 8
        sides[axis] = 1
        zero = self._constant(np.array(0, np.float32))
        scores = self._add("Pad", [x, self._constant(np.array(sides, np.int64)), zero], {})
        return self._add("Softmax", [scores], {"axis": axis}) if self._spec.output_kind == "softmax" else scores

    def _before_arg_max(self, result: ir.Value) -> tuple[ir.Value, int]:
        """Return the scores that a class map was chosen from, and the axis of the channels."""
        node = result.producer()
        while node is not None and node.op_type in _SAME_IDS:
            source = node.inputs[0]
            node = None if source is None else source.producer()
        if node is None or node.op_type != "ArgMax":
            raise UnsupportedModel(
                "the model gives class ids that are not those of an ArgMax, so that integers cannot be compared; "
                "name an output with its scores: `output=...`."
            )
        if self._spec.output_kind != "argmax":
            raise UnsupportedModel("the model gives class ids and no scores: ask for argmax.")
        scores = node.inputs[0]
        assert scores is not None
        axis = node.attributes.get_int("axis", 0) % 4
        if axis not in (1, 3):
            raise UnsupportedModel(f"the model chooses the class along axis {axis}; accepted: 1 and 3.")
        return _without_activation(scores)[0], axis

    def _as_map(self, value: ir.Value) -> ir.Value:
        """Return an output with a batch, and height, width and channels as its reading has them."""
        shape = np.array([1, *self._reading.shape], np.int64)
        return self._add("Reshape", [value, self._constant(shape)], {})

    def _add(self, name: str, inputs: Sequence[ir.Value], attributes: dict[str, Any]) -> ir.Value:
        """Append a node and return its output."""
        made = ir.Value(name=_unused(self._graph, f"edgeseg_{name}"))
        self._graph.append(ir.node(name, list(inputs), attributes, outputs=[made], name=made.name))
        return made

    def _constant(self, array: NDArray[Any]) -> ir.Value:
        return _constant(self._graph, array)


def _logit(share: float) -> float:
    if not 0 < share < 1:
        raise UnsupportedModel("a threshold of probabilities is above 0 and below 1: give `threshold=0.5`.")
    return math.log(share / (1 - share))


def _without_activation(value: ir.Value) -> tuple[ir.Value, str | None]:
    node = value.producer()
    if node is None or node.op_type not in _MONOTONIC or node.inputs[0] is None:
        return value, None
    return node.inputs[0], node.op_type


def _take_image(graph: ir.Graph, given: ModelSpec, *, normalize: bool) -> None:
    """Name the input, make it float32, and normalize it where asked: by a 1x1 depthwise convolution, as ``freeze``."""
    image = graph.inputs[0]
    image.name, image.type = INPUT_NAME, ir.TensorType(ir.DataType.FLOAT)
    if not normalize:
        return
    scale = 1 / np.asarray(given.std, np.float32)
    weight = _constant(graph, scale.reshape(3, 1, 1, 1))
    bias = _constant(graph, -np.asarray(given.mean, np.float32) * scale)
    uses = list(image.uses())
    first = graph[0]
    nodes: list[ir.Node] = []

    def add(name: str, inputs: Sequence[ir.Value], attributes: dict[str, Any]) -> ir.Value:
        made = ir.Value(name=_unused(graph, f"normalization_{len(nodes)}"))
        nodes.append(ir.node(name, list(inputs), attributes, outputs=[made], name=made.name))
        return made

    value = image if given.layout == "nchw" else add("Transpose", [image], {"perm": [0, 3, 1, 2]})
    value = add("Conv", [value, weight, bias], {"group": 3})
    value = value if given.layout == "nchw" else add("Transpose", [value], {"perm": [0, 2, 3, 1]})
    for node, index in uses:
        node.replace_input_with(index, value)
    graph.insert_before(first, nodes)


def _free_names(graph: ir.Graph) -> None:
    """Rename what has a name that the input or the output gets."""
    taken = {INPUT_NAME, *OUTPUT_NAMES.values()}
    values = [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]
    for value in values:
        if value.name in taken and not value.is_graph_output():
            value.name = _unused(graph, f"{value.name}_given")


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model without functions of its own, which PyTorch's newer exporter writes."""
    return onnx.inliner.inline_local_functions(model) if model.functions else model


def _of_known_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model of an opset that the quantizer takes: weights with a scale for each channel need 13."""
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
    if opset >= OPSETS[0]:
        return model
    try:
        return onnx.version_converter.convert_version(model, DEFAULT_OPSET)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        raise UnsupportedModel(
            f"the model has opset {opset}, and onnx cannot make {DEFAULT_OPSET} of it: "
            f"{' '.join(str(error).split())[:200]}. Export it again with opset {OPSETS[0]} or newer."
        ) from error


def _in_float32(model: onnx.ModelProto) -> None:
    """Make float16 tensors float32, in place: weights, casts, and what is computed of them."""
    for tensor in _tensors(model):
        if tensor.data_type == _HALF:
            tensor.CopyFrom(onnx.numpy_helper.from_array(_array(tensor).astype(np.float32), tensor.name))
    for node in _nodes(model.graph):
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == _HALF:
                attribute.i = _FLOAT
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type == _HALF:
            value.type.tensor_type.elem_type = _FLOAT
    del model.graph.value_info[:]


def _fix_input(model: onnx.ModelProto, spec: ModelSpec) -> None:
    """Give the only input batch 1 and its size; the shapes of outputs follow from it."""
    constants = {tensor.name for tensor in model.graph.initializer}
    fed = [value for value in model.graph.input if value.name not in constants]  # before IR 4 constants are inputs too
    del model.graph.input[:]
    model.graph.input.extend(fed)
    height, width = spec.input_size
    shape = (1, 3, height, width) if spec.layout == "nchw" else (1, height, width, 3)
    dims = model.graph.input[0].type.tensor_type.shape.dim
    for dim, side in zip(dims, shape, strict=True):
        dim.dim_value = side
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")


def _constant(graph: ir.Graph, array: NDArray[Any]) -> ir.Value:
    return add_constant(graph, _unused(graph, "edgeseg_constant"), array)


def _unused(graph: ir.Graph, name: str) -> str:
    """Return a name that no value of a graph has."""
    taken = {value.name for node in graph for value in node.outputs} | set(graph.initializers)
    taken |= {value.name for value in graph.inputs}
    number = 0
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph and of those inside it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.type in (5, 10) else ():
                yield from _nodes(inner)


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield the constants of a model."""
    yield from model.graph.initializer
    for node in _nodes(model.graph):
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t


def _array(tensor: onnx.TensorProto) -> NDArray[Any]:
    return np.asarray(onnx.numpy_helper.to_array(tensor))
