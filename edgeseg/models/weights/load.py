"""Match a file of weights to a model (``match_file``) and prove that every tensor is used, or change nothing at all.

Keras' own ``load_weights(by_name=True, skip_mismatch=True)`` pairs ``conv2d_1`` of a Keras 2 file with the second
convolution of a Keras 3 model and skips, or takes, in silence. Here anything less than complete is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import keras

from edgeseg._internal.fields import short_repr
from edgeseg._internal.text import counted
from edgeseg.errors import InputError
from edgeseg.models.keras_graph import finalize
from edgeseg.models.weights.hdf5 import FileLayer, Tensor, read_weights
from edgeseg.models.weights.match import MayStay, match_layers
from edgeseg.models.weights.variables import ModelLayer, VariableSlot, model_layers

_Pair = tuple[Tensor, VariableSlot]

_HEAD = "head"
_SHOWN = 3  # names in a message; the rest is a count


@dataclass(frozen=True)
class WeightsReport:
    """The result of ``load_weights``.

    Attributes:
        matched: tensor of the file, variable of the model as ``layer/variable``, and their shape.
        left_over: tensors of the file that no variable took; the user allowed each.
        missing: variables of the model that the file did not fill; the user allowed each.
        notes: what the file does not say of the model that it was made for, a sentence each.
    """

    __repr__ = short_repr

    matched: tuple[tuple[str, str, tuple[int, ...]], ...]
    left_over: tuple[str, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def table(self) -> str:
        """Return all of it for people, one tensor a line, and the notes."""
        rows = [("file", "model", "shape"), *((t, v, "x".join(map(str, s)) or "scalar") for t, v, s in self.matched)]
        rows += [(name, "(left over)", "") for name in self.left_over]
        rows += [("(missing)", name, "") for name in self.missing]
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        lines = [f"{t:<{widths[0]}}  {v:<{widths[1]}}  {s}".rstrip() for t, v, s in rows]
        return "\n".join([*lines, *self.notes])


@dataclass(frozen=True)
class FileMatch:
    """A file whose tensors fit a model, before any is assigned.

    Attributes:
        model: the model.
        pairs: tensor of the file, and the variable that it fills.
        file_layers: all that has tensors in the file.
        report: the same for people, with what was allowed to stay without a counterpart.
    """

    model: keras.Model
    pairs: tuple[_Pair, ...]
    file_layers: tuple[FileLayer, ...]
    report: WeightsReport

    def apply(self) -> WeightsReport:
        """Fill the model."""
        for tensor, slot in self.pairs:
            slot.variable.assign(tensor.values)
        finalize(self.model)
        return self.report


def match_file(
    model: keras.Model,
    path: str | Path,
    *,
    allow_missing: Sequence[str] = (),
    file_layers: Sequence[FileLayer] | None = None,
) -> FileMatch:
    """Match the tensors of a file to the variables of a functional model, by their names, places and shapes.

    Args:
        model: a built functional model; it is not changed.
        path: see ``read_weights``. Any float precision; an optimizer's state in it is ignored.
        allow_missing: see ``edgeseg.models.load_weights``.
        file_layers: what ``read_weights`` returned for the file, where it has been read.

    Raises:
        InputError: the file cannot be read, a tensor or variable has no counterpart, or shapes differ.
    """
    layers = model_layers(model)
    patterns = (allow_missing,) if isinstance(allow_missing, str) else tuple(allow_missing)
    head = head_of(layers)
    may_stay = _permission(patterns, head if _HEAD in patterns else [])
    file_layers = read_weights(path) if file_layers is None else file_layers
    match = match_layers(file_layers, layers, may_stay)

    filled: list[_Pair] = []
    clashes: list[_Pair] = []
    unpaired: list[FileLayer | ModelLayer] = [*match.left_over, *match.missing]
    allowed = {id(item) for item in unpaired if may_stay(item) and id(item) not in match.unclear}
    for item, layer, fit in match.pairs:
        if fit.complete or not may_stay(layer):
            filled += fit.filled
            clashes += fit.clashes
        else:  # a layer is filled whole or not at all: half of another layer is no weight of this one
            allowed |= {id(item), id(layer)}
    # What is not used is counted from the file and the model themselves, whatever the matching claims.
    used_tensors = {id(tensor.values) for tensor, _ in (*filled, *clashes)}
    used_variables = {id(slot.variable) for _, slot in (*filled, *clashes)}
    left_over, missing = _Names(), _Names()
    for item in file_layers:
        left_over.add((t for t in item.tensors if id(t.values) not in used_tensors), allowed=id(item) in allowed)
    for layer in layers:
        missing.add((s for s in layer.slots if id(s.variable) not in used_variables), allowed=id(layer) in allowed)

    incomplete = bool(left_over.refused or missing.refused)
    if clashes and not incomplete:
        _refuse_other_classes(path, clashes, head)
    if clashes or incomplete:
        raise InputError(_misfit(path, clashes, left_over.refused, missing.refused))
    if not filled:
        raise InputError(f"'{path}' fills nothing of the model: all that it holds is allowed to stay; allow less.")
    _require_dtypes(path, filled)
    report = WeightsReport(
        matched=tuple((tensor.name, slot.name, tensor.shape) for tensor, slot in filled),
        left_over=tuple(left_over.allowed),
        missing=tuple(missing.allowed),
    )
    return FileMatch(model, tuple(filled), tuple(file_layers), report)


@dataclass
class _Names:
    """The names of tensors and variables without a counterpart."""

    allowed: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def add(self, things: Iterable[Tensor | VariableSlot], *, allowed: bool) -> None:
        (self.allowed if allowed else self.refused).extend(thing.name for thing in things)


def _require_dtypes(path: str | Path, filled: list[_Pair]) -> None:
    for tensor, slot in filled:
        if (tensor.values.dtype.kind == "f") != keras.backend.is_float_dtype(slot.variable.dtype):
            raise InputError(
                f"'{path}' stores '{tensor.name}' as {tensor.values.dtype}, "
                f"but '{slot.name}' of the model is {slot.variable.dtype}."
            )


def head_of(layers: list[ModelLayer]) -> list[ModelLayer]:
    """Return a model's last layer with weights; a BatchNormalization there counts with the layer before it."""
    if layers and isinstance(layers[-1].layer, keras.layers.BatchNormalization):
        return layers[-2:]
    return layers[-1:]


