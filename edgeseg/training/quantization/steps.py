"""Read a functional model as the steps that an integer file computes: what is one op there is one step here.

A convolution takes the batch norm and the ReLU after it with it, as the converters do, so that nothing is rounded
between them. Values that have one scale in the file share a range here: what only moves values (pooling, resizing,
padding, reshaping) has that of its input, and a concatenation that of its inputs. That holds for TFLite, where
litert-quantizer and the kernels ask for it; an ONNX file is given the same ranges.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import keras

from edgeseg.errors import UnsupportedModel
from edgeseg.models.keras_graph import graph_of
from edgeseg.models.keras_internals import calls_of

Kind = Literal["filter", "add", "multiply", "concat", "move", "mean", "activation"]
Activation = Literal["linear", "relu", "relu6", "sigmoid"]

#: Layers that pass the values on, at inference.
_PASS = frozenset({"Dropout", "SpatialDropout2D", "GaussianDropout", "Identity"})
#: Layers whose result has the scale of their input.
MOVES = frozenset(
    {"AveragePooling2D", "Cropping2D", "Flatten", "MaxPooling2D", "Permute", "Reshape", "Resizing", "UpSampling2D"}
    | {"ZeroPadding2D", "MaxPoolingWithArgmax2D", "MaxUnpooling2D", "UpsampleLike", "ResizeBilinear", "LegacyResize"}
)
_FILTERS = frozenset({"Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose", "Dense"})
_MEANS = frozenset({"GlobalAveragePooling2D"})
#: What an activation gives at most; none of these gives less than zero.
HIGHEST: Mapping[str, float] = {"relu": math.inf, "relu6": 6.0, "sigmoid": math.inf}


@dataclass(frozen=True)
class Slot:
    """The place of a value among the arguments of a call."""

    value: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Step:
    """One op of the file.

    Attributes:
        name: of the value that it makes: that of the last layer in it; with a colon and a number for a further call of
            a shared layer.
        kind: what is computed.
        operation: the layer.
        part: of a ``SeparableConv2D``, ``depthwise`` or ``pointwise``; else empty.
        norm: the batch norm that is folded into the filter.
        activation: what is fused.
        inputs: numbers of the values that are read.
        outputs: numbers of the values that are made.
        args: of the call, with slots.
        kwargs: likewise.
    """

    name: str
    kind: Kind
    operation: Any
    part: str = ""
    norm: Any = None
    activation: Activation = "linear"
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    args: tuple[Any, ...] = ()
    kwargs: Any = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Plan:
    """The steps of a model, in an order in which they can run.

    Attributes:
        steps: of the file.
        output: number of the value that the model gives; 0 is the image.
        names: of the values, by number; a value that is no activation, such as the places of maxima, has none.
        groups: for each value with a name the number of its range; values of one scale have the same.
        num_groups: how many ranges there are.
        highest: what a value is at most that an activation gives, or that is such a value moved; see ``HIGHEST``.
    """

    steps: tuple[Step, ...]
    output: int
    names: dict[int, str]
    groups: dict[int, int]
    num_groups: int
    highest: dict[int, float]

    def learned_names(self) -> dict[str, int]:
        """Return the number of the range of each value, by the value's name."""
        return {name: self.groups[value] for value, name in self.names.items()}


def plan_of(model: keras.Model) -> Plan:
    """Read a model.

    Args:
        model: functional, of one image and one output, with maps ``(B, H, W, C)``.

    Raises:
        UnsupportedModel: a layer is none that can be trained in integers; the text names it.
    """
    graph = graph_of(model)
    if graph is None or len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise UnsupportedModel(
            f"'{model.name}' must be a functional model of one image and one output to be trained in integers."
        )
    return _Reader(graph).plan()


@dataclass(frozen=True, eq=False, kw_only=True)
class _Call:
    """A call with numbers in place of its tensors."""

    name: str
    operation: Any
    args: tuple[Any, ...]
    kwargs: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def kind(self) -> str:
        kind = type(self.operation)
        return kind.__name__ if kind.__module__.partition(".")[0] in ("keras", "edgeseg") else ""


