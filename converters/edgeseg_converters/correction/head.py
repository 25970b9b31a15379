"""Narrow the range of the scores that a class map is made of, without changing the classes.

    Given:   argmax(resize(W x + b))
    Result:  argmax(resize(relu((W - mean(W)) x + b - mean(b) - floor)))       means over the classes

A softmax, and so a training, sees no number that is added to all classes alike: what the kernels of the classes have in
common may be large, and widens the one range of the integer tensor. Nor does it matter how far below the best class
another one is. ``floor`` is below the best score of every pixel of the images, so that only scores of classes which do
not win are cut off; where scores are enlarged between two pixels, an edge may move.
"""

from __future__ import annotations

import numpy as np

from edgeseg.choices import Format
from edgeseg.spec import ModelSpec
from edgeseg_converters.calibration import CalibrationSet
from edgeseg_converters.correction.convolutions import ConvolutionFile
from edgeseg_converters.correction.files import open_convolutions

# How far the floor is below the lowest of the best scores, as a part of the range that remains: other images have lower
# ones, and an edge depends on the class that comes second.
_ROOM = 0.25


def narrow_heads(data: bytes, file_format: Format, images: CalibrationSet, spec: ModelSpec) -> tuple[bytes, ...]:
    """Return files whose scores have narrower ranges: without what the classes have in common, and also cut off below.

    Args:
        data: a float32 file whose input takes values 0 to 255.
        file_format: ``tflite`` or ``onnx``.
        images: to measure the scores on.
        spec: how to feed it; the layout is obeyed.

    Returns:
        The two files; none where the file is not a class map that is made directly of a convolution's scores.

    Raises:
        InputError: an image does not decode.
    """
    file = open_convolutions(data, file_format)
    head = file.head()
    if head is None or not np.isinf(head.limits).all() or len(head.bias) < 2:
        return ()
    lowest, highest = np.inf, -np.inf
    for maps in file.values([head.result], images, spec):
        scores = maps[head.result]
        best = (scores - scores.mean(axis=-1, keepdims=True)).max(axis=-1)
        lowest, highest = min(lowest, float(best.min())), max(highest, float(best.max()))
    floor = lowest - _ROOM * (highest - lowest)
    centered = open_convolutions(data, file_format)
    _center(centered, 0.0)
    _center(file, floor)
    file.add_relu(head)
    return centered.write(), file.write()


def _center(file: ConvolutionFile, floor: float) -> None:
    head = file.head()
    assert head is not None
    head.put_kernel(head.kernel - head.kernel.mean(axis=0))
    head.put_bias(head.bias - head.bias.mean() - np.float32(floor))
