"""Read the end of a model: tell logits from probabilities, remove its softmax, and add the head of the artifact."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import tree
from numpy.typing import NDArray

from edgeseg.choices import OutputKind
from edgeseg.errors import UnsupportedModel
from edgeseg.imaging import preprocess
from edgeseg.models.ending import FinalActivation, final_activation, passed_on, require_more_than_one
from edgeseg.models.intervals import Interval, ValueIntervals
from edgeseg.models.keras_graph import twin
from edgeseg.runtime.keras import KerasBackend
from edgeseg.spec import ModelSpec
from edgeseg_converters.images import Samples, natural_noise
from edgeseg_converters.keras_model.graph import Graph, unique_name
from edgeseg_converters.keras_model.tensorflow_internals import replace_input

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Head:
    """How a model ends.

    Attributes:
        model: the model to convert: without the final activation, or the model itself where there is none.
        graph: of ``model``.
        activation: the one that was removed: ``softmax``, ``sigmoid``, ``log_softmax``, or ``None``. Of several in a
            row the last; for ``argmax`` all of them are removed.
        probabilities: whether ``model`` gives probabilities nevertheless: more than a cast or a Reshape follows its
            softmax or sigmoid, which is kept.
    """

    model: keras.Model
    graph: Graph
    activation: str | None
    probabilities: bool

    def class_map(self, output: Any) -> Any:
        """Return the classes of an output of the given model, ``(B, h, w, C)`` to ``(B, h, w)`` uint8."""
        if output.shape[-1] == 1:
            threshold = 0.5 if self.probabilities or self.activation == "sigmoid" else 0.0
            return tf.cast(output[..., 0] > threshold, tf.uint8)
        return add_head(output, "argmax")


def read_head(model: keras.Model, graph: Graph, spec: ModelSpec, samples: Samples | None = None) -> Head:
    """Determine how a model ends.

    The values that the ops at its end can give decide. Only if these are not known is the model run: if all its outputs
    are in [0, 1], and sum to 1 over several channels, they are taken as probabilities, and a warning says so.

    Args:
        model: functional, from ``(B, H, W, 3)`` to one map ``(B, h, w, C)``.
        graph: of the model.
        spec: how to feed it, and the ``output_kind`` that it must serve.
        samples: images to run it on; noise when omitted.

    Raises:
        UnsupportedModel: the output is no scores, or not those that the ``output_kind`` needs.
    """
    channels, kind = graph.outputs[0].shape[-1] or 0, spec.output_kind
    final = final_activation(graph.outputs[0], graph.producer)
    if final:
        require_more_than_one(final, channels)
        if final.name == "sigmoid" and channels > 1 and kind == "softmax":
            raise UnsupportedModel(
                "the model ends in a sigmoid for each class and has no softmax; ask for argmax or logits."
            )
        name: str = final.name
        graph = _without(graph, final)
        # Scores are those that the last activation is taken of; the largest of them is also the largest before.
        while kind == "argmax" and channels > 1 and (final := final_activation(graph.outputs[0], graph.producer)):
            graph = _without(graph, final)
        return Head(graph.to_model(), graph, name, False)
    interval = ValueIntervals(graph.producer).of(graph.outputs[0])
    probabilities = interval.is_probability
    if channels == 1 and not probabilities and interval.origin != "linear":
        probabilities = _looks_binary(model, interval, spec, samples)
    if channels > 1 and kind != "argmax" and interval.origin != "linear":
        outputs = _run(model, spec, samples)
        sums_to_1 = all(np.allclose(values.sum(axis=-1), 1, atol=1e-3) for values in outputs)
        if probabilities and not sums_to_1 and kind == "softmax":
            raise UnsupportedModel(
                f"'{model.name}' gives a probability for each class, which do not sum to 1 as a softmax's do; "
                "ask for argmax."
            )
        if not probabilities and sums_to_1 and _in_unit_interval(outputs):
            probabilities = True
            _warn(model, samples, "lie in [0, 1] and sum to 1: they are taken as the probabilities of a softmax")
    if probabilities and kind == "logits":
        raise UnsupportedModel(
            f"'{model.name}' gives probabilities and has no logits, as its softmax or sigmoid is not its last op; "
            "ask for `output_kind='softmax'` or argmax."
        )
    return Head(model, graph, None, probabilities)


def _without(graph: Graph, final: FinalActivation) -> Graph:
    """Return the graph without its final activation, and with what follows it.

    The classes are the same, as the activations keep the order, so a device need not compute them.
    """
    node: Any = final.step
    if final.before is not None and final.before.dtype == final.value.dtype:
        return graph.without(node, {final.value: final.before})
    if final.is_attribute:  # Conv2D(..., activation="softmax")
        cut = twin(node.operation, activation=keras.activations.linear)
    else:
        cut = WithoutActivation(node.operation, node.outputs.index(final.value))
    # A head that is called in several places keeps its activation and its name in the others.
    taken = {other.name for other in graph.nodes if other is not node} | set(graph.input_names)
    linear = dataclasses.replace(node, operation=cut, name=unique_name(node.name, taken))
    return graph.with_node(node, linear).with_outputs(graph.outputs)


class WithoutActivation(keras.layers.Layer):  # type: ignore[misc]
    """A layer of the user's own code, without the activation that it ends in.

    The activation is only in the code, so the trace that TensorFlow made of it is led around it.
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
        *after, activated = passed_on(flat[self._index])
        (before,) = activated.op.inputs
        if after:
            replace_input(after[-1].op, 0, before)
        else:
            flat[self._index] = before
        return tree.pack_sequence_as(results, flat)


