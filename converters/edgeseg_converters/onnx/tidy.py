"""What tf2onnx leaves behind, put right: output sizes, work on constants, transposes, normalizations.

1. ``exact_sizes``: tf2onnx writes the size of a resize as float scales, and a runtime floors ``side * scale``: 7 to 31
   gives 30. Such a Resize gets its size as integers; whole scales are exact and stay, as some providers want them.
   Where it writes a size, it writes empty scales as well, which the fp16 tool makes a second size of: they go.
2. ``add_computed_biases``: tf2onnx takes a map of one pixel that is added, DeepLab's image pooling, as the bias of the
   convolution before. Integers and most providers want constants there: it becomes an Add again.
3. ``optimize``: ONNX Runtime's own "basic" passes, once, at export. They are those that hold for every provider:
   constants folded, Pad, Mul and Add taken into the convolution before or after them, Transposes pushed through the
   graph until they meet and cancel. Of what was tried on the zoo only these and onnxslim fold a Mul into a
   convolution; onnxscript and onnxoptimizer leave it. These are the ones that the CPU provider runs on any file
   anyway, so the file is what was measured, and every other reader of ONNX gets it as clean.
4. ``join_normalizations``: a batch normalization behind an activation is no part of a convolution and arrives as Mul
   and Add; as one BatchNormalization it stays in ONNX Runtime's blocked layout, where two elementwise ops leave it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper


def tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """All of them, in order.

    Args:
        model: of fixed shapes, float32, as tf2onnx wrote it; it is changed.

    Returns:
        A model with the same inputs and outputs that computes the same, beyond float rounding of folded constants.
    """
    exact_sizes(model)
    drop_empty_scales(model.graph)
    add_computed_biases(model.graph)
    model = optimize(model)
    join_normalizations(model)
    return model


def exact_sizes(model: onnx.ModelProto) -> int:
    """Give every Resize whose scales are no whole numbers its output size as int64 instead.

    A float32 scale is within 6e-8 of ``out / in``. Enlarged by 5e-7 it is above it after any rounding, so that what is
    floored is the size that was meant, for every side below a million; one inference then gives the sizes of all.

    Args:
        model: is changed.

    Returns:
        How many were changed.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    todo = [node for node in model.graph.node if node.op_type == "Resize" and _fractional(node, constants)]
    if not todo:
        return 0
    enlarged = {
        name: numpy_helper.from_array(numpy_helper.to_array(constants[name]) * np.float32(1 + 2**-21), name)
        for name in {node.input[2] for node in todo}
    }
    shapes = _shapes(model, enlarged)
    for count, node in enumerate(todo):
        name = f"{node.output[0]}_size_{count}"
        sizes = np.array(shapes[node.output[0]], np.int64)
        model.graph.initializer.append(numpy_helper.from_array(sizes, name))
        node.input[:] = [node.input[0], "", "", name]
    return len(todo)


def drop_empty_scales(graph: onnx.GraphProto) -> None:
    """Leave out, of every Resize to a size, the scales and the region that it does not read, in place."""
    for node in graph.node:
        if node.op_type == "Resize" and len(node.input) == 4 and not _reads_a_region(node):
            node.input[1:3] = ["", ""]


def _reads_a_region(node: onnx.NodeProto) -> bool:
    return any(helper.get_attribute_value(attribute) == b"tf_crop_and_resize" for attribute in node.attribute)


def add_computed_biases(graph: onnx.GraphProto) -> int:
    """Put an Add behind every convolution whose bias is no constant.

    Args:
        graph: is changed.

    Returns:
        How many there were.
    """
    constants = {tensor.name for tensor in graph.initializer}
    todo = [node for node in graph.node if node.op_type == "Conv" and len(node.input) > 2]
    todo = [node for node in todo if node.input[2] not in constants]
    for node in todo:
        result, bias = node.output[0], node.input.pop()
        linear, column, axes = f"{result}_linear", f"{result}_column", f"{result}_axes"
        node.output[0] = linear
        graph.initializer.append(numpy_helper.from_array(np.array([1, 2], np.int64), axes))
        behind = list(graph.node).index(node) + 1
        graph.node.insert(behind, helper.make_node("Unsqueeze", [bias, axes], [column], name=column))
        graph.node.insert(behind + 1, helper.make_node("Add", [linear, column], [result], name=f"{result}_add"))
    return len(todo)


