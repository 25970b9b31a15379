"""Match the tensors of a weights file to the variables of a model.

    1. A layer with a name of its own takes the tensors of that name.
    2. Layers that Keras named (``conv2d_3``, counted from the session's current number) are paired in order within
       their class: by the numbers where both sides have them, else in the order of the layers in the graph.
    3. Inside a layer, Keras 3 addresses tensors by index; Keras 2 by names, some of which Keras 3 has changed.

A pair is only a proposal: its ``Fit`` says which shapes differ and what has no counterpart.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import keras
import numpy as np

from edgeseg.models.weights.hdf5 import FileLayer, Tensor, inner_layers
from edgeseg.models.weights.variables import (
    ModelLayer,
    VariableSlot,
    automatic_name,
    canonical,
    kind_of,
    model_layers,
    variable_at,
)

# Names that never changed: a tensor with one of them never belongs to another of them.
_STABLE_NAMES = frozenset({"kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance"})


@dataclass(frozen=True)
class Fit:
    """How the tensors of a file layer fit a model layer.

    Attributes:
        filled: tensors and variables of one shape.
        clashes: tensors and variables that belong together but differ in shape.
        complete: whether every tensor and every variable is in ``filled``.
    """

    filled: list[tuple[Tensor, VariableSlot]]
    clashes: list[tuple[Tensor, VariableSlot]]
    complete: bool


@dataclass
class Match:
    """The result of matching: which layer of a file goes with which layer of a model.

    Attributes:
        pairs: layers that belong together, and how well they fit.
        left_over: layers of the file without a model layer.
        missing: layers of the model without a file layer.
        unclear: ``id`` of layers whose pairing is a guess, good enough only to explain what is wrong.
    """

    pairs: list[tuple[FileLayer, ModelLayer, Fit]] = field(default_factory=list)
    left_over: list[FileLayer] = field(default_factory=list)
    missing: list[ModelLayer] = field(default_factory=list)
    unclear: set[int] = field(default_factory=set)


MayStay = Callable[[FileLayer | ModelLayer], bool]


def match_layers(file_layers: Sequence[FileLayer], layers: Sequence[ModelLayer], may_stay: MayStay) -> Match:
    """Pair the layers of a file with those of a model; nothing is assigned.

    Args:
        file_layers: layers of the file.
        layers: layers of the model.
        may_stay: whether the user allows a layer to have no counterpart.
    """
    known = {kind_of(name) for name in dir(keras.layers)} | {layer.kind for layer in layers}
    authored = {layer.layer.name: layer for layer in layers if layer.number is None}
    # Keras 3 ignores names when it loads. Where no name agrees, only its order is left, and the classes are known.
    names_agree = any(item.name in authored for item in file_layers)
    match = Match()
    in_order: dict[str, list[tuple[FileLayer, int | None]]] = {}
    for item in file_layers:
        kind, number = _file_kind(item, known, names_agree)
        if item.name in authored:
            layer = authored.pop(item.name)
            match.pairs.append((item, layer, fit_layer(item, layer)))
        elif kind is None:
            match.left_over.append(item)
        else:
            in_order.setdefault(kind, []).append((item, number))
    taken = {id(layer) for _, layer, _ in match.pairs}
    for kind, items in in_order.items():
        free = [layer for layer in layers if layer.kind == kind and id(layer) not in taken]
        _match_in_order(items, free, may_stay, match)
    taken = {id(layer) for _, layer, _ in match.pairs}
    match.missing = [layer for layer in layers if id(layer) not in taken]
    return match


def fit_layer(item: FileLayer, layer: ModelLayer) -> Fit:
    """Pair the tensors of a file layer with the variables of a model layer."""
    if item.kind is None and isinstance(layer.layer, keras.Model):
        return _fit_nested(item, layer)
    if item.kind is not None:
        slots = {id(slot.variable): slot for slot in layer.slots}
        taken: dict[int, Tensor] = {}
        proposal: list[tuple[Tensor, VariableSlot | None]] = []
        for tensor in item.tensors:
            key = id(variable_at(layer.layer, tensor.key))
            # A layer around another one has the kernel in its file twice: SpectralNormalization.
            is_new = key not in taken or np.array_equal(taken[key].values, tensor.values)
            taken.setdefault(key, tensor)
            proposal.append((tensor, slots.get(key) if is_new else None))
    else:
        proposal = _pair_by_name(item.tensors, layer.slots)
    pairs = [(tensor, slot) for tensor, slot in proposal if slot is not None]
    filled = [(tensor, slot) for tensor, slot in pairs if tensor.shape == slot.shape]
    clashes = [(tensor, slot) for tensor, slot in pairs if tensor.shape != slot.shape]
    variables = {id(slot.variable) for _, slot in filled}
    return Fit(filled, clashes, len(filled) == len(item.tensors) and len(variables) == len(layer.slots))


def _fit_nested(item: FileLayer, layer: ModelLayer) -> Fit:
    """Pair the tensors of a nested model, which Keras 2 writes as one layer.

    Trainable tensors come first, so the order depends on what was frozen.
    """
    own_layers = model_layers(layer.layer, flat=True, prefix=f"{layer.name}/")
    match = match_layers(inner_layers(item), own_layers, lambda _: False)
    fits = [fit for _, _, fit in match.pairs]
    return Fit(
        filled=[pair for fit in fits for pair in fit.filled],
        clashes=[pair for fit in fits for pair in fit.clashes],
        complete=not match.left_over and not match.missing and all(fit.complete for fit in fits),
    )


def _pair_by_name(tensors: Sequence[Tensor], slots: Sequence[VariableSlot]) -> list[tuple[Tensor, VariableSlot | None]]:
    """Pair Keras 2 tensors of one layer: by name where the names are distinct, else in order."""
    names = [tensor.key.rpartition("/")[2] for tensor in tensors]
    wanted = [str(slot.variable.name) for slot in slots]
    distinct = len(set(names)) == len(names) and len(set(wanted)) == len(wanted)
    by_name = {name: slot for name, slot in zip(wanted, slots, strict=True) if distinct and name in names}
    # Tensors that Keras 3 has renamed (depthwise_kernel is now kernel) are paired in the remaining order.
    renamed = iter([(name, slot) for name, slot in zip(wanted, slots, strict=True) if name not in by_name])
    pairs: list[tuple[Tensor, VariableSlot | None]] = []
    for name, tensor in zip(names, tensors, strict=True):
        own, slot = (name, by_name[name]) if name in by_name else next(renamed, (name, None))
        pairs.append((tensor, None if own != name and {own, name} <= _STABLE_NAMES else slot))
    return pairs


def _match_in_order(
    items: list[tuple[FileLayer, int | None]], layers: list[ModelLayer], may_stay: MayStay, match: Match
) -> None:
    """Pair the layers of one class in order: with or without those that may stay, whichever fits."""
    if all(number is not None for _, number in items) and all(layer.number is not None for layer in layers):
        items = sorted(items, key=lambda pair: pair[1] or 0)
        layers = sorted(layers, key=lambda layer: layer.number or 0)
    files = [item for item, _ in items]
    needed_files = [item for item in files if not may_stay(item)]
    needed_layers = [layer for layer in layers if not may_stay(layer)]
    best: list[tuple[FileLayer, ModelLayer, Fit]] | None = None
    for some_files in (files, needed_files):
        for some_layers in (layers, needed_layers):
            if len(some_files) == len(some_layers):
                pairs = [(f, m, fit_layer(f, m)) for f, m in zip(some_files, some_layers, strict=True)]
                fits = bool(pairs) and all(fit.complete for _, _, fit in pairs)
                if best is None or (fits and not all(fit.complete for _, _, fit in best)):
                    best = pairs
    if best is None:
        best = _align(files, layers)
        match.unclear.update(map(id, (*files, *layers) if layers else ()))
    match.pairs += best
    paired = {id(item) for item, _, _ in best}
    match.left_over += [item for item in files if id(item) not in paired]


def _align(files: list[FileLayer], layers: list[ModelLayer]) -> list[tuple[FileLayer, ModelLayer, Fit]]:
    """Pair runs of layers of the same shapes, so that a message can name the layer that is one too many."""
    file_shapes = [tuple(sorted(tensor.shape for tensor in item.tensors)) for item in files]
    layer_shapes = [tuple(sorted(slot.shape for slot in layer.slots)) for layer in layers]
    blocks = difflib.SequenceMatcher(None, file_shapes, layer_shapes, autojunk=False).get_matching_blocks()
    pairs = [(files[b.a + i], layers[b.b + i]) for b in blocks for i in range(b.size)]
    return [(item, layer, fit_layer(item, layer)) for item, layer in pairs]


def _file_kind(item: FileLayer, known: set[str], names_agree: bool) -> tuple[str | None, int | None]:
    """Return class and number of a layer that is paired by order; ``(None, None)`` for any other layer."""
    if item.kind is not None:
        kind = canonical(item.kind)
        by_order = not names_agree or item.name is None or automatic_name(item.name, {kind}) is not None
        return (kind, None) if by_order else (None, None)
    return (item.name is not None and automatic_name(item.name, known)) or (None, None)