def add_head(scores: Any, kind: OutputKind, *, probabilities: bool = False) -> Any:
    """Turn scores into the requested output.

    Args:
        scores: ``(B, h, w, C)`` float32, numpy or TensorFlow.
        kind: ``argmax`` needs no softmax before it.
        probabilities: whether the scores are probabilities in [0, 1]; otherwise they are logits.

    Returns:
        ``(B, h, w)`` uint8 for ``argmax``, else ``(B, h, w, C)`` float32. A binary model's one channel becomes two.
        For logits: softmax over ``[0, x]`` is ``[1 - sigmoid(x), sigmoid(x)]``. For probabilities: ``[1 - p, p]``, and
        ``[0, p - 0.5]`` where only the larger one counts.
    """
    if scores.shape[-1] == 1:
        if probabilities and kind == "softmax":
            scores = tf.concat([1 - scores, scores], axis=-1)
        else:  # not a concatenation with a constant, which the quantizer for TFLite fails on
            scores = tf.pad(scores - 0.5 if probabilities else scores, [[0, 0], [0, 0], [0, 0], [1, 0]])
    if kind == "argmax":  # not keras.ops.argmax, which adds a comparison for -0.0 that converters keep
        return tf.cast(tf.argmax(scores, axis=-1, output_type=tf.int32), tf.uint8)
    return tf.nn.softmax(scores) if kind == "softmax" and not probabilities else scores


def gives_ids(graph: Graph) -> bool:
    """Return whether the output already is class ids, one-hot or not, or a mask of whole numbers."""
    (value,) = graph.outputs
    is_one_map = len(value.shape) != 4 or value.shape[-1] == 1
    if is_one_map and ("int" in value.dtype or value.dtype == "bool"):
        return True
    return ValueIntervals(graph.producer).of(value).origin == "ids"


def _looks_binary(model: keras.Model, interval: Interval, spec: ModelSpec, samples: Samples | None) -> bool:
    """Return whether the outputs of a single channel are probabilities, where its ops do not tell."""
    outputs = _run(model, spec, samples)
    if _in_unit_interval(outputs):
        _warn(model, samples, "lie in [0, 1]: they are taken as probabilities, with the foreground above 0.5")
        return True
    if interval.low >= 0:
        most = max(float(values.max()) for values in outputs)
        raise UnsupportedModel(
            f"'{model.name}' has one channel that is never negative and goes up to {most:.3g}, which is neither a "
            "logit nor a probability; end it in a sigmoid, or in a convolution without activation."
        )
    return False


def _run(model: keras.Model, spec: ModelSpec, samples: Samples | None) -> list[NDArray[Any]]:
    images = samples.images if samples else (natural_noise(0), natural_noise(1))
    backend, fed = KerasBackend(model), spec.replace(dtype="float32", layout="nhwc")
    return [backend.run(preprocess(image, fed)[0]) for image in images]


def _in_unit_interval(outputs: list[NDArray[Any]]) -> bool:
    return all(values.min() >= 0 and values.max() <= 1 for values in outputs)


def _warn(model: keras.Model, samples: Samples | None, conclusion: str) -> None:
    images = samples.source if samples else "seeded 1/f noise"
    _log.warning("'%s' ends in ops that are not recognized; its values on %s %s", model.name, images, conclusion)
