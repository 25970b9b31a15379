"""List the weights of a model as weights files see them: layer by layer, with names, classes and addresses."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import keras

from edgeseg.models.weights.hdf5 import split_number

# Keras 2's name of a class that has another name in Keras 3, in snake case.
_ALIASES = {"model": "functional", "batch_normalization_v1": "batch_normalization"}


@dataclass(frozen=True)
class VariableSlot:
    """A variable of the model, with its name ``layer/variable`` in messages and reports."""

    name: str
    variable: keras.Variable

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the variable."""
        return tuple(self.variable.shape)


@dataclass(frozen=True)
class ModelLayer:
    """A layer of the model that has weights.

    Attributes:
        name: its name, after that of the nested model it is in (``encoder/conv``).
        layer: the layer.
        slots: its weights; those of a plain layer in the order of Keras 2's files, trainable ones first.
    """

    name: str
    layer: keras.Layer
    slots: tuple[VariableSlot, ...]

    @property
    def kind(self) -> str:
        """Its class in snake case, from which Keras makes automatic names."""
        return kind_of(type(self.layer).__name__)

    @property
    def number(self) -> int | None:
        """The number in its automatic name; ``None`` where its author named it."""
        automatic = automatic_name(self.layer.name, {self.kind})
        return None if automatic is None else automatic[1]


def model_layers(model: keras.Model, *, flat: bool = False, prefix: str = "") -> list[ModelLayer]:
    """Return the layers of a model that have weights, in its order; a shared weight belongs to the first layer.

    Args:
        model: a built model.
        flat: whether a nested model is replaced by its layers; otherwise it is one layer.
        prefix: what every name begins with.
    """
    seen: set[int] = set()

    def entry(name: str, layer: keras.Layer, slots: list[VariableSlot]) -> list[ModelLayer]:
        new = tuple(slot for slot in slots if id(slot.variable) not in seen)
        seen.update(id(slot.variable) for slot in new)
        return [ModelLayer(name, layer, new)] if new else []

    layers = []
    for layer in model.layers:
        name = f"{prefix}{layer.name}"
        if not isinstance(layer, keras.Model):
            weights = (*layer.trainable_weights, *layer.non_trainable_weights)
            layers += entry(name, layer, [VariableSlot(_slot_name(name, layer, v), v) for v in weights])
            continue
        inner = model_layers(layer, flat=True, prefix=f"{name}/")
        if flat:
            layers += [new for e in inner for new in entry(e.name, e.layer, list(e.slots))]
        else:
            layers += entry(name, layer, [slot for e in inner for slot in e.slots])
    # A Functional subclass may hold some weights itself. It comes first, because the last layer is the head.
    return (
        entry(
            f"{prefix}{model.name}", model, [VariableSlot(f"{prefix}{model.name}/{v.name}", v) for v in model.weights]
        )
        + layers
    )


def variable_at(layer: keras.Layer, key: str) -> keras.Variable | None:
    """Return the variable that Keras 3 stores at a path below a layer, ``[attribute or class_n/]...vars/<index>``."""
    *parents, last, index = ("", *key.split("/"))
    child: Any = layer
    for part in parents[1:]:
        child = _child(child, part)
    if last != "vars" or not isinstance(child, keras.Layer):
        return None
    store: dict[str, Any] = {}
    child.save_own_variables(store)
    return store.get(index)


def automatic_name(name: str, kinds: set[str]) -> tuple[str, int] | None:
    """Return class and number of an automatic name; the first of a class has no number, which counts as 0."""
    for base, number in ((name, None), split_number(name)):
        kind = canonical(base)
        if kind in kinds:
            return kind, number or 0
    return None


def kind_of(class_name: str) -> str:
    """Return a class in snake case, as in automatic names, with Keras 2's names replaced by Keras 3's."""
    return canonical(_snake_case(class_name))


def canonical(kind: str) -> str:
    """Return Keras 3's name of a class in snake case."""
    return _ALIASES.get(kind, kind)


def _slot_name(name: str, layer: keras.Layer, variable: keras.Variable) -> str:
    """Return ``layer/variable``, including the layers between them in a layer made of layers."""
    _, separator, inner = str(variable.path).rpartition(f"{layer.name}/")
    return f"{name}/{inner if separator else variable.name}"


def _child(parent: Any, part: str) -> Any:
    """Return an attribute of a layer, or the n-th item of a class in a container."""
    if isinstance(parent, keras.Layer):
        return getattr(parent, part, None)
    if not isinstance(parent, dict | list | tuple):
        return None
    counts: Counter[str] = Counter()
    for item in parent.values() if isinstance(parent, dict) else parent:
        kind = "container" if isinstance(item, dict | list | tuple) else _snake_case(type(item).__name__)
        if part == (f"{kind}_{counts[kind]}" if counts[kind] else kind):
            return item
        counts[kind] += 1
    return None


def _snake_case(class_name: str) -> str:
    """Convert by Keras' own rule: ``DepthwiseConv2D`` is ``depthwise_conv2d``."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", class_name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
