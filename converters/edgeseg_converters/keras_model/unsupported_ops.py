"""List the ops that a format does not have, and the layers of the model that they come from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import tensorflow as tf

from edgeseg.errors import UnsupportedModel
from edgeseg.models.keras_internals import layers_directly_within, layers_within

_PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum")


class ForeignOps(UnsupportedModel):
    """A converter has nothing for some of TensorFlow's ops.

    Attributes:
        ops: their types.
    """

    def __init__(self, complaint: str, ops: Iterable[str]) -> None:
        self.ops = tuple(dict.fromkeys(ops))
        self.complaint = complaint
        super().__init__(f"{complaint}: {', '.join(self.ops)}.")


class Places:
    """Finds the layer that an op of a frozen function comes from: TensorFlow keeps their names in those of the ops.

    Args:
        model: the user's, with its nested models.
    """

    def __init__(self, model: keras.Model) -> None:
        self._walked = list(_walk(model, ()))

    def of(self, op_name: str) -> tuple[str, str]:
        """Return the path and the class of the innermost layer of an op; its scope and "" without such a layer."""
        # A scope that is entered twice gets a number appended; the last part is the op's own.
        scopes = op_name.split("/")[:-1]

        def depth(name: str) -> int:
            return max(
                (at for at, scope in enumerate(scopes) if re.fullmatch(rf"{re.escape(name)}(_\d+)?", scope)), default=-1
            )

        def rank(path: tuple[str, ...]) -> tuple[int, int, bool]:
            return depth(path[-1]), sum(depth(name) >= 0 for name in path), path[-1] in scopes

        best = max(self._walked, key=lambda place: rank(place[0]), default=None)
        if best is None or depth(best[0][-1]) < 0:
            return "/".join(scopes) or op_name, ""
        path, layer = best
        return "/".join(path), type(layer).__name__


def refuse_quantized(frozen: Any, model: keras.Model) -> None:
    """Refuse layers that Keras' own ``model.quantize()`` lets compute in 8 bits; int4 weights alone are no obstacle.

    No format has float8. With int8 each vector is rounded by its own largest value, so a difference in the last digit
    of a float becomes one of 1/127: no file can be proven equal, and the precisions of an export do the same better.

    Args:
        frozen: the function to convert.
        model: the user's, with its nested models.

    Raises:
        UnsupportedModel: there are such layers; the text names them.
    """
    ops = frozen.graph.get_operations()
    if any(tensor.dtype.name.startswith("float8") for op in ops for tensor in op.outputs) or any(
        op.type in _PRODUCTS and tensor.dtype == tf.int8 for op in ops for tensor in op.inputs
    ):
        quantized = [layer.name for layer in layers_within(model) if layer.quantization_mode is not None]
        raise UnsupportedModel(
            f"{', '.join(map(repr, quantized)) or 'a layer'} of '{model.name}' computes in 8 bits, as model.quantize() "
            "made it; export the model as it was before model.quantize(), `precision` quantizes it."
        )


def with_layers(error: ForeignOps, frozen: Any, model: keras.Model) -> UnsupportedModel:
    """Return the same error with every layer that has such an op.

    Args:
        error: what a converter raised.
        frozen: the function that was converted.
        model: the user's, with its nested models.
    """
    places_of = Places(model)
    # Only what is converted: ops that a rewrite replaced are still in the graph.
    ends = [tensor.op.name for tensor in frozen.outputs]
    graph = tf.compat.v1.graph_util.extract_sub_graph(frozen.graph.as_graph_def(), ends)
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    listed, custom = [], False
    for op in error.ops:
        places = dict.fromkeys(places_of.of(node.name) for node in nodes if node.op == op)
        named = ", ".join(f"'{path}' ({kind})" if kind else f"'{path}'" for path, kind in places)
        listed.append(f"{op} in {named}" if named else op)
        custom = custom or bool(places)
    hint = " Write these layers with ops that it has, or remove them from the model." if custom else ""
    return UnsupportedModel(f"{error.complaint}: {'; '.join(listed)}.{hint}")


def _walk(layer: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for inner in layers_directly_within(layer):
        here = (*path, inner.name)
        yield here, inner
        yield from _walk(inner, here)