class _Reader:
    """Collects the calls of a model, then joins them to steps."""

    def __init__(self, graph: Any) -> None:
        self._numbers: dict[int, int] = {id(graph.inputs[0]): 0}
        self._floats: set[int] = {0}
        self._calls: list[_Call] = []
        self._called: dict[str, int] = {}
        self._count = 1
        self._keep: list[Any] = []  # their ids are keys
        self._walk(graph, self._numbers, "")
        self._output = self._numbers[id(graph.outputs[0])]
        self._readers: dict[int, list[_Call]] = {}
        for call in self._calls:
            for value in dict.fromkeys(call.inputs):
                self._readers.setdefault(value, []).append(call)
        self._steps: list[Step] = []
        self._names: dict[int, str] = {0: "image"}

    def _walk(self, graph: Any, numbers: dict[int, int], prefix: str) -> None:
        for call in reversed(calls_of(graph)):
            if not call.inputs:
                continue  # an InputLayer
            inputs = tuple(numbers[id(tensor)] for tensor in call.inputs)
            inner = graph_of(call.operation)
            if inner is not None:
                within = dict(zip(map(id, inner.inputs), inputs, strict=True))
                self._walk(inner, within, f"{prefix}{call.operation.name}.")
                ends = tuple(within[id(tensor)] for tensor in inner.outputs)
                numbers.update(zip(map(id, call.outputs), ends, strict=True))
                continue
            outputs = tuple(self._new(tensor) for tensor in call.outputs)
            numbers.update(zip(map(id, call.outputs), outputs, strict=True))
            args, kwargs = keras.tree.map_structure(
                lambda x: Slot(numbers[id(x)]) if isinstance(x, keras.KerasTensor) else x,
                (call.args, call.kwargs),
            )
            self._keep += call.outputs
            self._calls.append(
                _Call(
                    name=self._name(prefix + call.operation.name),
                    operation=call.operation,
                    args=args,
                    kwargs=kwargs,
                    inputs=inputs,
                    outputs=outputs,
                )
            )

    def _new(self, tensor: Any) -> int:
        number = self._fresh()
        if not str(tensor.dtype).startswith(("float", "bfloat")):
            self._floats.remove(number)  # the places of maxima
        return number

    def _fresh(self) -> int:
        number, self._count = self._count, self._count + 1
        self._floats.add(number)
        return number

    def _name(self, name: str) -> str:
        count = self._called.get(name, 0)
        self._called[name] = count + 1
        return f"{name}:{count}" if count else name

    def plan(self) -> Plan:
        done: set[_Call] = set()
        for call in self._calls:
            if call not in done:
                done.update(self._join(call))
        return _grouped(self._steps, self._output, self._names)

    def _only_reader(self, value: int) -> _Call | None:
        readers = self._readers.get(value, [])
        return readers[0] if len(readers) == 1 and value != self._output else None

    def _join(self, call: _Call) -> list[_Call]:
        """Add the steps of a call; return the calls that they contain."""
        kind, operation = call.kind, call.operation
        if getattr(operation, "data_format", "channels_last") not in (None, "channels_last"):
            raise _refused(call, "it has its channels first")
        if kind in _PASS or (kind == "Activation" and _activation_of(call) == "linear"):
            self._emit(call, kind="move")
        elif kind in _FILTERS:
            return self._filter(call)
        elif kind == "BatchNormalization":
            if operation.axis not in (-1, 3):
                raise _refused(call, f"it normalizes axis {operation.axis}")
            return self._with_activation(call, [call], kind="filter", norm=operation)
        elif kind == "Add" and len(call.inputs) >= 2 and all(value in self._floats for value in call.inputs):
            return self._sum(call)
        elif kind == "Multiply" and len(call.inputs) == 2:
            self._emit(call, kind="multiply")
        elif kind == "Concatenate":
            if operation.axis not in (-1, 3):
                raise _refused(call, f"it joins axis {operation.axis}")
            self._emit(call, kind="concat")
        elif kind in MOVES:
            if getattr(operation, "interpolation", "bilinear") not in ("nearest", "bilinear"):
                raise _refused(call, f"it scales by {operation.interpolation}")
            self._emit(call, kind="move")
        elif kind in _MEANS:
            self._emit(call, kind="mean")
        elif kind in ("ReLU", "Activation", "Relu", "Relu6"):
            self._activate(call, call.inputs[0], call.outputs[0])
        else:
            raise _refused(call, "")
        return [call]

    def _filter(self, call: _Call) -> list[_Call]:
        parts = [call]
        own = _activation_of(call)
        if call.kind == "SeparableConv2D":
            between = self._fresh()
            self._emit(
                replace(call, name=f"{call.name}/depthwise", outputs=(between,)), kind="filter", part="depthwise"
            )
            call = replace(call, inputs=(between,))
        part = "pointwise" if call.kind == "SeparableConv2D" else ""
        norm = None
        after = self._only_reader(call.outputs[0])
        if own == "linear" and after is not None and after.kind == "BatchNormalization" and call.kind != "Dense":
            if after.operation.axis not in (-1, 3):
                raise _refused(after, f"it normalizes axis {after.operation.axis}")
            norm = after.operation
            parts.append(after)
            call = replace(call, name=after.name, outputs=after.outputs)
        if own in ("relu", "relu6"):
            self._emit(call, kind="filter", part=part, norm=norm, activation=own)
            return parts
        if own == "sigmoid" or own == "silu":
            linear = self._fresh()
            self._emit(replace(call, name=f"{call.name}/linear", outputs=(linear,)), kind="filter", part=part)
            self._activate(call, linear, call.outputs[0])
            return parts
        return self._with_activation(call, parts, kind="filter", part=part, norm=norm)

    def _with_activation(self, call: _Call, parts: list[_Call], **fields: Any) -> list[_Call]:
        """Add a step, with the ReLU after it."""
        after = self._only_reader(call.outputs[0])
        activation: str = "linear"
        if after is not None and after.kind in ("ReLU", "Activation", "Relu", "Relu6"):
            activation = _activation_of(after)
            if activation in ("relu", "relu6"):
                parts = [*parts, after]
                call = replace(call, name=after.name, outputs=after.outputs)
            else:
                activation = "linear"
        self._emit(call, activation=activation, **fields)
        return parts

    def _sum(self, call: _Call) -> list[_Call]:
        """Add the additions of a sum, two at a time, as TensorFlow has them."""
        total, *others = call.inputs
        for number, value in enumerate(others[:-1], 1):
            partial = self._fresh()
            self._emit(
                replace(call, name=f"{call.name}/{number}", inputs=(total, value), outputs=(partial,)), kind="add"
            )
            total = partial
        return self._with_activation(replace(call, inputs=(total, others[-1])), [call], kind="add")

    def _activate(self, call: _Call, value: int, result: int) -> None:
        activation = _activation_of(call)
        if activation in ("relu", "relu6", "sigmoid"):
            self._emit(replace(call, inputs=(value,), outputs=(result,)), kind="activation", activation=activation)
        elif activation == "silu":
            gate = self._fresh()
            self._emit(
                replace(call, name=f"{call.name}/sigmoid", inputs=(value,), outputs=(gate,)),
                kind="activation",
                activation="sigmoid",
            )
            self._emit(replace(call, inputs=(value, gate), outputs=(result,)), kind="multiply")
        else:
            raise _refused(call, f"its activation is {activation}")

    def _emit(self, call: _Call, **fields: Any) -> None:
        for number, value in enumerate(call.outputs):
            if value in self._floats:
                self._names[value] = call.name if number == 0 else f"{call.name}/{number}"
        self._steps.append(
            Step(
                name=call.name,
                operation=call.operation,
                inputs=call.inputs,
                outputs=call.outputs,
                args=call.args,
                kwargs=call.kwargs,
                **fields,
            )
        )


