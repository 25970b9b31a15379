"""Find what a model ends in: a softmax, sigmoid or log_softmax, and a Reshape that puts all pixels in one axis.

An activation is found from the ops that TensorFlow runs for the last calls, however it is written: as a layer, as a
layer's ``activation``, as an operation of ``keras.ops``, or in the code of a user's layer; also where a cast, a
Dropout, an Identity or a Reshape follows it. A function that TensorFlow calls (a ``tf.function``, a SavedModel) is not
looked into. A flattening is found from the layers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import keras
from keras import tree

from edgeseg.errors import UnsupportedModel
from edgeseg.models.keras_errors import reason_of
from edgeseg.models.keras_graph import graph_of, takes_training
from edgeseg.models.keras_internals import call_of

# The order of the classes is the same before and after them.
ACTIVATIONS = {"Softmax": "softmax", "Sigmoid": "sigmoid", "LogSoftmax": "log_softmax"}

# They give the values that they take, in the same order.
_SAME = {"Identity", "Snapshot", "StopGradient", "PreventGradient", "EnsureShape", "CheckNumerics", "Cast"}
_RESHAPING = {"Reshape", "Squeeze", "ExpandDims"}
# They repeat or drop pixels: an activation of each pixel could as well come after them.
_MOVING = {"Slice", "StridedSlice", "Tile", "BroadcastTo", "ResizeNearestNeighbor"}

# The same by the classes of Keras, for its other backends, which run no ops of TensorFlow.
_SAME_LAYERS = {"Identity", "Cast", "Dropout", "SpatialDropout2D"}
_RESHAPING_LAYERS = {"Reshape", "Squeeze", "Flatten"}


class Step(Protocol):
    """One call of a layer or an operation, as a graph records it; ``keras_internals.Call`` is one.

    Attributes:
        operation: the layer or operation.
        args: its positional arguments, with a symbolic value where a tensor was.
        kwargs: its keyword arguments, likewise.
        inputs: the symbolic values among the arguments, in order, each with ``shape`` and ``dtype``.
        outputs: the symbolic values that it makes.
    """

    @property
    def operation(self) -> Any: ...  # noqa: D102 - see the class
    @property
    def args(self) -> tuple[Any, ...]: ...  # noqa: D102
    @property
    def kwargs(self) -> dict[str, Any]: ...  # noqa: D102
    @property
    def inputs(self) -> tuple[Any, ...]: ...  # noqa: D102
    @property
    def outputs(self) -> tuple[Any, ...]: ...  # noqa: D102


#: Returns the step that makes a symbolic value; ``None`` for an input of the model.
Producer = Callable[[Any], Step | None]


@dataclass(frozen=True, kw_only=True)
class FinalActivation:
    """An activation whose values are only passed on to the end of a model.

    Attributes:
        name: ``softmax``, ``sigmoid`` or ``log_softmax``.
        step: the call that computes it.
        value: the output of the step that it reaches.
        before: the input of the step, of the same shape, that it is taken of, where the step does nothing else but
            perhaps change the dtype; ``None`` where it does.
        is_attribute: whether the step is a layer of Keras whose attribute ``activation`` it is.
    """

    name: str
    step: Step
    value: Any
    before: Any = None
    is_attribute: bool = False


def final_activation(value: Any, producer: Producer) -> FinalActivation | None:
    """Return the last activation of a model, where nothing that computes follows it.

    Args:
        value: an output of the model.
        producer: gives the steps of the model.
    """
    of_ops = keras.backend.backend() == "tensorflow"
    keeps_rows = True
    while (step := producer(value)) is not None:
        end = _end_by_ops(step, value) if of_ops else _end_by_class(step, value)
        keeps_rows = keeps_rows and end.keeps_rows
        if end.activation is not None:
            # A sigmoid is taken of each number, the others of each row of numbers along the last axis.
            return end.activation if keeps_rows or end.activation.name == "sigmoid" else None
        if end.passed is None:
            return None
        value = end.passed
    return None


def final_activations(value: Any, producer: Producer) -> Iterator[FinalActivation]:
    """Yield the activations that a model ends in, the last one first, down to one in a step that does more.

    Args:
        value: an output of the model.
        producer: gives the steps of the model.
    """
    while value is not None and (final := final_activation(value, producer)) is not None:
        yield final
        value = final.before


@dataclass(frozen=True, kw_only=True)
class FinalFlattening:
    """A Reshape at the end of a model that puts the pixels of a map in one axis, or drops the axis of one channel.

    Attributes:
        step: the call of the Reshape.
        source: the map ``(B, H, W, C)`` that it takes.
        activations: the calls that follow it, in order; each works on every value or pixel alone.
    """

    step: Step
    source: Any
    activations: tuple[Step, ...]


def final_flattening(value: Any, producer: Producer) -> FinalFlattening | None:
    """Return the flattening that a model ends in, where nothing but activations of Keras follows it.

    Args:
        value: an output of the model: ``(B, H * W, C)``; or of one channel ``(B, H, W)`` or ``(B, H * W)``.
        producer: gives the steps of the model.
    """
    activations: list[Step] = []
    step = producer(value)
    while step is not None and _is_activation(step):
        activations.insert(0, step)
        step = producer(step.inputs[0])
    if step is None or _keras_kind(step) not in _RESHAPING_LAYERS:
        return None
    (source,) = step.inputs
    flat, sides = tuple(step.outputs[0].shape[1:]), tuple(source.shape[1:])
    if len(sides) != 3:
        return None
    height, width, channels = sides
    if len(flat) == 2 and flat[1] == channels:
        return FinalFlattening(step=step, source=source, activations=tuple(activations))
    if channels != 1 or None in sides or flat not in ((height, width), (height * width,)):
        return None
    # Over the last axis, which is a row of the image, or all of it.
    if any("softmax" in _name_of_activation(each).lower() for each in activations):
        return None
    return FinalFlattening(step=step, source=source, activations=tuple(activations))


def _is_activation(step: Step) -> bool:
    """Return whether a step works on each value or pixel alone: an activation of Keras, over the last axis if any."""
    kind = _keras_kind(step)
    if kind in ("Softmax", "LogSoftmax"):
        return step.operation.axis in (-1, len(step.inputs[0].shape) - 1)
    function: Any = step.operation.activation if kind == "Activation" else None
    return kind == "Sigmoid" or str(getattr(function, "__module__", "")).startswith("keras.")


def _keras_kind(step: Step) -> str:
    """Return the class name of a layer or operation of Keras; empty for another's."""
    kind = type(step.operation)
    return kind.__name__ if kind.__module__.split(".")[0] == "keras" else ""


