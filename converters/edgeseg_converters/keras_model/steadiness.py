"""Measure where the answer of a Keras model is decided by rounding alone.

A model with pooling indices is not continuous: where two values of a window agree but for float rounding, the next
runtime may pick the other, and SegNet's decoder spreads the difference over all that the pixel reaches. No converter
can avoid that, so such pixels say nothing about the artifact. To find them the Keras model is run again on inputs that
differ from the image by noise of the size of rounding.

The noise of every value is drawn independently. Moving all values by one float32 step in one direction, say, keeps
equal values equal, and so every tie in the bars of a letterbox, in a saturated sky or in a rendered image. The noise is
relative to the largest value of the input, not to each value: a bar whose color is normalized to 0 would stay 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edgeseg_converters.keras_model.float32 import float32_policy
from edgeseg_converters.keras_model.training_mode import untouched

#: How often the model is run again on every image. The classes of the draws alone do not suffice: of the pixels that an
#: artifact may change, 2 % kept their class in eight of eight draws. How far the scores moved tells more.
DRAWS = 4


@dataclass(frozen=True)
class Answer:
    """What a model says of an image.

    Attributes:
        class_map: ``(h, w)`` uint8.
        scores: ``(1, h, w, C)`` float32.
    """

    class_map: NDArray[np.uint8]
    scores: NDArray[np.float32]

    def leads(self) -> NDArray[np.float32]:
        """Return by how much the best score of each pixel is above the next, ``(h, w)``."""
        two = np.partition(self.scores[0], -2, axis=-1)[..., -2:]
        return np.asarray(two[..., 1] - two[..., 0])


@dataclass(frozen=True)
class Steadiness:
    """Which pixels of the images a model decides by more than rounding.

    Attributes:
        steady: ``(h, w)`` bool for each image: the class was the same in every draw, and would be if the best score
            and the next moved towards each other by as much as a score of the pixel did at most.
        movement: ``(h, w)`` float32 for each image: how far a score of the pixel moved at most.
        changed: share of the pixels that got another class in a draw, of the draw with most, in [0, 1].
    """

    steady: tuple[NDArray[np.bool_], ...]
    movement: tuple[NDArray[np.float32], ...]
    changed: float

    @property
    def unsteady_share(self) -> float:
        """The share of the pixels that are not steady, over all images, in [0, 1]."""
        return 1 - float(np.mean([np.mean(steady) for steady in self.steady]))

    @property
    def largest_movement(self) -> float:
        """How far any score moved at most."""
        return max(float(movement.max()) for movement in self.movement)


class SteadinessProbe:
    """Runs a Keras model on noisy inputs, once for each size of rounding and only when asked."""

    def __init__(
        self,
        model: keras.Model,
        answer: Callable[[NDArray[Any]], Answer],
        inputs: Sequence[NDArray[Any]],
        answers: Sequence[Answer],
    ) -> None:
        """Keep what is needed to run the model again.

        Args:
            model: from images to scores.
            answer: runs it on an input.
            inputs: ``(1, H, W, 3)`` each.
            answers: of the model to them.
        """
        self._model = model
        self._answer = answer
        self._tensors = tuple(inputs)
        self._answers = tuple(answers)
        self._measured: dict[float, Steadiness] = {}
        self._pools: bool | None = None

    def pools_with_indices(self) -> bool:
        """Return whether the model is one whose answer may depend on rounding; see ``pools_with_indices``."""
        if self._pools is None:  # the proof of every artifact asks, and a trace takes as long as a small model's export
            self._pools = pools_with_indices(self._model, self._tensors[0].shape)
        return self._pools

    def at(self, rounding: float) -> Steadiness:
        """Measure the steadiness under noise.

        Args:
            rounding: the largest noise, relative to the largest absolute value of an input.
        """
        if rounding not in self._measured:
            with untouched(self._model), float32_policy():
                self._measured[rounding] = self._measure(rounding)
        return self._measured[rounding]

    def _measure(self, rounding: float) -> Steadiness:
        steady, movements, changed = [], [], []
        for tensor, answer in zip(self._tensors, self._answers, strict=True):
            scale = rounding * float(np.abs(tensor).max())
            movement = np.zeros(answer.class_map.shape, np.float32)
            same = []
            for draw in range(DRAWS):
                noise = np.random.default_rng(draw).uniform(-scale, scale, tensor.shape)
                other = self._answer((tensor + noise).astype(np.float32))
                same.append(other.class_map == answer.class_map)
                np.maximum(movement, np.abs(other.scores - answer.scores).max(axis=-1)[0], out=movement)
            steady.append(np.all(same, axis=0) & (answer.leads() > 2 * movement))
            movements.append(movement)
            changed.append([1 - one.mean() for one in same])
        return Steadiness(tuple(steady), tuple(movements), float(np.mean(changed, axis=0).max()))


def pools_with_indices(model: keras.Model, shape: tuple[int, ...]) -> bool:
    """Return whether a model takes the place of a maximum from a pooling, whatever its layers are called.

    Args:
        model: from images to scores.
        shape: of its input.
    """
    with untouched(model), float32_policy():
        function = tf.function(lambda image: model(image, training=False), autograph=False)
        graph = function.get_concrete_function(tf.TensorSpec(shape, tf.float32)).graph.as_graph_def()
    nodes: list[Any] = [*graph.node, *(node for inner in graph.library.function for node in inner.node_def)]
    return any(node.op == "MaxPoolWithArgmax" for node in nodes)
