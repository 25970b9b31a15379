"""Find what a model file and a model compute differently from the same weights, layer by layer."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from edgeseg._internal.text import counted
from edgeseg.models.architecture.normal_form import normal_form
from edgeseg.models.architecture.operations import Operation, Operations
from edgeseg.models.architecture.settings import ACTIVATION, IDENTITY, RESIZE, is_equal, value_of

_COMMUTATIVE = ("Add", "Average", "Maximum", "Minimum", "Multiply")
#: A border of zeros before them may be a layer of its own, or their padding.
_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2D", "SeparableConv2D")
_POOLINGS = ("MaxPooling2D", "AveragePooling2D", "MaxPoolingWithArgmax2D")
_BORDER = "ZeroPadding2D"
_NO_BORDER = ((0, 0), (0, 0))
#: A model may end in one or in logits: the class of a pixel is the same.
_ENDINGS = ("softmax", "sigmoid", "log_softmax")
#: Sides by which windows are compared where the size is open: all residues of the strides that occur.
_SIDES = range(64, 96)

Sides = tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One difference.

    Attributes:
        text: for people: the layer and both values.
        words: what it is about: a setting, or classes of layers that only one of the two has.
    """

    text: str
    words: frozenset[str]


@dataclass(frozen=True)
class Comparison:
    """How a file and a model differ.

    Attributes:
        differences: each gives another result of the same weights.
        unread: layers of the file of which it says only the class, such as a Lambda, for people.
    """

    differences: tuple[Difference, ...]
    unread: tuple[str, ...]


def compare(file: Operations, model: Operations, partners: Mapping[str, str]) -> Comparison:
    """Compare what a file describes with what a model computes.

    Args:
        file: the operations in the file.
        model: those of the model.
        partners: layer of the file to the layer of the model that takes its weights. They are the fixed points: what is
            between them is compared by its place.
    """
    walk = _Walk(file=normal_form(file), model=normal_form(model), partners=partners)
    walk.run()
    return Comparison(tuple(walk.differences.values()), tuple(walk.unread))