def _name_of_activation(step: Step) -> str:
    """Return the name of a step that ``_is_activation``."""
    function = getattr(step.operation, "activation", None)
    return getattr(function, "__name__", type(step.operation).__name__)


def require_more_than_one(final: FinalActivation, channels: int | None) -> None:
    """Refuse a softmax over one channel.

    Raises:
        UnsupportedModel: it gives 1 everywhere, or its logarithm 0.
    """
    if final.name != "sigmoid" and channels == 1:
        raise UnsupportedModel(
            f"the model ends in a {final.name} over one channel, which gives the same everywhere; "
            "a model of one channel ends in a sigmoid."
        )


def steps_of(model: keras.Model) -> Producer:
    """Return the producer for a functional model; the calls in a nested model take the place of the call to it.

    Args:
        model: its outputs are what the producer starts from.
    """
    inputs = {id(tensor) for tensor in graph_of(model).inputs}
    outside: dict[int, Any] = {}  # what a nested model was called on, by the ids of its own inputs

    def producer(value: Any) -> Step | None:
        tensor = value
        while id(tensor) not in inputs:
            call = call_of(tensor)
            inner = graph_of(call.operation)
            if inner is not None:
                outside.update(zip(map(id, inner.inputs), call.inputs, strict=True))
                tensor = inner.outputs[_position(call, tensor)]
            elif id(tensor) in outside:
                tensor = outside[id(tensor)]
            else:  # its output, by the name that it has outside
                return dataclasses.replace(call, outputs=tuple(value if x is tensor else x for x in call.outputs))
        return None

    return producer


def traced(step: Step, value: Any) -> Any:
    """Return TensorFlow's tensor of one of a step's outputs, in a graph that takes the step's inputs in order.

    Raises:
        UnsupportedModel: the step's code fails, as that of a layer with a setting beyond all numbers.
    """
    import tensorflow as tf  # here, as a training on another backend needs none of it

    # As Keras does in predict, also where the graph says training=True.
    mode = {"training": False} if takes_training(step.operation) else {}

    def run(*tensors: Any) -> Any:
        given = dict(zip(map(id, step.inputs), tensors, strict=True))
        args, kwargs = tree.map_structure(lambda leaf: given.get(id(leaf), leaf), (step.args, step.kwargs))
        with tf.name_scope("step"):  # at the root of a graph a layer's name may not begin with _
            return tree.flatten(step.operation(*args, **(kwargs | mode)))[_position(step, value)]

    specs = [tf.TensorSpec(fed.shape, fed.dtype) for fed in step.inputs]
    try:
        (output,) = tf.function(run, autograph=False).get_concrete_function(*specs).outputs
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
        tf.errors.OpError,
    ) as error:
        name = getattr(step.operation, "name", type(step.operation).__name__)
        raise UnsupportedModel(f"the layer '{name}' fails when it is called: {reason_of(error)}") from error
    return source(output)


