"""Define the contract of an op rewrite, and ``rewrite_ops``, which applies them and proves each replacement.

A ``Rewrite`` replaces layers, which it knows by their classes. An ``OpRewrite`` replaces ops of the function that was
traced from the model, whichever code they come from: a layer of Keras, a user's class of any name, a subclassed model.
Every shape is fixed there and every weight a constant, so a rule sees what is computed and no names.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edgeseg.errors import RewriteRefused
from edgeseg_converters.keras_model.tensorflow_internals import replace_input
from edgeseg_converters.keras_model.unsupported_ops import Places
from edgeseg_converters.rewrites.base import (
    UNFORESEEN,
    Applied,
    Refused,
    largest_difference,
    refused_by_failure,
    signed_values,
    tied_values,
)

# Ops that give no more than the shape of their input, which is fixed.
_OF_SHAPES = ("Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike")


class Trace:
    """The ops that the outputs of a frozen function need, and what they read."""

    def __init__(self, function: Any) -> None:
        self.graph: tf.Graph = function.graph
        #: In an order in which they can run.
        self.ops = _in_order([tensor.op for tensor in function.outputs])
        self._needed = set(self.ops)
        self._constant: set[tf.Operation] = set()
        for op in self.ops:
            follows = op.type != "Placeholder" and all(tensor.op in self._constant for tensor in op.inputs)
            if (follows and not op.op_def.is_stateful) or op.type in _OF_SHAPES:
                self._constant.add(op)

    def __contains__(self, op: tf.Operation) -> bool:
        return op in self._needed

    def is_constant(self, tensor: tf.Tensor) -> bool:
        """Return whether a tensor depends on no image."""
        return tensor.op in self._constant

    def readers(self, tensor: tf.Tensor) -> list[tf.Operation]:
        """Return the ops that read a tensor and whose results are needed."""
        return [op for op in tensor.consumers() if op in self._needed]

    def moving(self, op: tf.Operation) -> list[tf.Tensor]:
        """Return the inputs of an op that are not constant."""
        return [tensor for tensor in op.inputs if not self.is_constant(tensor)]

    def array(self, tensor: tf.Tensor) -> NDArray[Any]:
        """Compute a constant tensor."""
        (value,) = run([tensor])
        return value


def _in_order(ends: Sequence[tf.Operation]) -> tuple[tf.Operation, ...]:
    """Return the ops that some need, each after those that it reads: rewiring changes the order of the graph."""
    ordered: dict[tf.Operation, None] = {}
    opened: set[tf.Operation] = set()
    pending = list(ends)
    while pending:
        op = pending[-1]
        if op in opened:
            ordered.setdefault(pending.pop())
        else:
            opened.add(op)
            pending.extend(tensor.op for tensor in op.inputs if tensor.op not in opened)  # a loop reads itself
    return tuple(ordered)


@dataclass(frozen=True)
class OpSite:
    """A place in a frozen function where a rule may apply.

    Attributes:
        op: the op that the rule looks for; its scopes are the layers that it is in.
        inputs: the tensors that the place reads.
        outputs: the tensors to replace.
    """

    op: tf.Operation
    inputs: tuple[tf.Tensor, ...]
    outputs: tuple[tf.Tensor, ...]


class OpRewrite(ABC):
    """Replaces an op, or a pattern of several, by ops that a format has.

    Attributes:
        types: of the ops that ``match`` is asked about.
        atol: the largest absolute difference between old and new that float rounding explains, on inputs in [-4, 4].
        needs_xla: whether TensorFlow runs the old ops on a CPU only where XLA compiles them.
    """

    types: tuple[str, ...]
    atol: float
    needs_xla: bool = False

    @property
    def name(self) -> str:
        """The rule's name in reports: the class name."""
        return type(self).__name__

    @abstractmethod
    def match(self, trace: Trace, op: tf.Operation) -> OpSite | None:
        """Return the site of an op, or ``None`` where the rule does not apply.

        Raises:
            RewriteRefused: the op is one that must be replaced, and cannot be.
        """

    @abstractmethod
    def replacement(self, trace: Trace, site: OpSite, inputs: Sequence[Any]) -> Sequence[Any]:
        """Build the replacement of a site by TensorFlow's ops.

        Args:
            trace: of the site.
            site: the site to replace.
            inputs: a tensor for each of ``site.inputs``.

        Returns:
            A tensor of the same shape and dtype for each of ``site.outputs``.
        """


def rewrite_ops(
    function: Any, rules: Sequence[OpRewrite], model: keras.Model
) -> tuple[tuple[Applied, ...], tuple[Refused, ...]]:
    """Apply rules one after the other to a frozen function, each wherever it holds.

    Every replacement is proven as those of ``rewrite`` are: old and new ops run on the same random input.

    Args:
        function: made by ``freeze.trace``; it is changed.
        rules: in the order of use.
        model: that was traced; its layers name the places.

    Returns:
        The replacements, and the places where a rule matched but did not hold.
    """
    applied: list[Applied] = []
    refused: list[Refused] = []
    places, trace = Places(model), Trace(function)
    for rule in rules:
        for op in [op for op in trace.ops if op.type in rule.types]:
            if op not in trace:
                continue  # part of an earlier site
            place = places.of(op.name)[0]
            try:
                site = rule.match(trace, op)
                if site is None:
                    continue
                place = "+".join(dict.fromkeys(places.of(each.name)[0] for each in (op, *(t.op for t in site.outputs))))
                error = _prove(rule, trace, site)
                _replace(rule, trace, site)
            except RewriteRefused as refusal:
                refused.append(Refused(rule.name, place, str(refusal)))
            except UNFORESEEN as failure:
                refused.append(refused_by_failure(rule.name, place, failure))
            else:
                applied.append(Applied(rule.name, place, error))
                trace = Trace(function)
    return tuple(applied), tuple(refused)


