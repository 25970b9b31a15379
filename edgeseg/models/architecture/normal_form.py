"""Bring what a model computes into one form, so that models that compute the same are compared as the same.

Given                                       Result
trunk(x)[0], trunk(x)[1]                    one call of each layer: the same layer on the same input is one operation
a 1x1 convolution of a bilinear resize      the resize of the convolution: the weights of a resized pixel sum to one
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from edgeseg.models.architecture.operations import Operation, Operations
from edgeseg.models.architecture.settings import IDENTITY, RESIZE, value_of

#: Interpolations whose pixels are means of the input's.
_MEANS = ("bilinear", "nearest")


def normal_form(operations: Operations) -> Operations:
    """Return the same computation with every call once, and resizes after the 1x1 convolutions that read them."""
    return _rebuilt(_rebuilt(operations, _Calls().once), _resize_last)


def _rebuilt(operations: Operations, change: Callable[[Operation], tuple[Operation, ...]]) -> Operations:
    """Return operations in which each is replaced by others, the last of which takes its place.

    Args:
        operations: they are not changed.
        change: from an operation on rebuilt inputs to those in its place, some of which may be there already.
    """
    last: dict[int, Operation] = {}
    everything: dict[int, Operation] = {}
    for op in operations.all:
        changed = change(replace(op, inputs=tuple(last[id(source)] for source in op.inputs)))
        everything.update({id(each): each for each in changed})
        last[id(op)] = changed[-1]
    outputs = tuple(last[id(op)] for op in operations.outputs)
    return replace(operations, all=tuple(everything.values()), outputs=outputs)


class _Calls:
    """The calls that have been met, by layer and inputs."""

    def __init__(self) -> None:
        self._met: dict[tuple[str, str, tuple[int, ...]], Operation] = {}

    def once(self, op: Operation) -> tuple[Operation, ...]:
        """Return the first operation of the same layer on the same inputs."""
        return (self._met.setdefault((op.name, op.kind, tuple(map(id, op.inputs))), op),)


def _resize_last(op: Operation) -> tuple[Operation, ...]:
    resize = op.inputs[0] if op.inputs else op
    while resize.kind == IDENTITY and resize.inputs:
        resize = resize.inputs[0]
    is_mean = resize.kind == RESIZE and value_of(resize.settings, "interpolation") in _MEANS
    is_pixelwise = op.kind == "Conv2D" and op.settings.window == (1, 1) and value_of(op.settings, "strides") == (1, 1)
    if not (is_mean and is_pixelwise):
        return (op,)
    convolution = replace(op, inputs=resize.inputs[:1], input_shape=resize.input_shape, output_shape=None)
    return convolution, replace(resize, inputs=(convolution, *resize.inputs[1:]))
