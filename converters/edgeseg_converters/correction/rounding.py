"""Choose for every weight whether it is rounded up or down, so that the results of its layer err least.

Rounding each weight to the nearest integer keeps the weights near, not the results: errors of weights whose inputs go
together may cancel out. AdaRound (Nagel et al., Up or Down? Adaptive Rounding for Post-Training Quantization,
arXiv:2004.10568) minimizes the squared error of a layer's results on images. It is a quadratic function of the errors
of the weights, whose matrix is the inputs' second moments, the same for all output channels. AdaRound relaxes the
choices and descends the gradient; here each weight in turn takes the neighbor that is better, until a turn changes
little (coordinate descent), which needs no more than that matrix.

The quantizer rounds the chosen weights itself: they are given to it as whole steps. A channel's step follows from its
largest weight, which is kept as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeseg.choices import Format
from edgeseg.spec import ModelSpec
from edgeseg_converters.calibration import CalibrationSet
from edgeseg_converters.correction.convolutions import Convolution, ConvolutionFile, Window
from edgeseg_converters.correction.files import open_convolutions

#: Images whose maps give the second moments.
NUM_IMAGES = 8

# Windows of a layer, from all images: half as many as the largest kernels have weights, which the damping is for.
_NUM_WINDOWS = 2048

# A turn through all weights of a layer; the third changes less than a percent of them.
_TURNS = 3

# Weights that are chosen before the errors of the others are computed again, by one product of matrices.
_BLOCK = 64

# Added to the second moments, as a part of their mean: there are fewer windows than weights in the largest layers.
_DAMPING = 0.01

# Multiplications of a turn; a larger layer keeps the nearest integers. 512 output channels of 3x3x512 have 1.1e10.
_MOST_WORK = 2e10

# Numbers in the second moments that are held at a time, 400 MB.
_MOST_MOMENTS = 100_000_000


def choose_rounding(data: bytes, file_format: Format, images: CalibrationSet, spec: ModelSpec) -> bytes | None:
    """Return a float file whose weights are whole steps of the quantizer.

    Args:
        data: a float32 file whose input takes values 0 to 255.
        file_format: ``tflite`` or ``onnx``.
        images: to measure the layers on; the first ``NUM_IMAGES``.
        spec: how to feed it; the layout is obeyed.

    Returns:
        The file; ``None`` where it has no convolution of a size that can be chosen.

    Raises:
        InputError: an image does not decode.
    """
    file = open_convolutions(data, file_format)
    chosen = [each for each in file.convolutions if each.window is not None and _work(each) <= _MOST_WORK]
    for part in _parts(chosen):
        for each, moments in zip(part, _moments(file, part, images.first(NUM_IMAGES), spec), strict=True):
            each.put_kernel(rounded(each.kernel, moments, largest_integer(each, file_format)))
    return file.write() if chosen else None


def largest_integer(convolution: Convolution, file_format: Format) -> int:
    """Return what the quantizer of a format makes of a channel's largest weight; see ``onnx.quantize``."""
    depthwise = convolution.window is not None and len(convolution.kernel) == convolution.window.groups > 1
    return 127 if file_format == "tflite" or depthwise else 64


def rounded(kernel: NDArray[np.float32], moments: NDArray[np.float32], largest: int) -> NDArray[np.float32]:
    """Choose the integers of a kernel.

    Args:
        kernel: ``(O, I, h, w)``.
        moments: second moments of the inputs of each group, ``(G, K, K)`` with ``K = I h w``.
        largest: the integer of a channel's largest weight.

    Returns:
        The kernel in whole steps of each channel; the largest weight of each as it was.
    """
    groups, count = moments.shape[:2]
    weights = kernel.reshape(groups, -1, count)
    most = np.abs(weights).max(axis=2, keepdims=True)
    steps = np.where(most > 0, most / largest, 1).astype(np.float32)
    exact = weights / steps
    whole = np.rint(exact)
    # The other neighbor, one step towards the exact value; none of the largest, nor beyond it.
    towards = np.where(exact > whole, 1, -1).astype(np.float32)
    free = (np.abs(weights) < most) & (np.abs(whole + towards) <= largest)
    flipped = np.zeros(weights.shape, bool)
    errors = whole - exact
    damped = moments + _DAMPING * np.eye(count, dtype=np.float32) * _mean_power(moments)
    slopes = errors @ damped
    powers = np.diagonal(damped, axis1=1, axis2=2)
    for _ in range(_TURNS):
        before = flipped.copy()
        for start in range(0, count, _BLOCK):
            block = slice(start, min(start + _BLOCK, count))
            moved = np.zeros_like(errors[:, :, block])
            for index in range(block.start, block.stop):
                change = np.where(flipped[:, :, index], -towards[:, :, index], towards[:, :, index])
                better = free[:, :, index] & (2 * change * slopes[:, :, index] + powers[:, None, index] < 0)
                change = np.where(better, change, 0)
                flipped[:, :, index] ^= better
                moved[:, :, index - start] = change
                slopes[:, :, block] += change[:, :, None] * damped[:, None, index, block]
            # Within the block the slopes are up to date already.
            delta = moved @ damped[:, block]
            delta[:, :, block] = 0
            slopes += delta
        if np.mean(before != flipped) < _FEW:
            break
    integers = np.where(flipped, whole + towards, whole)
    kept = np.abs(weights) == most
    return np.where(kept, weights, integers * steps).astype(np.float32).reshape(kernel.shape)