@dataclass(kw_only=True)
class _Walk:
    """Goes through both graphs, from the layers that belong together back to the next ones that do.

    Where a layer with weights has no partner, the user has allowed it, and nothing is said of its neighbors.
    """

    file: Operations
    model: Operations
    partners: Mapping[str, str]
    differences: dict[str, Difference] = field(default_factory=dict)
    unread: dict[str, None] = field(default_factory=dict)
    todo: deque[tuple[Operation, Operation, str]] = field(default_factory=deque)
    seen: set[tuple[int, int]] = field(default_factory=set)
    sources: dict[int, frozenset[str]] = field(default_factory=dict)

    def run(self) -> None:
        self._find_sources()
        calls_in_file, calls_in_model = _calls(self.file), _calls(self.model)
        for name, partner in self.partners.items():
            ones, others = calls_in_file.get(name, []), calls_in_model.get(partner, [])
            if len(ones) != len(others):
                self._add(
                    f"'{name}' is called {counted(len(ones), 'time')} in the file, {counted(len(others), 'time')} here",
                    "calls",
                )
            for one, other in zip(ones, others, strict=False):
                self._compare(one, other)
        if len(self.file.outputs) == len(self.model.outputs) == 1:
            one, other = _before_ending(self.file.outputs[0]), _before_ending(self.model.outputs[0])
            if self._is_free(one, other) and one.kind == other.kind:  # heads of other classes, which read the same
                self._compare(one, other)
            else:
                self.todo.append((one, other, "the output"))
        while self.todo:
            self._meet(*self.todo.popleft())

    def _add(self, text: str, *words: str) -> None:
        self.differences.setdefault(text, Difference(text=text, words=frozenset(words)))

    def _find_sources(self) -> None:
        """Note for every operation which layers of the model its input comes from: so inputs of a sum are paired."""
        for operations, names in ((self.file, self.partners), (self.model, {})):
            for op in operations.all:
                own = frozenset({names.get(op.name, op.name)})
                inherited = frozenset[str]().union(*(self.sources[id(source)] for source in op.inputs))
                self.sources[id(op)] = own if _is_weighted(op, operations) else inherited

    # --- two places that should be the same ---

    def _meet(self, one: Operation, other: Operation, reader: str) -> None:
        """Compare what a reader takes in the file with what it takes in the model."""
        one, other = _through(one), _through(other)
        if (id(one), id(other)) in self.seen:
            return
        self.seen.add((id(one), id(other)))
        if self._is_free(one, other) or self._are_partners(one, other):
            return
        weighted = _is_weighted(one, self.file), _is_weighted(other, self.model)
        if not any(weighted) and one.kind == other.kind:
            self._compare(one, other)
        elif self._says_nothing(one):
            self._pass_unread(one, other, reader)
        elif _only_reshapes(one):
            self.todo.append((one.inputs[0], other, reader))
        elif _only_reshapes(other):
            self.todo.append((one, other.inputs[0], reader))
        elif not weighted[0] and one.inputs and self._is_same_place(one.inputs[0], other):
            self._add(f"{reader} reads {_described(one)} in the file, which is not here", one.kind)
            self.todo.append((one.inputs[0], other, reader))
        elif not weighted[1] and other.inputs and self._is_same_place(one, other.inputs[0]):
            self._add(f"{reader} reads {_described(other)} here, which is not in the file", other.kind)
            self.todo.append((one, other.inputs[0], reader))
        else:
            self._add(f"{reader} reads {_described(one)} in the file, {_described(other)} here", one.kind, other.kind)
            if not any(weighted) and len(one.inputs) == len(other.inputs):
                self._pair_inputs(one, other)

    def _pass_unread(self, one: Operation, other: Operation, reader: str) -> None:
        """Go on below a layer that says nothing of itself: it is in the place of one of the model's, or of none."""
        passed, below = [one], one
        while len(below.inputs) == 1 and self._says_nothing(below):
            below = _through(below.inputs[0])
            if self._is_same_place(below, other):
                self.todo.append((below, other, reader))
                break
            passed.append(below)
        else:
            passed = [one]
            if one.inputs and _is_weighted(other, self.model):
                self.todo.append((one.inputs[0], other, reader))
            elif one.inputs and other.inputs:
                self.todo.append((one.inputs[0], other.inputs[0], f"'{one.name}'"))
        self.unread.update(dict.fromkeys(f"'{each.name}' ({each.kind})" for each in passed))

    def _says_nothing(self, op: Operation) -> bool:
        return not op.settings.known and not _is_weighted(op, self.file)

    def _is_same_place(self, one: Operation, other: Operation) -> bool:
        one, other = _through(one), _through(other)
        if _is_weighted(one, self.file) or _is_weighted(other, self.model):
            return self._are_partners(one, other)
        return one.kind == other.kind

    def _are_partners(self, one: Operation, other: Operation) -> bool:
        weighted = _is_weighted(one, self.file) and _is_weighted(other, self.model)
        return weighted and self.partners.get(one.name) == other.name

    def _is_free(self, one: Operation, other: Operation) -> bool:
        """Return whether one of them has weights and no partner."""
        return (_is_weighted(one, self.file) and one.name not in self.partners) or (
            _is_weighted(other, self.model) and other.name not in self.partners.values()
        )

    # --- two operations that should be the same ---

    def _compare(self, one: Operation, other: Operation) -> None:
        if one.kind != other.kind:
            if one.settings.known:
                self._add(f"'{one.name}' is a {one.kind} in the file, a {other.kind} here", one.kind, other.kind)
            else:
                self.unread.setdefault(f"'{one.name}' ({one.kind})")
            self._pair_inputs(one, other)
            return
        if one.kind == RESIZE:
            self._compare_resizes(one, other)
            self.todo.append((one.inputs[0], other.inputs[0], f"'{one.name}'"))
            return
        handled = ("padding",) if one.kind in (*_CONVOLUTIONS, *_POOLINGS) else ()
        differ = self._compare_settings(one, other, without=handled)
        if handled and not differ & {"strides", "dilation_rate", "pool_size"}:
            self._compare_windows(one, other)
        if one.kind in _CONVOLUTIONS:
            sources = _border_before(one)[1], _border_before(other)[1]
            self.todo.append((*sources, f"'{one.name}'"))
        else:
            self._pair_inputs(one, other)

    def _compare_settings(self, one: Operation, other: Operation, without: Sequence[str]) -> set[str]:
        """Add a difference for each setting that differs; return their names."""
        rank = None if other.input_shape is None else len(other.input_shape)
        differ = set()
        for name in sorted({*one.settings.values, *other.settings.values} - set(without)):
            in_file, here = value_of(one.settings, name), value_of(other.settings, name)
            missing = name not in one.settings.values or name not in other.settings.values
            # Of a setting that only one Keras has, nothing is known but that it may be switched on.
            if missing and None in (in_file, here) and not (in_file is True or here is True):
                continue
            if not is_equal(name, in_file, here, rank):
                differ.add(name)
                self._differs(one, other, name, repr(in_file), repr(here))
        return differ

    def _differs(self, one: Operation, other: Operation, name: str, in_file: str, here: str) -> None:
        layer = f"'{one.name}'" if one.name == other.name else f"'{one.name}' (here '{other.name}')"
        setting = "the activation" if name == "activation" else name
        self._add(f"{layer} has {setting} {in_file} in the file, {here} here", name)

    def _compare_windows(self, one: Operation, other: Operation) -> None:
        """Compare which pixels the windows of a convolution or pooling see: paddings may differ in name alone."""
        absorbs = one.kind in _CONVOLUTIONS
        border, own_border = (_border_before(op)[0] if absorbs else _NO_BORDER for op in (one, other))
        padding, own_padding = value_of(one.settings, "padding"), value_of(other.settings, "padding")
        if (border, padding) == (own_border, own_padding):
            return
        shape = _border_of(other).input_shape if absorbs and own_border != _NO_BORDER else other.input_shape
        same = {"same", "valid"} >= {padding, own_padding}
        for axis in (0, 1) if same else ():
            window = (other.settings.window or (1, 1))[axis]
            stride = value_of(other.settings, "strides")[axis]
            dilation = (value_of(other.settings, "dilation_rate") or (1, 1))[axis]
            side = None if shape is None else shape[axis + 1]
            for length in _SIDES if side is None else (side,):
                in_file = _windows(length, window, stride, dilation, padding, border[axis])
                here = _windows(length, window, stride, dilation, own_padding, own_border[axis])
                same = same and in_file == here
        if not same:
            texts = [
                repr(name) + (f" after a border of {sides}" if sides != _NO_BORDER else "")
                for name, sides in ((padding, border), (own_padding, own_border))
            ]
            self._differs(one, other, "padding", *texts)

    def _compare_resizes(self, one: Operation, other: Operation) -> None:
        shape, resized = other.input_shape, other.output_shape
        if shape is not None and tuple(shape[1:3]) == (1, 1):
            return  # every interpolation of one pixel is that pixel
        in_file, here = dict(one.settings.values), dict(other.settings.values)
        if here["factor"] is None and shape and resized and None not in (*shape[1:3], *resized[1:3]):
            factors = [Fraction(large or 0, small or 1) for large, small in zip(resized[1:3], shape[1:3], strict=True)]
            here["factor"] = tuple(factor.numerator if factor.denominator == 1 else factor for factor in factors)
        if None in (in_file["factor"], here["factor"]):
            in_file["factor"] = here["factor"] = None  # to the size of another map, which decides
        for name in sorted({*in_file, *here}):
            corners_matter = in_file["interpolation"] == here["interpolation"] == "bilinear"
            if name == "align_corners" and not corners_matter:
                continue
            if in_file.get(name, False) != here.get(name, False):
                self._differs(one, other, name, repr(in_file.get(name, False)), repr(here.get(name, False)))

    def _pair_inputs(self, one: Operation, other: Operation) -> None:
        if len(one.inputs) != len(other.inputs):
            self._add(
                f"'{one.name}' takes {counted(len(one.inputs), 'input')} in the file, {len(other.inputs)} here",
                one.kind,
                other.kind,
            )
            return
        others = list(other.inputs)
        if one.kind in _COMMUTATIVE:
            others = self._in_order_of(one.inputs, others)
        self.todo.extend((mine, its, f"'{one.name}'") for mine, its in zip(one.inputs, others, strict=True))

    def _in_order_of(self, ones: Sequence[Operation], others: list[Operation]) -> list[Operation]:
        """Return the inputs of a sum in the order of those in the file, where the layers that they come from say it."""
        left, ordered = list(others), []
        for one in ones:
            match = next((other for other in left if self.sources[id(one)] == self.sources[id(other)]), None)
            if match is None:
                return others
            left.remove(match)
            ordered.append(match)
        return ordered


