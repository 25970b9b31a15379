"""Define the contract of a rewrite, and ``rewrite_graph``, which applies rewrites and proves each replacement.

A rewrite defines three things: where it applies (``match``), when it is safe there (``check``, which refuses with a
sentence), and what replaces the layers (``replacement``, ordinary Keras code on symbolic tensors).
"""

from __future__ import annotations

import dataclasses
import logging
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg.choices import Precision
from edgeseg.errors import RewriteRefused
from edgeseg_converters.keras_model.graph import Graph, Node, Value, run
from edgeseg_converters.keras_model.training_mode import untouched

_log = logging.getLogger(__name__)

# A rule raises these where a layer differs from what it expects, and Keras or TensorFlow where the replacement does
# not fit.
UNFORESEEN = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError, tf.errors.OpError)

_PART = 1 << 20  # values

#: The symbolic tensor of each value.
Tensors = Mapping[Value, keras.KerasTensor]


@dataclass(frozen=True)
class Site:
    """A place in a model where a rewrite may apply.

    Attributes:
        graph: the whole model.
        nodes: the nodes to replace, in the graph's order; one node or a pattern of several.
        inputs: the values that the nodes read from outside.
        outputs: the values of the nodes that are read outside.
    """

    __repr__ = short_repr

    graph: Graph
    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]

    @classmethod
    def of(cls, graph: Graph, nodes: Sequence[Node]) -> Site:
        """Return the site of some nodes."""
        ordered = graph.ordered(nodes)
        return cls(graph, ordered, *graph.boundary(ordered))

    @property
    def name(self) -> str:
        """The names of the layers, joined by ``+``."""
        return "+".join(node.name for node in self.nodes)


class Rewrite(ABC):
    """Replaces one layer, or a pattern of several, by standard layers.

    Attributes:
        layer_class: the class name of the layer that ``match`` looks for. A class that is not Keras' own may be
            anybody's: the proof shows whether it does the same.
        atol: the largest absolute difference between old and new that float rounding explains, on inputs in [-4, 4].
        moves_rounding: whether integers are rounded at other places with the replacement, or other weights are; it is
            omitted for a model that learned its rounding.
        not_for: precisions that lose more with the replacement than with the original layers.
    """

    layer_class: str
    atol: float
    not_for: frozenset[Precision] = frozenset()
    moves_rounding: bool = False

    @property
    def name(self) -> str:
        """The rule's name in reports: the class name."""
        return type(self).__name__

    def match(self, graph: Graph, node: Node) -> Site | None:
        """Return the site that starts at a node, or ``None`` where the rule does not apply."""
        return Site.of(graph, [node]) if node.kind == self.layer_class else None

    def check(self, site: Site) -> None:  # noqa: B027 - nothing to check is a fine default
        """Raise ``RewriteRefused`` with a sentence where the replacement would not compute the same."""

    @abstractmethod
    def replacement(self, site: Site, tensors: Tensors) -> Tensors:
        """Build the replacement of a site.

        Args:
            site: the site to replace; its layers' weights are to be used as they are.
            tensors: a symbolic tensor for each of ``site.inputs``.

        Returns:
            A symbolic tensor of the same shape for each of ``site.outputs``, each made by a layer of its own:
            ``keras.layers.Identity`` where an input is passed on unchanged.
        """


@dataclass(frozen=True)
class Applied:
    """One replacement and its proof.

    Attributes:
        rule: the rewrite's name.
        site: the names of the layers that were replaced.
        max_abs_error: the largest difference between old and new on the random input, ties included.
    """

    __repr__ = short_repr

    rule: str
    site: str
    max_abs_error: float


@dataclass(frozen=True)
class Refused:
    """A place where a rewrite matched but would not be right.

    Attributes:
        rule: the rewrite's name.
        site: the names of the layers.
        reason: a sentence.
    """

    __repr__ = short_repr

    rule: str
    site: str
    reason: str


@dataclass(frozen=True)
class RewriteResult:
    """A rewritten model.

    Attributes:
        model: shares its variables with the given model; the given model itself where nothing was replaced.
        graph: the graph of ``model``.
        applied: the replacements, in the order in which they were made.
        refused: the places where a rule matched but did not hold.
    """

    __repr__ = short_repr

    model: keras.Model
    graph: Graph
    applied: tuple[Applied, ...]
    refused: tuple[Refused, ...]

    def counts(self) -> tuple[tuple[str, int], ...]:
        """Count the sites of each applied rule, in the order of first use."""
        rules = [applied.rule for applied in self.applied]
        return tuple((rule, rules.count(rule)) for rule in dict.fromkeys(rules))

    def followed_by(
        self, rules: Collection[str], applied: Sequence[Applied], refused: Sequence[Refused]
    ) -> RewriteResult:
        """Return the result with the replacements that were made in the frozen function.

        Args:
            rules: names of the rules that were asked there; what one of them refused in the graph was looked at again.
            applied: the replacements.
            refused: the places where a rule did not hold.
        """
        before = tuple(place for place in self.refused if place.rule not in rules)
        return dataclasses.replace(self, applied=(*self.applied, *applied), refused=(*before, *refused))

    def max_abs_error(self, rule: str) -> float:
        """Return the largest difference that the proofs of a rule measured."""
        return max(applied.max_abs_error for applied in self.applied if applied.rule == rule)