def _permission(patterns: Sequence[str], head: list[ModelLayer]) -> MayStay:
    def may_stay(item: FileLayer | ModelLayer) -> bool:
        things: Sequence[Tensor | VariableSlot] = item.slots if isinstance(item, ModelLayer) else item.tensors
        return (
            any(item is layer for layer in head)
            or (item.name is not None and _named(item.name, patterns))
            or all(_named(thing.name, patterns) for thing in things)
        )

    return may_stay


def _named(name: str, patterns: Sequence[str]) -> bool:
    """Return whether a pattern fits the name, or begins it; ``conv2d_1`` is not the beginning of ``conv2d_10``."""
    return any(
        fnmatchcase(name, pattern)
        or (name.startswith(pattern) and not (pattern[-1:].isdigit() and name[len(pattern) :][:1].isdigit()))
        for pattern in patterns
        if pattern
    )


def _refuse_other_classes(path: str | Path, clashes: list[_Pair], head: list[ModelLayer]) -> None:
    """Raise where only the head's number of classes differs; say it in the user's words."""
    in_head = {id(slot.variable) for layer in head for slot in layer.slots}
    if not all(id(slot.variable) in in_head and len(slot.shape) == len(tensor.shape) for tensor, slot in clashes):
        return
    sides = [side for tensor, slot in clashes for side in zip(tensor.shape, slot.shape, strict=True)]
    differences = {(in_file, in_model) for in_file, in_model in sides if in_file != in_model}
    if len(differences) == 1:
        ((in_file, in_model),) = differences
        raise InputError(
            f"'{path}' has {counted(in_file, 'class')}, the model has {in_model}; "
            f"give `num_classes={in_file}` or `allow_missing={(_HEAD,)}`."
        )


def _misfit(path: str | Path, clashes: list[_Pair], left_over: list[str], missing: list[str]) -> str:
    different = [f"'{tensor.name}' is {tensor.shape} but '{slot.name}' needs {slot.shape}" for tensor, slot in clashes]
    problems = [
        *([first_names(different)] if different else []),
        *([f"nothing in the file fills {first_names(map(repr, missing))}"] if missing else []),
        *([f"nothing in the model takes {first_names(map(repr, left_over))}"] if left_over else []),
    ]
    return (
        f"'{path}' does not fit the model: {'; '.join(problems)}. Give weights of the same architecture, "
        "or, to export, name the layers that may stay as they are: `allow_missing=('PATTERN',)`."
    )


def first_names(names: Iterable[str]) -> str:
    """Return the first names of a list for a message, and the number of the others: ``a, b, c and 12 more``."""
    names = list(names)
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
