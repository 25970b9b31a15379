"""Measure how a delegate breaks ties in max pooling with indices, on which the next unpooling depends.

TensorFlow takes the first maximum of a window in row order. XNNPACK goes through a window by columns, so where (0, 1)
and (1, 0) are equal and larger than (0, 0), it takes the other one, and what is decoded from it moves by a pixel.
Integers make unequal values equal, so a quantized file may take another maximum even on the same runtime.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgeseg_converters.tflite.delegate_pooling import POOL
from edgeseg_converters.tflite.graph import TfliteGraph


def other_choices(artifact: bytes, inputs: Sequence[NDArray[Any]]) -> float | None:
    """Measure how often LiteRT's CPU takes another maximum of a pooling window than TensorFlow.

    Both get the same values, those of the artifact, so that only ties count and no rounding.

    Args:
        artifact: a ``.tflite`` file.
        inputs: to run it on.

    Returns:
        The share of the windows, of every channel of every pooling with indices, in [0, 1]; ``None`` where the
        artifact has no such custom op.
    """
    other = windows = 0
    for pools in _choices(artifact, inputs):
        for source, taken in pools:
            other += int(np.count_nonzero(taken != _first(source)))
            windows += taken.size
    return other / windows if windows else None


def same_indices(before: bytes, after: bytes, inputs: Sequence[NDArray[Any]]) -> tuple[float, ...] | None:
    """Measure how often a quantized file takes the maximum of a pooling window from the same place as the float file.

    Args:
        before: the float ``.tflite`` file.
        after: the file that was quantized from it.
        inputs: whole numbers from 0 to 255, to run both on.

    Returns:
        For each pooling with indices, in the order of the files, the share of the windows of all channels in [0, 1];
        ``None`` where the files have no such custom op: the masks of a target without it are not compared.
    """
    shares = [
        [float(np.mean(old == new)) for (_, old), (_, new) in zip(*pools, strict=True)]
        for pools in zip(_choices(before, inputs), _choices(after, inputs), strict=True)
    ]
    return tuple(map(float, np.mean(shares, axis=0))) if shares else None


def _choices(artifact: bytes, inputs: Sequence[NDArray[Any]]) -> Iterator[list[tuple[NDArray[Any], NDArray[Any]]]]:
    """Yield for each input the values of every pooling and the index taken in each window, as XNNPACK numbers them."""
    graph = TfliteGraph.read(artifact)
    pools = [op for op in graph.operators if graph.op_name(op) == POOL]
    if not pools:
        return
    # The file's own output is kept: XNNPACK crashes on an unpooling that nobody reads.
    looked_at = [tensor for op in pools for tensor in (op.inputs[0], op.outputs[1])]
    interpreter = Interpreter(model_content=graph.with_outputs([*graph.outputs, *looked_at]).write())
    interpreter.allocate_tensors()
    image = interpreter.get_input_details()[0]
    places = [details["index"] for details in interpreter.get_output_details()][-2 * len(pools) :]
    for tensor in inputs:
        interpreter.set_tensor(image["index"], tensor.astype(image["dtype"]))
        interpreter.invoke()
        values = [interpreter.get_tensor(index) for index in places]
        # XNNPACK writes uint32 where the file says float32: the column times two, plus the row.
        yield [(source, taken.view(np.uint32)) for source, taken in zip(values[::2], values[1::2], strict=True)]


def _first(x: NDArray[np.float32]) -> NDArray[Any]:
    """Return the first maximum in row order of every 2x2 window of ``(1, 2h, 2w, C)``, numbered as XNNPACK does."""
    _, height, width, channels = x.shape
    windows = x.reshape(height // 2, 2, width // 2, 2, channels).transpose(0, 2, 4, 1, 3)
    row, column = np.divmod(windows.reshape(*windows.shape[:3], 4).argmax(-1), 2)
    numbers: NDArray[Any] = column * 2 + row
    return numbers[None]
