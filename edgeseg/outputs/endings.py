"""Read what one channel of output holds: probabilities, logits or class ids, by the ops that made it or its scale."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgeseg.errors import BackendUnavailable
from edgeseg.runtime import SUFFIXES, Backend, TensorInfo
from edgeseg.runtime.onnx_ops import read_ops
from edgeseg.tflite.graph import read_graph

#: What the numbers of one channel are.
Ending = Literal["probabilities", "logits", "ids"]

# What decides what one channel holds, by the names of ops without underscores and capitals.
_ENDINGS: dict[Ending, frozenset[str]] = {
    "probabilities": frozenset({"logistic", "sigmoid", "hardsigmoid", "softmax"}),
    # tanh goes through 0 where its logits do.
    "logits": frozenset(
        {
            "conv2d", "depthwiseconv2d", "transposeconv", "fullyconnected", "conv", "convtranspose", "gemm", "matmul",
            "batchnormalization", "tanh", "dense", "conv2dtranspose", "separableconv2d",
            "convolution2dtransposebias",  # MediaPipe's own op
        }
    ),
    "ids": frozenset(
        {
            "argmax", "argmin", "greater", "greaterequal", "greaterorequal", "less", "lessequal", "lessorequal",
            "equal", "notequal", "not", "and", "or", "logicalnot", "logicaland", "logicalor", "round", "floor", "ceil",
        }
    ),
}  # fmt: skip

# Ops that move or interpolate values and keep what they mean.
_MOVES = frozenset(
    {
        "reshape", "transpose", "squeeze", "expanddims", "unsqueeze", "flatten", "identity", "dropout", "dequantize",
        "quantize", "dequantizelinear", "quantizelinear", "resizebilinear", "resizenearestneighbor", "resize",
        "upsample", "pad", "padv2", "mirrorpad", "slice", "stridedslice", "split", "splitv", "unpack", "gather",
        "depthtospace", "clip", "cast",
        # Layers of Keras; an Activation that is linear.
        "activation", "upsampling2d", "resizing", "permute", "zeropadding2d", "cropping2d", "spatialdropout2d",
    }
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Op:
    """An op as far as the end of a model needs it: its inputs that are no constants, their kind and last side."""

    name: str
    sources: tuple[Any, ...]
    whole: bool = False
    activation: bool = False
    last_axis: int | None = None


def _ops(path: str | Path, backend: Backend, data: bytes | None) -> tuple[dict[Any, _Op], Any]:
    """Return the ops of a file by what they make, and what its first output is; none where nothing reads them."""
    kind = SUFFIXES.get(Path(path).suffix.lower())
    try:
        if kind == "litert" and data is not None:
            return _tflite_ops(data, backend.outputs[0].name)
        if kind == "onnx" and data is not None:
            return _onnx_ops(data), backend.outputs[0].name
    except BackendUnavailable:  # a device without the package that reads ops
        pass
    return {}, None


def ending_of_range(result: TensorInfo) -> Ending | None:
    """Return what quantized scores are by the range that their scale gives them; 1.02: a range measured on images."""
    limits = np.iinfo(np.dtype(result.dtype))
    low, high = ((limit - result.zero_point) * result.scale for limit in (limits.min, limits.max))
    if low >= 0:
        return "probabilities" if high <= 1.02 else None
    return "logits" if high > 0 else None


def has_ops(path: str | Path, backend: Backend, data: bytes | None) -> bool:
    """Return whether the ops, or the layers, of a model can be read here."""
    return bool(_ops(path, backend, data)[0]) or getattr(backend, "graph", None) is not None


def ids_of_argmax(path: str | Path, backend: Backend, data: bytes | None) -> int | None:
    """Return how many classes the argmax at the end of a ``.tflite`` file chooses from; ``None`` where it has none."""
    ops, last = _ops(path, backend, data)
    while (op := ops.get(last)) is not None and op.sources:
        if op.name == "argmax":
            return op.last_axis
        if op.name not in _MOVES:
            break
        last = op.sources[0]
    return None


def ending_of(path: str | Path, backend: Backend, data: bytes | None) -> Ending | None:
    """Return what the first output holds by the ops that made it; ``None`` where they do not say."""
    kind = SUFFIXES.get(Path(path).suffix.lower())
    if kind in ("mnn", "openvino"):  # nothing here reads their ops
        return None
    if kind not in ("litert", "onnx"):
        return _ending_of_layers(backend)
    ops, last = _ops(path, backend, data)
    while (op := ops.get(last)) is not None:
        if op.activation:
            return None
        for ending, names in _ENDINGS.items():
            if op.name in names:
                return ending
        if op.name == "cast" and op.whole:
            return "ids"
        # A bias that the converter could not put into a transposed convolution.
        linear = op.name == "add" and len(op.sources) == 1 and ops.get(op.sources[0])
        if linear and linear.name in _ENDINGS["logits"]:
            return "logits"
        if op.name not in _MOVES or not op.sources:
            return None
        last = op.sources[0]
    return None


def _tflite_ops(data: bytes, output: str) -> tuple[dict[Any, _Op], Any]:
    graph = read_graph(data)
    ops: dict[Any, _Op] = {}
    for node in graph.nodes:
        sources = tuple(tensor for tensor in node.inputs if not graph.tensors[tensor].constant)
        whole = any(graph.tensors[tensor].dtype.startswith(("INT", "UINT", "BOOL")) for tensor in sources)
        fused = bool(node.option("fusedActivationFunction"))
        shape = graph.tensors[sources[0]].shape if sources else ()
        op = _Op(
            name=node.op.replace("_", "").lower(),
            sources=sources,
            whole=whole,
            activation=fused,
            last_axis=shape[-1] if shape else None,
        )
        ops |= dict.fromkeys(node.outputs, op)
    subgraph = graph.model.subgraphs[0]
    named = [int(i) for i in subgraph.outputs if (subgraph.tensors[i].name or b"").decode() == output]
    return ops, (named or [int(subgraph.outputs[0])])[0]


def _onnx_ops(data: bytes) -> dict[Any, _Op]:
    ops = read_ops(data).ops
    made = {name for op in ops for name in op.outputs}
    # By the numbers of TensorProto.DataType: everything but float, float16, double and bfloat16.
    found = {
        name: _Op(
            name=op.name.lower(),
            sources=tuple(source for source in op.inputs if source in made),
            whole=op.attributes.get("to") not in (None, 1, 10, 11, 16),
            activation=bool(op.domain),
        )
        for op in ops
        for name in op.outputs
    }
    return found


def _ending_of_layers(backend: Backend) -> Ending | None:
    """Return what a Keras model gives, by its final activation, or by the last layer that is more than a move."""
    from edgeseg.models.ending import final_activation, steps_of

    graph, tensor = (getattr(backend, name, None) for name in ("graph", "tensor"))
    if graph is None:
        return None
    producer = steps_of(graph)
    if (final := final_activation(tensor, producer)) is not None:
        return None if final.name == "log_softmax" else "probabilities"
    while (step := producer(tensor)) is not None:
        activation = getattr(step.operation, "activation", None)
        name = getattr(activation, "__name__", "linear" if activation is None else "")
        name = type(step.operation).__name__ if name == "linear" else name
        name = name.replace("_", "").lower()
        for ending, names in _ENDINGS.items():
            if name in names:
                return ending
        if name not in _MOVES or not step.inputs:
            return None
        tensor = step.inputs[0]
    return None
