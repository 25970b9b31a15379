"""Replace unpooling by indices in code of any name, as ``MaxUnpoolingRewrite`` replaces edgeseg's own layers.

    Given:   p, index = MaxPoolWithArgmax(2)(x)       x (1, 2h, 2w, C), p (1, h, w, C)
             u = f(index, v)                          v (1, h, w, C), u (1, 2h, 2w, C)
    Result:  as the form says, MaxUnpoolingToMasks or MaxUnpoolingToDelegateOps

f is whatever the code does: it may cast and reshape the index, add the offsets of a batch, scatter the values, sum them
by segments, multiply them by a one-hot index, or compare the index with a map of positions. Ops that read nothing but
the index and constants belong to f; the first that reads something else reads v; the first map after it that has the
size of x is u. Whether f is an unpooling at all, and one with ties to the first, is what the proof finds out.

Holds where the form does, and where nothing but f reads the index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import tensorflow as tf
from keras import layers

from edgeseg.errors import RewriteRefused
from edgeseg_converters.rewrites.ops.base import OpRewrite, OpSite, Trace
from edgeseg_converters.rewrites.shared.max_unpooling_site import MaxUnpoolingRewrite

_POOLING = "MaxPoolWithArgmax"
# TensorFlow's own unpooling, the gradient of the pooling; of its first input only the shape matters.
_GRADIENT = "MaxPoolGradWithArgmax"


@dataclass(frozen=True)
class _Site(OpSite):
    """A pooling with its unpoolings.

    Attributes:
        sources: for each unpooling, which of ``inputs`` its values are; 0 where they are the pooled map itself.
    """

    sources: tuple[int, ...] = ()


class UnpoolingOps(OpRewrite):
    """See the module.

    Args:
        form: what poolings and unpoolings become.
    """

    types = (_POOLING,)
    atol = 0.0  # values are moved, and ties are decided as before

    def __init__(self, form: MaxUnpoolingRewrite) -> None:
        self._form = form

    @property
    def name(self) -> str:
        """The name of the form: it is the same replacement."""
        return self._form.name

    def match(self, trace: Trace, op: tf.Operation) -> OpSite | None:
        """Match a pooling and what its index reaches."""
        x, (pooled, index) = op.inputs[0], op.outputs
        if self._form.keeps_index and any(reader.type == _GRADIENT for reader in trace.readers(index)):
            return None  # the form itself put it there
        window, stride = (tuple(op.get_attr(name)[1:3]) for name in ("ksize", "strides"))
        if (window, stride) != ((2, 2), (2, 2)):
            raise RewriteRefused(f"its windows are {window} with strides {stride}; only 2x2 with stride 2 holds")
        self._form.check_map(tuple(x.shape), x.dtype.name)
        found = _Unpooled(trace, op).found
        inputs = [x]
        sources = []
        for _, values in found:
            names = [tensor.name for tensor in inputs]
            if values.name == pooled.name:
                sources.append(0)
            elif values.name in names:
                sources.append(names.index(values.name))
            else:
                sources.append(len(inputs))
                inputs.append(values)
        return _Site(op, tuple(inputs), (pooled, *(tensor for tensor, _ in found)), tuple(sources))

    def replacement(self, trace: Trace, site: OpSite, inputs: Sequence[Any]) -> Sequence[Any]:
        """Build the new pooling and unpoolings."""
        assert isinstance(site, _Site)  # made by match
        x = inputs[0]
        if not site.sources:
            return [layers.MaxPooling2D(2)(x)]
        pooled, where = self._form.pool(x, "pooling")
        maps = (pooled, *inputs[1:])
        unpooled = (self._form.unpool(maps[source], where, f"unpooling_{at}") for at, source in enumerate(site.sources))
        return [pooled, *unpooled]


class _Unpooled:
    """What is computed from the index of a pooling.

    Attributes:
        found: each unpooled map, and the values that are in it.
    """

    def __init__(self, trace: Trace, pooling: tf.Operation) -> None:
        self.found: list[tuple[tf.Tensor, tf.Tensor]] = []
        self._trace, self._pooling = trace, pooling
        self._small, self._large = tuple(pooling.outputs[0].shape), tuple(pooling.inputs[0].shape)
        #: Ops that read only the index, and those that read the values too, with the values.
        self._of_index: set[tf.Operation] = set()
        self._mixed: dict[tf.Operation, tf.Tensor] = {}
        for op in trace.ops:
            self._visit(op)
        for op in (*self._of_index, *self._mixed):
            if not any(trace.readers(tensor) for tensor in op.outputs):
                self._refuse("reaches an output of the model")

    def _visit(self, op: tf.Operation) -> None:
        read = [tensor for tensor in self._trace.moving(op) if op.type != _GRADIENT or tensor is not op.inputs[0]]
        rest = [tensor for tensor in read if not self._follows(tensor)]
        if len(rest) == len(read):
            return
        if not rest and not any(tensor.op in self._mixed for tensor in read):
            self._of_index.add(op)
            return
        values = {tensor.op: self._mixed[tensor.op] for tensor in read if tensor.op in self._mixed}
        candidates = [*values.values(), *(self._values(op, tensor) for tensor in rest)]
        if len({tensor.name for tensor in candidates}) != 1:
            self._refuse(_read_by(op))
        (result, *_) = op.outputs
        if tuple(result.shape) == self._large and result.dtype == candidates[0].dtype:
            self.found.append((result, candidates[0]))
        else:
            self._mixed[op] = candidates[0]

    def _follows(self, tensor: tf.Tensor) -> bool:
        """Return whether a tensor is the index, or computed from it inside an unpooling."""
        is_index = tensor.op is self._pooling and tensor.value_index == 1
        return is_index or tensor.op in self._of_index or tensor.op in self._mixed

    def _values(self, reader: tf.Operation, tensor: tf.Tensor) -> tf.Tensor:
        """Return the pooled map that a tensor is made of."""
        while tuple(tensor.shape) != self._small or not tensor.dtype.is_floating:
            before = self._trace.moving(tensor.op)
            if len(before) != 1:
                self._refuse(_read_by(reader))
            (tensor,) = before
        return tensor

    def _refuse(self, what: str) -> NoReturn:
        raise RewriteRefused(
            f"its index {what} without an unpooling to the size before the pooling; the replacement has no such index"
        )


def _read_by(op: tf.Operation) -> str:
    return f"is read by '{op.name.partition('/')[2] or op.name}' ({op.type})"
