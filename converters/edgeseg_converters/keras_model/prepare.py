"""The user's model made ready: functional, one map as output, fixed size, float32; itself left as it was."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import keras

from edgeseg.errors import InputError
from edgeseg.models.keras_graph import as_functional, graph_of, require_image, select_output, size_of, twin
from edgeseg_converters.keras_model.float32 import in_float32
from edgeseg_converters.keras_model.graph import Graph, Node
from edgeseg_converters.rewrites import Rewrite

_log = logging.getLogger(__name__)


def prepare(model: keras.Model, input_size: tuple[int, int] | None = None, output: str | None = None) -> keras.Model:
    """Make a model what the rest of an export starts from.

    Args:
        model: functional, Sequential or subclassed.
        input_size: ``(H, W)`` in pixels; the model's own when left out.
        output: which output, of a model with several.

    Returns:
        A functional model with the same variables, but for some of a mixed-precision model, see ``in_float32``; the
        given one where nothing is to be done.

    Raises:
        InputError: the input is no RGB image, there is no size, a layer does not go with it, or there is no such
            output.
        UnsupportedModel: there are several outputs and none was named, the model's code fails on an image, or a
            layer in half precision cannot be made again in float32.
    """
    if graph_of(model) is not None and len(graph_of(model).inputs) == 1:
        require_image(model, model.name)  # first: of other shapes the sides would be read wrong
    own = size_of(model)
    size = input_size or own
    height, width = size
    if height is None or width is None:
        raise InputError(
            f"the model '{model.name}' has no fixed input size; give --imgsz H,W, in Python a spec with input_size."
        )
    functional = _unflattened(select_output(as_functional(model, (height, width)), output))
    is_image = len(functional.inputs) == 1 and len(functional.inputs[0].shape) == 4
    if is_image and tuple(functional.inputs[0].shape[1:3]) != (height, width):
        functional = Graph.from_model(functional).resized((height, width))
    return in_float32(functional)


def _unflattened(model: keras.Model) -> keras.Model:
    """A model that ends in ``Reshape((H * W, C))`` and perhaps a softmax, as Keras 1 wanted it, without that Reshape.

    Rows of pixels are the same in a row or in a map: an activation behind the Reshape works on each value or pixel.
    """
    graph = Graph.from_model(model)
    behind: list[Node] = []
    node = graph.producer(graph.outputs[0])
    while node is not None and _is_activation(node):
        behind.insert(0, node)
        node = graph.producer(node.inputs[0])
    if node is None or node.kind != "Reshape" or len(node.outputs[0].shape) != 3:
        return model
    (source,) = node.inputs
    if len(source.shape) != 4 or source.shape[-1] != node.outputs[0].shape[-1]:
        return model
    rest = [other for other in graph.nodes if other not in (node, *behind)]
    start = dataclasses.replace(graph, nodes=rest, outputs=(source,)).to_model()
    y = start.outputs[0]
    for layer in behind:
        y = twin(layer.operation)(y)
    return keras.Model(start.inputs[0], y, name=model.name)


def _is_activation(node: Node) -> bool:
    """Whether a layer works on each value or pixel by itself: an activation of Keras', over the last axis if any."""
    if node.kind == "Softmax":
        return node.operation.axis in (-1, len(node.inputs[0].shape) - 1)
    function = node.operation.activation if node.kind == "Activation" else None
    return str(getattr(function, "__module__", "")).startswith("keras.")


def note_opaque(model: keras.Model, swaps: Sequence[Rewrite]) -> None:
    """Warn of subclassed models, inside of which no rewrite can look, and name what it would have replaced there."""
    layers = {id(node.operation): node.operation for node in Graph.from_model(model).nodes}
    for layer in layers.values():
        inside = getattr(layer, "_operation", layer)  # of a layer without its activation
        if not isinstance(inside, keras.Model) or graph_of(inside) is not None:
            continue
        rules = {rule.layer_class: rule.name for rule in swaps}
        left = [
            f"{rules[type(found).__name__]} for '{found.name}'"
            for found in inside._flatten_layers(include_self=False)
            if type(found).__name__ in rules
        ]
        _log.warning(
            "'%s' is a subclassed model, which has no graph: it is converted as it is, without speed-ups%s; "
            "build it with keras.Model(inputs, outputs) for them",
            inside.name,
            f" and without {', '.join(left)}" if left else "",
        )