def _activation_of(call: _Call) -> str:
    """Return the activation of a layer; its name where it is none that is known."""
    operation, kind = call.operation, call.kind
    if kind in ("Relu", "Relu6"):
        return kind.lower()
    if kind == "ReLU":
        limit = operation.max_value
        if operation.negative_slope or operation.threshold or limit not in (None, 6, 6.0):
            return "a ReLU with a slope, a threshold or a limit other than 6"
        return "relu" if limit is None else "relu6"
    function = getattr(operation, "activation", None)
    name = "linear" if function is None else str(getattr(function, "__name__", function))
    if not str(getattr(function, "__module__", "keras")).startswith("keras"):
        return f"{name}, which is not Keras' own"
    return {"swish": "silu"}.get(name, name)


def _refused(call: _Call, reason: str) -> UnsupportedModel:
    why = f": {reason}" if reason else ""
    return UnsupportedModel(
        f"'{call.name}' ({type(call.operation).__name__}) cannot be trained in integers{why}; omit `quantize`, "
        "and quantize at the export."
    )


def _grouped(steps: Sequence[Step], output: int, names: dict[int, str]) -> Plan:
    """Give values of one scale one range."""
    above: dict[int, int] = {}

    def find(value: int) -> int:
        while value in above:
            value = above[value]
        return value

    for step in steps:
        if step.kind in ("move", "concat"):
            first, *others = dict.fromkeys(find(value) for value in _tied(step, names))
            above.update(dict.fromkeys(others, first))
    roots: dict[int, int] = {}
    groups = {value: roots.setdefault(find(value), len(roots)) for value in names}
    highest: dict[int, float] = {}
    for step in steps:
        end = highest.get(step.inputs[0]) if step.kind == "move" else HIGHEST.get(step.activation)
        if end is not None:
            highest.update(dict.fromkeys((value for value in step.outputs if value in names), end))
    return Plan(
        steps=tuple(steps),
        output=output,
        names=names,
        groups=groups,
        num_groups=len(roots),
        highest=highest,
    )


def _tied(step: Step, names: dict[int, str]) -> Iterator[int]:
    """Yield the values of a step that have one scale."""
    if step.kind == "concat":
        yield from step.inputs
    else:
        yield step.inputs[0]
    for value in step.outputs:
        if value in names:
            yield value