# A turn that changes fewer of the weights is the last.
_FEW = 0.001


def windows_of(
    maps: NDArray[np.float32], window: Window, places: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> NDArray[np.float32]:
    """Return what a convolution reads for some of its results.

    Args:
        maps: ``(1, H, W, C)``.
        window: of the convolution.
        places: rows and columns of the results, ``(N,)`` each.

    Returns:
        ``(G, N, K)``, the values of a window in the order of ``Convolution.kernel``.
    """
    rows, columns = (
        place[:, None] * stride + np.arange(size) * dilation - before
        for place, stride, size, dilation, before in zip(
            places, window.strides, window.size, window.dilations, window.before, strict=True
        )
    )
    height, width, channels = maps.shape[1:]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    read = maps[0, rows.clip(0, height - 1)[:, :, None], columns.clip(0, width - 1)[:, None, :]]  # (N, h, w, C)
    read = np.where(inside[..., None], read, 0).reshape(*inside.shape, window.groups, channels // window.groups)
    return np.ascontiguousarray(read.transpose(3, 0, 4, 1, 2)).reshape(window.groups, len(rows), -1)


def _moments(
    file: ConvolutionFile, convolutions: Sequence[Convolution], images: CalibrationSet, spec: ModelSpec
) -> list[NDArray[np.float32]]:
    """Return the second moments of what each convolution reads, ``(G, K, K)`` each."""
    sums: list[NDArray[np.float32] | float] = [0.0] * len(convolutions)
    count, random = -(-_NUM_WINDOWS // len(images.paths)), np.random.default_rng(0)
    names = list(dict.fromkeys(each.source for each in convolutions))
    for maps in file.values(names, images, spec):
        for index, each in enumerate(convolutions):
            assert each.window is not None
            inputs = maps[each.source]
            # Results at the edges too, but none that reads nothing.
            sizes = [
                -(-(size + 2 * before - (kernel - 1) * dilation) // stride)
                for size, before, kernel, dilation, stride in zip(
                    inputs.shape[1:3],
                    each.window.before,
                    each.window.size,
                    each.window.dilations,
                    each.window.strides,
                    strict=True,
                )
            ]
            places = random.integers(0, np.maximum(sizes, 1), (min(count, max(int(np.prod(sizes)), 1)), 2)).T
            read = windows_of(inputs, each.window, (places[0], places[1]))
            sums[index] = sums[index] + read.transpose(0, 2, 1) @ read
    return [np.asarray(total, np.float32) for total in sums]


def _mean_power(moments: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of each diagonal, ``(G, 1, 1)``; 1 where all is zero."""
    powers = np.trace(moments, axis1=1, axis2=2)[:, None, None] / moments.shape[1]
    return np.where(powers > 0, powers, 1).astype(np.float32)


def _size(convolution: Convolution) -> int:
    """Return how many numbers the second moments of a convolution have."""
    assert convolution.window is not None
    return int(convolution.window.groups * np.prod(convolution.kernel.shape[1:]) ** 2)


def _work(convolution: Convolution) -> float:
    """Return the multiplications of a turn."""
    return float(convolution.kernel.shape[0] * np.prod(convolution.kernel.shape[1:]) ** 2)


def _parts(convolutions: Sequence[Convolution]) -> Iterator[list[Convolution]]:
    """Yield convolutions whose second moments together fit into the memory."""
    part: list[Convolution] = []
    for each in convolutions:
        if part and sum(map(_size, part)) + _size(each) > _MOST_MOMENTS:
            yield part
            part = []
        part.append(each)
    if part:
        yield part
