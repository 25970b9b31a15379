"""Name the op by which an artifact departs from its model.

The artifact is run on one image with all its tensors as outputs. In a copy of the frozen function, which is what was
converted, every value that the artifact has as well is replaced by the artifact's own, so that TensorFlow computes each
op from what that op got in the artifact. What then differs was done by this op alone, and not by those before it.

Converters rename, fuse and transpose. So a tensor is paired with the value of the same layer that is nearest to it, or
with the nearest of all where its name says nothing; what has no partner is passed over, and counts to the op after it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import onnx_ir as ir
import onnxruntime
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgeseg.choices import Format
from edgeseg.runtime import default_threads
from edgeseg_converters.keras_model.unsupported_ops import Places
from edgeseg_converters.onnx.file import read, write
from edgeseg_converters.onnx.passes.shapes import InferShapes
from edgeseg_converters.onnx.passes.taps import ReturnValues
from edgeseg_converters.tflite.graph import TfliteGraph

_SAMPLED = 1024  # values of a tensor, to find its partner
_FAR = 0.5  # a layer's value beyond this is another one: without its ReLU a map is off by 0.7, by chance by 1.4
_NEAR = 0.01  # as near a partner must be whose name says nothing
_STANDS_OUT = 10  # times the error of the median op
_REWRITTEN = 1e-3  # of the largest score: what float32 is allowed; the proof of a rewrite allows far less at its place
_LARGEST = 1 << 30  # bytes of tensors that are compared; of more, evenly chosen ones
_NAMED = 3  # layers in a sentence
_PASSIVE = ("Identity", "IdentityN", "StopGradient")


@dataclass(frozen=True)
class OpError:
    """How far an op of an artifact is from TensorFlow's, from the same inputs.

    Attributes:
        ops: TensorFlow's ops between the inputs and the result, the last one last.
        places: the names and classes of their layers, as ``Places`` gives them.
        error: ``sqrt(sum((x - y)^2) / sum(y^2))`` of the artifact's result ``x``.
    """

    ops: tuple[str, ...]
    places: tuple[tuple[str, str], ...]
    error: float

    def __str__(self) -> str:
        """Return the ops and the layers."""
        named = [f"'{path}' ({kind})" if kind else f"'{path}'" for path, kind in self.places[-_NAMED:]]
        return f"{', '.join(self.ops[-_NAMED:])} in {', '.join(named)}"


@dataclass(frozen=True)
class Departure:
    """How an artifact differs from its model on an image.

    Attributes:
        errors: of the ops that could be compared, in the order of the model.
        before: the largest difference of a score of the frozen function from Keras, which the rewrites made, over the
            largest absolute score.
    """

    errors: tuple[OpError, ...]
    before: float

    @property
    def worst(self) -> OpError:
        """The op that differs most."""
        return max(self.errors, key=lambda op: op.error)

    @property
    def median(self) -> float:
        """The error of the median op, of those that round: a concatenation, say, is exact."""
        return float(np.median([op.error for op in self.errors if op.error > 0] or [0.0]))

    @property
    def stands_out(self) -> bool:
        """Whether one op differs far more than the others."""
        return bool(self.errors) and self.worst.error > _STANDS_OUT * self.median

    def sentence(self, error: float) -> str:
        """Say where a difference comes from, without a full stop.

        Args:
            error: the largest difference of a score of the artifact from Keras, over the largest absolute score.
        """
        if self.before > max(error / 2, _REWRITTEN):
            return "the rewrites before the conversion are the cause; `optimize=False` omits the speed-ups"
        if not self.errors:
            return "none of its ops could be compared alone"
        worst = f"{self.worst}, off by {_share(self.worst.error)}"
        if self.stands_out:
            return f"the op that departs is {worst}, half of the ops by {_share(self.median)}"
        return f"no op stands out: the worst is {worst}"


def departure(
    artifact: bytes,
    file_format: Format,
    tensor: NDArray[Any],
    scores: NDArray[np.float32],
    *,
    frozen: Any,
    model: keras.Model,
) -> Departure:
    """Find what each op of an artifact does otherwise.

    Args:
        artifact: the file's bytes.
        file_format: of them.
        tensor: an image as the artifact takes it.
        scores: what Keras gives, ``(1, h, w, C)``.
        frozen: the function that was converted.
        model: the user's, whose layers are named.
    """
    values = (_tflite_values if file_format == "tflite" else _onnx_values)(artifact, tensor)
    image = tensor.astype(np.float32)
    if tuple(frozen.inputs[0].shape) != image.shape:  # an NCHW file
        image = image.transpose(0, 2, 3, 1)
    function = _Function(frozen, image)
    given = function.partners(_evenly(values))
    before = float(np.abs(function.scores() - scores).max() / max(np.abs(scores).max(), 1e-30))
    return Departure(tuple(function.errors(given, Places(model))), before)


@dataclass(frozen=True)
class _Value:
    """A tensor of an artifact."""

    name: str
    array: NDArray[np.float32]


class _Function:
    """The frozen function on one image."""

    def __init__(self, frozen: Any, image: NDArray[np.float32]) -> None:
        self._definition = frozen.graph.as_graph_def()
        self._graph = frozen.graph
        self._source, self._result = frozen.inputs[0], frozen.outputs[0]
        self._image = image
        self._computed = _computed(self._result.op, self._source.op)

    def scores(self) -> NDArray[np.float32]:
        """Return the scores, also where the function gives a class map."""
        result = self._result
        while result.op.type in ("Identity", "Cast", "ArgMax"):
            result = result.op.inputs[0]
        with tf.compat.v1.Session(graph=self._graph) as session:
            return np.asarray(session.run(result.name, {self._source.name: self._image}))

    def partners(self, values: Iterable[_Value]) -> dict[str, NDArray[np.float32]]:
        """Return the artifact's value of each op that has a partner."""
        candidates = [op for op in self._computed if op.type not in _PASSIVE and _is_map(op.outputs[0])]
        samples = dict(zip((op.name for op in candidates), self._samples(candidates), strict=True))
        by_shape: dict[tuple[int, ...], list[str]] = defaultdict(list)
        for op in candidates:
            by_shape[tuple(op.outputs[0].shape)].append(op.name)
        given: dict[str, NDArray[np.float32]] = {}
        for value in values:
            nearest: tuple[float, str, NDArray[np.float32]] | None = None
            for array in _layouts(value.array):
                own = array.reshape(-1)[_places(array.size)]
                found = _partner(value.name, own, {name: samples[name] for name in by_shape.get(array.shape, ())})
                if found is not None and (nearest is None or found[0] < nearest[0]):
                    nearest = (*found, array)
            if nearest is not None:
                given.setdefault(nearest[1], nearest[2])
        return given

    def _samples(self, ops: Sequence[tf.Operation]) -> list[NDArray[np.float32]]:
        """Return some values of the results of ops, so that not all results are in memory at once."""
        graph = tf.Graph()
        with graph.as_default():
            tf.graph_util.import_graph_def(self._definition, name="")
            some = [
                tf.gather(tf.reshape(result, [-1]), _places(result.shape.num_elements()))
                for result in (graph.get_tensor_by_name(op.outputs[0].name) for op in ops)
            ]
        with tf.compat.v1.Session(graph=graph) as session:
            return list(session.run(some, {self._source.name: self._image}))

    def errors(self, given: dict[str, NDArray[np.float32]], places: Places) -> Iterable[OpError]:
        """Yield the error of each op whose result is given, computed from the given inputs."""
        names = [op.name for op in self._computed if op.name in given]
        definition = tf.compat.v1.GraphDef()
        definition.CopyFrom(self._definition)
        for node in definition.node:
            node.input[:] = [_fed(name) if name.removesuffix(":0") in given else name for name in node.input]
        for name in names:
            dtype, shape = tf.float32.as_datatype_enum, tf.TensorShape(given[name].shape).as_proto()
            node = definition.node.add(name=_fed(name), op="Placeholder")
            node.attr["dtype"].type = dtype
            node.attr["shape"].shape.CopyFrom(shape)
        graph = tf.Graph()
        with graph.as_default():
            tf.graph_util.import_graph_def(definition, name="")
            tensors = [[graph.get_tensor_by_name(f"{n}:0") for n in (name, _fed(name))] for name in names]
            sums = [
                tf.stack([tf.reduce_sum(tf.square(own - result)), tf.reduce_sum(tf.square(result))])
                for result, own in tensors
            ]
        feed = {self._source.name: self._image, **{f"{_fed(name)}:0": given[name] for name in names}}
        with tf.compat.v1.Session(graph=graph) as session:
            measured = session.run(sums, feed)
        computed = set(self._computed)
        for name, (noise, signal) in zip(names, measured, strict=True):
            ops = _between(self._graph.get_operation_by_name(name), given, computed)
            yield OpError(
                tuple(op.type for op in ops),
                tuple(dict.fromkeys(places.of(op.name) for op in ops)),
                float(np.sqrt(noise / max(signal, 1e-30))),
            )