def run(
    outputs: Sequence[tf.Tensor],
    inputs: Sequence[tf.Tensor] = (),
    given: Sequence[NDArray[Any]] = (),
    *,
    by_xla: bool = False,
) -> list[NDArray[Any]]:
    """Run a part of a graph.

    Args:
        outputs: the tensors to compute.
        inputs: the tensors that the part starts from; constants need not be among them.
        given: their values.
        by_xla: whether XLA compiles it.
    """

    @tf.function(autograph=False, jit_compile=by_xla)  # type: ignore[untyped-decorator]
    def part(*tensors: Any) -> Any:
        return imported(outputs, dict(zip((tensor.name for tensor in inputs), tensors, strict=True)))

    return _called(part, given)


def imported(outputs: Sequence[tf.Tensor], start: Mapping[str, Any]) -> list[Any]:
    """Copy the ops between tensors into the graph that is built now, with the constants that they read.

    Args:
        outputs: the tensors to copy.
        start: the copies that exist, by the names of the tensors.
    """
    definition = tf.compat.v1.GraphDef()
    used: dict[str, Any] = {}
    seen: set[tf.Operation] = set()
    pending = list(outputs)
    while pending:
        tensor = pending.pop()
        if tensor.name in start:
            continue
        if tensor.op in seen:
            continue
        if tensor.op.type == "Placeholder":
            raise RewriteRefused(f"it reads '{tensor.op.name}' too, which is not known")
        seen.add(tensor.op)
        node = tensor.op.node_def
        del node.input[len(tensor.op.inputs) :]  # what it only waits for
        node.attr.pop("_class", None)
        definition.node.append(node)
        used.update((read.name, start[read.name]) for read in tensor.op.inputs if read.name in start)
        pending.extend(tensor.op.inputs)
    names = [tensor.name for tensor in outputs if tensor.name not in start]
    copies = iter(tf.graph_util.import_graph_def(definition, input_map=used, return_elements=names, name="old"))
    return [start[tensor.name] if tensor.name in start else next(copies) for tensor in outputs]


def _prove(rule: OpRewrite, trace: Trace, site: OpSite) -> float:
    """Return the largest difference of a replacement from its site."""

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def new(*tensors: Any) -> Any:
        return list(rule.replacement(trace, site, tensors))

    if any(None in tensor.shape for tensor in site.inputs):
        raise RewriteRefused("its input has no fixed size; export with a fixed input size")
    worst = 0.0
    for values in (signed_values, tied_values):
        given = [_drawn(values, tensor, seed) for seed, tensor in enumerate(site.inputs)]
        try:
            expected = run(site.outputs, site.inputs, given, by_xla=rule.needs_xla)
        except tf.errors.OpError as error:
            what = " ".join(str(error).partition("\n")[0].split())[:200]
            raise RewriteRefused(f"its own code fails on random input: {what}") from error
        got = _called(new, given)
        for before, after in zip(expected, got, strict=True):
            if (before.shape, before.dtype) != (after.shape, after.dtype):
                raise RewriteRefused(
                    f"the replacement gives {after.dtype}{after.shape}, the op {before.dtype}{before.shape}"
                )
            if not (np.isfinite(before).all() and np.isfinite(after).all()):
                raise RewriteRefused("it gives NaN or infinity on random input, which proves nothing")
            worst = max(worst, largest_difference(before, after))
    if not worst <= rule.atol:
        raise RewriteRefused(
            f"the replacement differs by {worst:.1e} from the {site.op.type} on random input (at most {rule.atol:.0e})"
        )
    return worst


def _called(function: Any, given: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    with tf.init_scope():  # a rule asks while it builds ops in a graph
        tensors = [tf.constant(array) for array in given]
        # Traced explicitly: TensorFlow warns of functions that are traced by their calls again and again.
        traced = function.get_concrete_function(*(tf.TensorSpec(x.shape, x.dtype) for x in tensors))
        return [np.asarray(value) for value in traced(*tensors)]


def _drawn(values: Any, tensor: tf.Tensor, seed: int) -> NDArray[Any]:
    """Draw values for a tensor; those of whole numbers are spread over a byte."""
    drawn: NDArray[np.float32] = values(tuple(tensor.shape), seed)
    return (drawn if tensor.dtype.is_floating else np.rint(drawn * 31)).astype(tensor.dtype.as_numpy_dtype)


def _replace(rule: OpRewrite, trace: Trace, site: OpSite) -> None:
    """Let all that reads the outputs of a site read those of its replacement."""
    readers = [(tensor, [*tensor.consumers()]) for tensor in site.outputs]
    scope = site.op.name.rpartition("/")[0]
    with trace.graph.as_default(), tf.name_scope(f"{scope}/" if scope else ""):
        made = rule.replacement(trace, site, site.inputs)
        for (old, ops), tensor in zip(readers, made, strict=True):
            for op in ops:
                for index, read in enumerate(op.inputs):
                    if read.name == old.name:
                        replace_input(op, index, tensor)