def source(tensor: Any) -> Any:
    """Return the tensor that the ops before this one only pass on."""
    while tensor.op.type == "Identity":
        tensor = tensor.op.inputs[0]
    return tensor


def fed_from(step: Step, tensor: Any) -> Any:
    """Return the step's input that a tensor of ``traced`` is; ``None`` where it is no input, or a variable."""
    if tensor.op.type != "Placeholder":
        return None
    names = [fed.name for fed in tensor.graph.inputs]  # the variables come after the fed inputs
    return dict(zip(names, step.inputs, strict=False)).get(tensor.name)


def passed_on(tensor: Any) -> list[Any]:
    """Return a tensor of TensorFlow's and those before it that ops only pass on, the one that is computed last."""
    tensors = [tensor]
    while tensor.op.type in _SAME | _RESHAPING | _MOVING:
        given = tensor.op.inputs[0]
        # Not a mask made a number, and no rounding, after which more classes are equally likely.
        if not given.dtype.is_floating or not tensor.dtype.is_floating or tensor.dtype.size < given.dtype.size:
            break
        tensor = given
        tensors.append(tensor)
    return tensors


@dataclass(frozen=True)
class _End:
    """What one step does to a value at the end of a model.

    Attributes:
        activation: that it ends in.
        passed: the input that the step only passes on.
        keeps_rows: whether the numbers of a pixel stay together on the way from there.
    """

    activation: FinalActivation | None = None
    passed: Any = None
    keeps_rows: bool = True


def _end_by_ops(step: Step, value: Any) -> _End:
    tensors = passed_on(traced(step, value))
    keeps_rows = all(map(_keeps_rows, tensors[:-1]))
    op = tensors[-1].op
    passed = fed_from(step, tensors[-1])
    if passed is not None or op.type not in ACTIVATIONS:
        return _End(passed=passed, keeps_rows=keeps_rows)
    started = passed_on(op.inputs[0])
    before = fed_from(step, started[-1])
    is_moved = any(tensor.op.type in _MOVING for tensor in (*tensors, *started))
    if before is not None and (is_moved or tuple(before.shape) != tuple(value.shape)):
        before = None
    is_last = all(tensor.op.type == "Identity" for tensor in tensors[:-1])
    is_attribute = before is None and is_last and _is_its_activation(step.operation, op.type)
    name = ACTIVATIONS[op.type]
    return _End(
        FinalActivation(name=name, step=step, value=value, before=before, is_attribute=is_attribute),
        keeps_rows=keeps_rows,
    )


def _keeps_rows(tensor: Any) -> bool:
    sides = tensor.shape, tensor.op.inputs[0].shape
    return all(side.rank and side[-1] is not None for side in sides) and sides[0][-1] == sides[1][-1]


def _is_its_activation(layer: Any, op_type: str) -> bool:
    """Return whether an operation is a layer of Keras whose attribute ``activation`` is the op and nothing else."""
    import tensorflow as tf

    activation = _activation_of(layer)
    if activation is None:
        return False
    (output,) = tf.function(activation, autograph=False).get_concrete_function(tf.TensorSpec((1, 2, 2, 2))).outputs
    end = source(output).op
    return bool(end.type == op_type and source(end.inputs[0]).op.type == "Placeholder")


def _activation_of(layer: Any) -> Any:
    """Return the attribute ``activation`` of a layer of Keras; ``None`` where there is none."""
    is_keras = isinstance(layer, keras.layers.Layer) and type(layer).__module__.split(".")[0] == "keras"
    activation = getattr(layer, "activation", None) if is_keras else None
    return activation if callable(activation) else None


def _end_by_class(step: Step, value: Any) -> _End:
    name = _keras_kind(step)
    activation = getattr(_activation_of(step.operation), "__name__", "")
    before = step.inputs[0] if step.inputs else None
    if name in _SAME_LAYERS or (name == "Activation" and activation == "linear"):
        return _End(passed=before)
    if name in _RESHAPING_LAYERS:
        return _End(passed=before, keeps_rows=step.inputs[0].shape[-1] == value.shape[-1])
    ending = ACTIVATIONS.get(name, activation)
    axis = getattr(step.operation, "axis", -1)
    if ending not in ACTIVATIONS.values() or (ending != "sigmoid" and axis not in (-1, len(value.shape) - 1)):
        return _End()
    is_whole = name in ACTIVATIONS or name == "Activation"
    return _End(
        FinalActivation(
            name=ending, step=step, value=value, before=before if is_whole else None, is_attribute=not is_whole
        )
    )


def _position(step: Step, value: Any) -> int:
    return next(index for index, output in enumerate(step.outputs) if output is value)