def optimize(model: onnx.ModelProto) -> onnx.ModelProto:
    """Run ONNX Runtime's basic passes and read the result back.

    Args:
        model: any valid model below 2 GB.

    Returns:
        A new model, of standard ops only.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        optimized = onnx.load(path)
    used = {node.domain for node in optimized.graph.node} | {""}
    kept = [opset for opset in optimized.opset_import if opset.domain in used]
    del optimized.opset_import[:]
    optimized.opset_import.extend(kept)
    _drop_unread(optimized.graph)  # the passes leave the Transposes of outputs that nobody reads
    optimized.producer_name, optimized.producer_version = model.producer_name, model.producer_version
    return optimized


def join_normalizations(model: onnx.ModelProto) -> int:
    """Make ``x * scale + offset`` with a value for each channel one BatchNormalization.

        Given:   y = Add(Mul(x, scale), offset)                      x (1, C, H, W), scale and offset (C, 1, 1)
        Result:  y = BatchNormalization(x, scale, offset, 0, 1)      epsilon 0

    Also a Mul without an Add. With mean 0, variance 1 and epsilon 0 it computes the same two operations.

    Args:
        model: is changed.

    Returns:
        How many were made.
    """
    graph = model.graph
    shapes = _shapes(model)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    outputs = {output.name for output in graph.output}
    made = 0
    removed: list[onnx.NodeProto] = []
    for mul in [node for node in graph.node if node.op_type == "Mul"]:
        found = _by_channel(mul, shapes, constants)
        if found is None:
            continue
        x, scale = found
        offset, last = np.zeros_like(scale), mul
        following = users.get(mul.output[0], [])
        if len(following) == 1 and following[0].op_type == "Add" and mul.output[0] not in outputs:
            added = _by_channel(following[0], shapes, constants)
            if added is not None and added[0] == mul.output[0]:
                offset, last = added[1], following[0]
        names = [f"{last.output[0]}_{part}" for part in ("scale", "offset", "mean", "variance")]
        values = (scale, offset, np.zeros_like(scale), np.ones_like(scale))
        graph.initializer.extend(numpy_helper.from_array(v, n) for v, n in zip(values, names, strict=True))
        norm = helper.make_node("BatchNormalization", [x, *names], [last.output[0]], name=last.name, epsilon=0.0)
        removed.extend([mul] if last is mul else [mul, last])
        graph.node.insert(list(graph.node).index(last), norm)
        made += 1
    for node in removed:
        graph.node.remove(node)
    _drop_unread(graph)
    return made


def _fractional(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    if len(node.input) != 3 or node.input[2] not in constants:
        return False
    scales = numpy_helper.to_array(constants[node.input[2]])
    return bool((scales != np.rint(scales)).any())


def _shapes(model: onnx.ModelProto, instead: Mapping[str, onnx.TensorProto] | None = None) -> dict[str, list[int]]:
    """The shape of every tensor but the small constants.

    Args:
        model: is read.
        instead: vectors to take in the place of the model's own.
    """
    graph = model.graph
    bare = onnx.GraphProto(
        name=graph.name, node=graph.node, input=graph.input, output=graph.output, value_info=graph.value_info
    )
    for tensor in graph.initializer:
        if len(tensor.dims) < 2:  # sizes, paddings, scales
            bare.initializer.append((instead or {}).get(tensor.name, tensor))
        else:  # of weights only the shape counts, and there may be a gigabyte of them
            bare.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    made = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, graph=bare)
    made.functions.extend(model.functions)
    inferred = onnx.shape_inference.infer_shapes(made).graph
    values = [*inferred.input, *inferred.value_info, *inferred.output]
    return {value.name: [side.dim_value for side in value.type.tensor_type.shape.dim] for value in values}


def _by_channel(
    node: onnx.NodeProto, shapes: dict[str, list[int]], constants: dict[str, onnx.TensorProto]
) -> tuple[str, NDArray[np.float32]] | None:
    """The other input and the constant ``(C,)``, of an op on ``(1, C, H, W)`` and one value for each channel."""
    for x, name in (node.input, reversed(node.input)):
        if name in constants and x not in constants and len(shapes.get(x, ())) == 4:
            value, channels = numpy_helper.to_array(constants[name]), shapes[x][1]
            if value.dtype == np.float32 and value.shape[-3:] == (channels, 1, 1) and value.size == channels:
                return x, value.reshape(channels)
    return None


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Remove nodes and constants that nobody reads."""
    read = {output.name for output in graph.output}
    for node in reversed(list(graph.node)):  # in the order of the graph: its readers were seen before it
        if read.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            read.update(node.input)
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