def rewrite_graph(model: keras.Model, graph: Graph, rules: Sequence[Rewrite]) -> RewriteResult:
    """Apply rules one after the other, each wherever it holds.

    Every replacement is proven: old and new run on the same random input. A difference above the rule's ``atol`` means
    that the layer is not what its name says, so the layer is kept and the site is listed as refused. A rule that fails
    is handled the same way, with a warning, as that is a defect of the rule: the model is no worse without it.

    Args:
        model: functional or Sequential; it is not changed.
        graph: the model's.
        rules: in the order of use.
    """
    with untouched(model):
        return _rewrite(model, graph, rules)


def _rewrite(model: keras.Model, graph: Graph, rules: Sequence[Rewrite]) -> RewriteResult:
    applied: list[Applied] = []
    refused: list[Refused] = []
    for rule in rules:
        for node in list(graph.nodes):
            if node not in graph:
                continue  # part of an earlier site; a rule does not look at its own replacements again
            place = node.name
            try:
                site = rule.match(graph, node)
                if site is None:
                    continue
                place = site.name
                graph, error = _apply(rule, site)
            except RewriteRefused as refusal:
                refused.append(Refused(rule.name, place, str(refusal)))
            except UNFORESEEN as failure:
                refused.append(refused_by_failure(rule.name, place, failure))
            else:
                applied.append(Applied(rule.name, place, error))
    return RewriteResult(graph.to_model() if applied else model, graph, tuple(applied), tuple(refused))


def refused_by_failure(rule: str, place: str, failure: Exception) -> Refused:
    """Return the refusal of a rule that raised what nobody foresaw, and log it as what should be reported.

    Args:
        rule: its name.
        place: where it was tried.
        failure: what it raised.
    """
    what = " ".join(f"{type(failure).__name__}: {failure}".split())[:200]
    _log.warning("'%s' stays as it is; please report that %s failed: %s", place, rule, what)
    return Refused(rule, place, f"the rule failed: {what}")


def tied_values(shape: Sequence[int], seed: int = 0) -> NDArray[np.float32]:
    """Draw coarse random values as after a ReLU: half are zero, and windows often hold their maximum twice.

    Args:
        shape: any.
        seed: of the random values.

    Returns:
        ``shape`` float32 in [0, 4], multiples of 1/8.
    """
    values = np.random.default_rng(seed).standard_normal(tuple(shape), dtype=np.float32)
    values.clip(0, 4, out=values)
    values *= 8
    np.rint(values, out=values)
    values /= 8
    return values


def _apply(rule: Rewrite, site: Site) -> tuple[Graph, float]:
    """Replace a site, prove the replacement, and return the new graph and the largest difference."""
    rule.check(site)
    tensors = {value: keras.KerasTensor(value.shape, value.dtype) for value in site.inputs}
    replacements = rule.replacement(site, tensors)
    results = [replacements[value] for value in site.outputs]
    new = Graph.from_tensors(tensors, results)
    error = _difference(site, new)
    if not error <= rule.atol:
        raise RewriteRefused(
            f"the replacement differs by {error:.1e} from the layer on random input (at most {rule.atol:.0e}); "
            f"this {site.nodes[0].kind} does something else"
        )
    return site.graph.replaced(site.nodes, new, site.outputs), error


def signed_values(shape: Sequence[int], seed: int) -> NDArray[np.float32]:
    """Draw random values of a shape in [-4, 4]."""
    values = np.random.default_rng((1, seed)).standard_normal(tuple(shape), dtype=np.float32)
    return values.clip(-4, 4, out=values)


def _difference(site: Site, new: Graph) -> float:
    """Measure the largest difference of a replacement from its site, on signed values and on values full of ties."""
    shapes = [(1, *(side for side in value.shape[1:] if side is not None)) for value in site.inputs]
    if any(len(shape) != len(value.shape) for shape, value in zip(shapes, site.inputs, strict=True)):
        raise RewriteRefused("its input has no fixed size; export with a fixed input size")
    worst = 0.0
    for values in (signed_values, tied_values):
        given = {
            value: keras.ops.convert_to_tensor(values(shape, seed).astype(value.dtype, copy=False))
            for seed, (value, shape) in enumerate(zip(site.inputs, shapes, strict=True))
        }
        expected, got = _run(site.nodes, site.outputs, given), _run(new.nodes, new.outputs, given)
        for before, after in zip(expected, got, strict=True):
            if before.shape != after.shape:
                raise RewriteRefused(f"the replacement gives {after.shape}, the layer {before.shape}")
            if not (np.isfinite(before).all() and np.isfinite(after).all()):
                who = "the replacement" if np.isfinite(before).all() else "the layer"
                raise RewriteRefused(f"{who} gives NaN or infinity on random input, which proves nothing")
            worst = max(worst, largest_difference(before, after))
    return worst


def _run(nodes: Sequence[Node], outputs: Sequence[Value], given: Mapping[Value, Any]) -> list[NDArray[Any]]:
    """Run nodes on tensors and keep only the outputs: the maps in between are large."""
    values = run(nodes, given)
    return [keras.ops.convert_to_numpy(values[value]) for value in outputs]


def largest_difference(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Compute the largest absolute difference in float64, part by part: a whole large map would need gigabytes."""
    parts = [(a.reshape(-1)[i : i + _PART], b.reshape(-1)[i : i + _PART]) for i in range(0, a.size, _PART)]
    return max((float(np.abs(one.astype(np.float64) - other).max()) for one, other in parts), default=0.0)