def _partner(
    tensor: str, own: NDArray[np.float32], others: Mapping[str, NDArray[np.float32]]
) -> tuple[float, str] | None:
    """Return the op whose result a tensor is, and their distance; ``None`` where that is not clear."""
    distances = {name: _distance(own, sample) for name, sample in others.items()}
    of_layer = {name: d for name, d in distances.items() if _scope(name) == _scope(tensor) != "" and d < _FAR}
    at_hand = of_layer or {name: d for name, d in distances.items() if d < _NEAR}
    if not at_hand:
        return None
    name, distance = min(at_hand.items(), key=lambda item: item[1])
    # Two results that differ from each other, and from the tensor by about as much: it is neither.
    for other, far in distances.items():
        if far < 2 * distance and _distance(others[other], others[name]) > distance:
            return None
    return distance, name


def _share(error: float) -> str:
    return f"{error:.1%}" if error >= 1e-3 else f"{error:.0e}"


def _fed(name: str) -> str:
    """Return the name of the placeholder of an op's result."""
    return f"{name.removesuffix(':0')}/given"


def _computed(last: tf.Operation, source: tf.Operation) -> list[tf.Operation]:
    """Return the ops between the image and the output, each after those that it reads."""
    depends: dict[tf.Operation, bool] = {source: True}
    order: list[tf.Operation] = []
    pending = [last]
    while pending:
        op = pending[-1]
        before = [tensor.op for tensor in op.inputs]
        waiting = [other for other in before if other not in depends]
        if waiting and op not in depends:
            pending += waiting
            continue
        pending.pop()
        if op not in depends:
            depends[op] = any(depends[other] for other in before)
            if depends[op]:
                order.append(op)
    return order


