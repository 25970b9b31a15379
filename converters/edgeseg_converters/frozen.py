"""A Keras model as one static TensorFlow function: batch 1, fixed size, constant weights, the asked-for output.

Both converters start here. A batch of ``None`` blocks the fusing of dilated convolutions, and variables that are
not frozen give NaN in ``from_concrete_functions``.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from edgeseg.errors import InputError, UnsupportedModel
from edgeseg.spec import ModelSpec, OutputKind

INPUT_NAME = "image"
OUTPUT_NAMES: dict[OutputKind, str] = {"argmax": "class_map", "softmax": "scores", "logits": "logits"}


def freeze(model: keras.Model, spec: ModelSpec) -> Any:
    """Trace a model and make its weights constants.

    Args:
        model: from ``(B, H, W, 3)`` to logits or probabilities ``(B, h, w, C)``; one channel means a binary model.
        spec: ``input_size`` and ``output_kind`` are obeyed.

    Returns:
        A TensorFlow ConcreteFunction from ``(1, H, W, 3)`` float32 to ``(1, h, w)`` uint8 class ids for ``argmax``,
        else to ``(1, h, w, C)`` float32.

    Raises:
        UnsupportedModel: more than one input or output, an output that is no map, or no logits where they are asked.
    """
    check(model, spec)
    signature = [tf.TensorSpec((1, *spec.input_size, 3), tf.float32, name=INPUT_NAME)]

    @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
    def serve(image: tf.Tensor) -> tf.Tensor:
        return head(model(image, training=False), spec.output_kind, gives_probabilities(model))

    return convert_variables_to_constants_v2(serve.get_concrete_function())


def check(model: keras.Model, spec: ModelSpec) -> None:
    """Raise ``UnsupportedModel`` or ``InputError`` when ``freeze`` could not make what the spec says."""
    for what, tensors in (("inputs", model.inputs), ("outputs", model.outputs)):
        if len(tensors) != 1:
            names = ", ".join(tensor.name for tensor in tensors)
            raise UnsupportedModel(
                f"the model has {len(tensors)} {what} ({names}), export takes one; "
                "make a keras.Model of the one you deploy and export that."
            )
    shape = model.output_shape
    if len(shape) != 4:
        raise UnsupportedModel(
            f"the output must be a map (B, H, W, C), got {shape}; leave out the final Reshape of a flattened model."
        )
    if max(shape[-1], 2) != spec.num_classes:
        raise InputError(f"the model has {shape[-1]} output channels, but {spec.num_classes} class names were given.")
    if spec.num_classes > 256:
        raise UnsupportedModel(f"a class map is uint8, which holds 256 classes; the model has {spec.num_classes}.")
    if spec.output_kind == "logits" and gives_probabilities(model):
        raise UnsupportedModel("the model ends in a softmax or sigmoid and has no logits; ask for argmax or softmax.")


def gives_probabilities(model: keras.Model) -> bool:
    """Whether the model ends in a softmax or sigmoid of its own."""
    layer = model.layers[-1]
    if isinstance(layer, keras.Model):
        return gives_probabilities(layer)
    activation = getattr(layer, "activation", None)
    return isinstance(layer, keras.layers.Softmax) or activation in (
        keras.activations.softmax,
        keras.activations.sigmoid,
    )


def head(output: tf.Tensor, kind: OutputKind, probabilities: bool) -> tf.Tensor:
    """Turn a model's output into what is asked for.

    Args:
        output: ``(1, h, w, C)`` float32.
        kind: ``argmax`` needs no softmax before it: softmax keeps the order.
        probabilities: whether ``output`` went through a softmax or sigmoid.

    Returns:
        ``(1, h, w)`` uint8 for ``argmax``, else ``(1, h, w, C)`` float32. A binary model's one channel becomes two:
        softmax over ``[0, x]`` is ``[1 - sigmoid(x), sigmoid(x)]``.
    """
    if output.shape[-1] == 1:
        background = 1.0 - output if probabilities else tf.zeros_like(output)
        output = tf.concat([background, output], axis=-1)
    if kind == "argmax":
        return tf.cast(tf.argmax(output, axis=-1, output_type=tf.int32), tf.uint8)
    return tf.nn.softmax(output) if kind == "softmax" and not probabilities else output
