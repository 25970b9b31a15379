"""Correct the biases of convolutions by what their integers are off on images, channel by channel.

Rounded weights and cut ranges move the mean of a channel, by the same amount at every pixel: an error that all layers
after it see, and that a bias takes back. This is the empirical bias correction of Nagel et al., Data-Free Quantization
Through Weight Equalization and Bias Correction (arXiv:1906.04721), with three differences. The mean is that after the
activation, which the next layer reads, and the bias moves it by the share of the values that the activation does not
cut off. It is that of the values as far as the integers reach: what is cut off on purpose, such as the tail before a
swish, is no error. And it is measured in the integer file itself, layer after layer, each with the biases before it
corrected.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeseg.choices import Format
from edgeseg.spec import ModelSpec
from edgeseg_converters.calibration import CalibrationSet
from edgeseg_converters.correction.convolutions import Convolution, ConvolutionFile
from edgeseg_converters.correction.files import open_convolutions
from edgeseg_converters.correction.integer_biases import IntegerBiases, open_biases

#: The file runs once on each of them for every convolution. A mean over the pixels of eight differs from that of all by
#: a few percent of what is corrected.
NUM_IMAGES = 8

# Where fewer values follow the bias, the mean hardly does, and its correction would be a division by chance.
_LEAST_ACTIVE = 0.05

# As a part of the largest value: a twentieth of an integer's step. What errs less, such as the normalization of an
# image, whose bytes are its integers, would have another range by it.
_LEAST_SHIFT = 0.05 / 255


def correct_biases(
    data: bytes, artifact: bytes, file_format: Format, images: CalibrationSet, spec: ModelSpec
) -> bytes | None:
    """Return a float file whose integers have the means of the float file's channels.

    Args:
        data: a float32 file whose input takes values 0 to 255.
        artifact: the integer file that an engine makes of it.
        file_format: ``tflite`` or ``onnx``, of both.
        images: to measure the means on; the first ``NUM_IMAGES``.
        spec: how to feed it; the layout is obeyed.

    Returns:
        The file; ``None`` where no convolution has a bias.

    Raises:
        InputError: an image does not decode.
    """
    file, measured = open_convolutions(data, file_format), images.first(NUM_IMAGES)
    axes = (0, 3, 1, 2) if spec.layout == "nchw" else (0, 1, 2, 3)
    fed = [np.ascontiguousarray(tensor.astype(np.uint8).transpose(axes)) for tensor in measured.tensors(spec)]
    integers = open_biases(artifact, file_format, [each.op for each in file.convolutions], fed)
    corrected = [each for each in file.convolutions if each.op in integers.ops]
    if not corrected:
        return None
    expected = _means(file, corrected, integers, measured, spec)
    for each in corrected:
        mean, active, largest = expected[each.result]
        moved = mean - integers.means(each.op)
        shift = np.where(active >= _LEAST_ACTIVE, moved / np.maximum(active, _LEAST_ACTIVE), 0.0)
        if np.abs(shift).max() < _LEAST_SHIFT * largest:
            continue
        integers.shift(each.op, shift)
        each.put_bias((each.bias + shift).astype(np.float32))
    return file.write()


def _means(
    file: ConvolutionFile,
    convolutions: list[Convolution],
    integers: IntegerBiases,
    images: CalibrationSet,
    spec: ModelSpec,
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64], float]]:
    """Return of every result the channels' means and shares of values that follow the bias, and the largest value."""
    sums: dict[str, tuple[NDArray[np.float64], NDArray[np.float64], float]] = {}
    for maps in file.values([each.result for each in convolutions], images, spec):
        for each in convolutions:
            low, high = integers.limits(each.op)
            values = np.clip(maps[each.result], low, high)
            others, active = tuple(range(values.ndim - 1)), each.active(values) & (values > low) & (values < high)
            new = values.mean(axis=others, dtype=np.float64), active.mean(axis=others)
            mean, share, largest = sums.get(each.result, (0.0, 0.0, 0.0))
            sums[each.result] = mean + new[0], share + new[1], max(largest, float(np.abs(values).max()))
    count = len(images.paths)
    return {name: (mean / count, share / count, largest) for name, (mean, share, largest) in sums.items()}
