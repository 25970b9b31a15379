"""The end of a model: whether it gives logits or probabilities, the model without its softmax, what is put there."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from edgeseg.errors import UnsupportedModel
from edgeseg.spec import OutputKind


def final_activation(model: keras.Model) -> str | None:
    """``softmax`` or ``sigmoid`` when the model ends in one, in a layer or a nested model of any depth."""
    layer, _ = _producer(model)
    if isinstance(layer, keras.Model):
        return final_activation(layer)
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    activation = getattr(layer, "activation", None)
    return next((name for name in ("softmax", "sigmoid") if activation is getattr(keras.activations, name)), None)


def logits_model(model: keras.Model) -> keras.Model:
    """The same layers without the final softmax or sigmoid; the model itself where there is none.

    The classes are the same, softmax and sigmoid keep the order, and a device need not compute them.
    """
    if final_activation(model) is None:
        return model
    layer, inputs = _producer(model)
    if isinstance(layer, keras.Model):
        outputs = logits_model(layer)(*inputs)
    elif isinstance(layer, (keras.layers.Softmax, keras.layers.Activation)):
        (outputs,) = inputs
    else:  # a layer with an activation argument, Conv2D(..., activation="softmax")
        linear = type(layer).from_config({**layer.get_config(), "activation": "linear"})
        outputs = linear(*inputs)
        linear.set_weights(layer.get_weights())
    return keras.Model(model.inputs, outputs, name=model.name)


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


def _producer(model: keras.Model) -> tuple[Any, list[Any]]:
    """The layer that makes the model's output, and the tensors that go into it."""
    history = model.outputs[0]._keras_history  # what keras' own Functional walks
    return history.operation, list(history.operation._inbound_nodes[history.node_index].input_tensors)
