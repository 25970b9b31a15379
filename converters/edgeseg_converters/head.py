"""The end of a model: whether it gives logits or probabilities, the model without its softmax, what is put there."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import tensorflow as tf
from keras import tree

from edgeseg.errors import UnsupportedModel
from edgeseg.models.functional import twin
from edgeseg.spec import OutputKind
from edgeseg_converters.graph import Graph, Node, Value

_TRACED = {"Softmax": "softmax", "Sigmoid": "sigmoid"}


def final_activation(model: keras.Model) -> str | None:
    """``softmax`` or ``sigmoid`` when the model ends in one: a layer's, a nested model's, or in code of its own."""
    return _activation(*_end(Graph.from_model(model)))


def logits_model(model: keras.Model) -> keras.Model:
    """The same layers without the final softmax or sigmoid; the model itself where there is none.

    The classes are the same, softmax and sigmoid keep the order, and a device need not compute them. The new model
    holds the variables of the old one, which is not changed.
    """
    graph = Graph.from_model(model)
    node, index = _end(graph)
    if _activation(node, index) is None:
        return model
    assert node is not None
    if isinstance(node.operation, (keras.layers.Softmax, keras.layers.Activation)):
        nodes = [other for other in graph.nodes if other is not node]
        return dataclasses.replace(graph, nodes=nodes, outputs=node.inputs[:1], _structures=None).to_model()
    if _is_known(node.operation):  # a layer with an activation argument, Conv2D(..., activation="softmax")
        cut = twin(node.operation, activation=keras.activations.linear)
    else:
        cut = WithoutActivation(node.operation, index)
    linear = dataclasses.replace(node, operation=cut)
    nodes = [linear if other is node else other for other in graph.nodes]
    return dataclasses.replace(graph, nodes=nodes, _structures=None).to_model()


class WithoutActivation(keras.layers.Layer):  # type: ignore[misc]
    """A layer of the user's own code, up to the softmax or sigmoid that it ends in.

    The activation is nowhere but in the code, so it is left out of what TensorFlow traced of it.
    """

    def __init__(self, operation: Any, index: int) -> None:
        super().__init__(name=operation.name)
        self._operation = operation
        self._index = index
        # A function, so that the code is traced also where Keras runs it eagerly.
        self._traced = tf.function(self._cut, autograph=False)
        self.built = True

    def call(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102 - Keras' own
        return self._traced(*args, **kwargs)

    def _cut(self, *args: Any, **kwargs: Any) -> Any:
        results = self._operation(*args, **kwargs)
        flat = tree.flatten(results)
        flat[self._index] = _source(flat[self._index]).op.inputs[0]
        return tree.pack_sequence_as(results, flat)


def add_head(logits: Any, kind: OutputKind) -> Any:
    """Turn logits into what is asked for.

    Args:
        logits: ``(B, h, w, C)`` float32, numpy or TensorFlow.
        kind: ``argmax`` needs no softmax before it.

    Returns:
        ``(B, h, w)`` uint8 for ``argmax``, else ``(B, h, w, C)`` float32. A binary model's one channel becomes two:
        softmax over ``[0, x]`` is ``[1 - sigmoid(x), sigmoid(x)]``.
    """
    if logits.shape[-1] == 1:
        logits = tf.concat([tf.zeros_like(logits), logits], axis=-1)
    if kind == "argmax":  # not keras.ops.argmax, which adds a comparison for -0.0 that converters keep
        return tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32), tf.uint8)
    return tf.nn.softmax(logits) if kind == "softmax" else logits


def class_map(model: keras.Model, output: Any) -> Any:
    """The classes that a model's own output, logits or probabilities, stands for: ``(B, h, w)`` uint8."""
    if output.shape[-1] == 1:
        threshold = 0.5 if final_activation(model) else 0.0
        return tf.cast(output[..., 0] > threshold, tf.uint8)
    return add_head(output, "argmax")


def check_scores(model: keras.Model, kind: OutputKind) -> None:
    """Raise ``UnsupportedModel`` where softmax scores are asked of independent sigmoids, which do not sum to 1."""
    if kind == "softmax" and final_activation(model) == "sigmoid" and model.output_shape[-1] > 1:
        raise UnsupportedModel(
            "the model ends in a sigmoid for each class and has no softmax; ask for argmax or logits."
        )


def _end(graph: Graph) -> tuple[Node | None, int]:
    """The node that makes the output, and which of its results that is."""
    node = graph.producer(graph.outputs[0])
    return node, node.outputs.index(graph.outputs[0]) if node else 0


def _activation(node: Node | None, index: int) -> str | None:
    if node is None:
        return None
    if not _is_known(node.operation):
        return _traced_activation(node, index)
    if isinstance(node.operation, keras.layers.Softmax):
        return "softmax"
    activation = getattr(node.operation, "activation", None)
    return next((name for name in ("softmax", "sigmoid") if activation is getattr(keras.activations, name)), None)


def _is_known(operation: Any) -> bool:
    """Whether it is one of Keras' layers, whose attributes say all; operations of ``keras.ops`` have none."""
    return isinstance(operation, keras.layers.Layer) and type(operation).__module__.split(".")[0] == "keras"


def _traced_activation(node: Node, index: int) -> str | None:
    """The last op that TensorFlow runs for a layer of unknown code."""

    def run(*tensors: Any) -> Any:
        values: dict[Value, Any] = dict(zip(node.inputs, tensors, strict=True))
        return node(values)[node.outputs[index]]

    specs = [tf.TensorSpec(value.shape, value.dtype) for value in node.inputs]
    (output,) = tf.function(run, autograph=False).get_concrete_function(*specs).outputs
    return _TRACED.get(_source(output).op.type)


def _source(tensor: Any) -> Any:
    while tensor.op.type == "Identity":
        tensor = tensor.op.inputs[0]
    return tensor