def _calls(operations: Operations) -> dict[str, list[Operation]]:
    calls: dict[str, list[Operation]] = {}
    for op in operations.all:
        if _is_weighted(op, operations):
            calls.setdefault(op.name, []).append(op)
    return calls


def _is_weighted(op: Operation, operations: Operations) -> bool:
    return op.name in operations.weighted and op.kind != ACTIVATION


def _through(op: Operation) -> Operation:
    """Return an operation, or the one that computes what it passes on."""
    while op.kind == IDENTITY and op.inputs:
        op = op.inputs[0]
    return op


def _before_ending(op: Operation) -> Operation:
    """Return what a model's softmax, sigmoid or flattening is applied to."""
    op = _through(op)
    while op.inputs and (op.kind == "Reshape" or op.settings.values.get("activation") in _ENDINGS):
        op = _through(op.inputs[0])
    return op


def _only_reshapes(op: Operation) -> bool:
    """Return whether an operation gives the mean of a map its two axes of one pixel back."""
    return op.kind in ("Reshape", "ExpandDims") and any(
        _through(source).kind in ("GlobalAveragePooling2D", "GlobalMaxPooling2D", "ExpandDims") for source in op.inputs
    )


def _border_of(op: Operation) -> Operation:
    return _through(op.inputs[0])


def _border_before(op: Operation) -> tuple[Any, Operation]:
    """Return the border of zeros before a convolution, and the operation before that border."""
    source = _border_of(op)
    if source.kind == _BORDER:
        return value_of(source.settings, "padding"), source.inputs[0]
    return _NO_BORDER, source


def _windows(
    side: int, size: int, stride: int, dilation: int, padding: str, border: tuple[int, int]
) -> tuple[int, int]:
    """Return how many zeros are before the first window of an axis, and how many windows there are.

    Args:
        side: pixels of the axis.
        size: of the window.
        stride: of the windows.
        dilation: of the window's pixels.
        padding: ``same`` or ``valid``.
        border: zeros before and after the axis, to which the padding is added.
    """
    before, after = border
    reach, side = (size - 1) * dilation + 1, side + before + after
    if padding == "valid":
        return before, (side - reach) // stride + 1
    count = -(-side // stride)
    return before + max((count - 1) * stride + reach - side, 0) // 2, count


def _described(op: Operation) -> str:
    if not op.inputs and op.kind == "InputLayer":
        return "the input"
    values = [f"{value}" for name, value in op.settings.values.items() if name == "activation"]
    return f"'{op.name}' ({' '.join((op.kind, *values))})"