def _between(last: tf.Operation, given: Collection[str], computed: Collection[tf.Operation]) -> list[tf.Operation]:
    """Return the ops that make a result from other given ones, in order."""
    found: dict[tf.Operation, None] = {}
    pending = [last]
    while pending:
        op = pending.pop()
        if op in computed and op not in found and (op is last or op.name not in given):
            found[op] = None
            pending += [tensor.op for tensor in op.inputs]
    return [op for op in reversed(found) if op.type not in _PASSIVE] or [last]


def _is_map(tensor: tf.Tensor) -> bool:
    return bool(tensor.dtype == tf.float32 and tensor.shape.is_fully_defined() and tensor.shape.num_elements() > 1)


def _scope(name: str) -> str:
    return name.rpartition("/")[0]


def _places(size: int) -> NDArray[np.int64]:
    """Return which values of a flat tensor are looked at to find its partner."""
    return np.random.default_rng(0).integers(0, size, _SAMPLED)


def _layouts(array: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return an array as it is, and for a map of NCHW as NHWC."""
    return [array, np.ascontiguousarray(array.transpose(0, 2, 3, 1))] if array.ndim == 4 else [array]


def _distance(values: NDArray[np.float32], others: NDArray[np.float32]) -> float:
    signal = float(np.square(others, dtype=np.float64).sum())
    noise = float(np.square(values - others, dtype=np.float64).sum())
    return float(np.sqrt(noise / signal)) if signal > 0 and np.isfinite(noise) else np.inf


def _evenly(values: Sequence[_Value]) -> Sequence[_Value]:
    """Return the values, or as many as may be in memory at once, evenly chosen."""
    return values[:: -(-sum(value.array.nbytes for value in values) // _LARGEST) or 1]


def _tflite_values(artifact: bytes, tensor: NDArray[Any]) -> list[_Value]:
    graph = TfliteGraph.read(artifact)
    # Indices of a delegate's pooling are no numbers to compare. The file's own output is kept, as XNNPACK crashes on an
    # unpooling that nobody reads.
    made = [t for op in graph.operators for t in op.outputs[:1] if t not in graph.outputs]
    names = [graph.tensor_name(t) for t in (*graph.outputs, *made)]
    interpreter = Interpreter(
        model_content=graph.with_outputs([*graph.outputs, *made]).write(), num_threads=default_threads()
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], tensor)
    interpreter.invoke()
    values = []
    for name, details in zip(names, interpreter.get_output_details(), strict=True):
        scales = details["quantization_parameters"]["scales"]
        array = interpreter.get_tensor(details["index"])
        if len(scales) == 1:
            zero_point = np.float32(details["quantization_parameters"]["zero_points"][0])
            array = (array.astype(np.float32) - zero_point) * np.float32(scales[0])
        if array.dtype == np.float32:
            values.append(_Value(name, array))
    return values


def _onnx_values(artifact: bytes, tensor: NDArray[Any]) -> list[_Value]:
    model = InferShapes()(read(artifact)).model
    made = [value for node in model.graph for value in node.outputs]
    names = [v.name for v in made if v.name and v.dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16)]
    source = model.graph.inputs[0].name
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = default_threads(), 3
    session = onnxruntime.InferenceSession(
        write(ReturnValues(names)(model).model), options, providers=["CPUExecutionProvider"]
    )
    return [_Value(name, array) for name, array in zip(names, session.run(None, {source: tensor}), strict=True)]
