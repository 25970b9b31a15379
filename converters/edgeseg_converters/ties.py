"""Which of equal maxima a delegate's pooling takes: measured on an artifact, where the next unpooling depends on it.

TensorFlow takes the first of a window in row order. XNNPACK goes through a window by columns, so where (0, 1) and
(1, 0) are equal and larger than (0, 0), it takes the other one, and what is decoded from it moves by a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils
from numpy.typing import NDArray

from edgeseg.coverage.tflite_graph import read_graph
from edgeseg_converters.delegate_ops import POOL


def other_choices(artifact: bytes, inputs: Sequence[NDArray[Any]]) -> float | None:
    """How often LiteRT's CPU takes another maximum of a pooling window than TensorFlow.

    Both look at the same values, those of the artifact, so that only ties count and no rounding.

    Args:
        artifact: a ``.tflite`` file.
        inputs: what it is run on.

    Returns:
        The share of the windows, of every channel of every pooling with indices, in [0, 1]; ``None`` where the
        artifact has no such custom op.
    """
    pools = [node for node in read_graph(artifact).nodes if node.op == POOL]
    if not pools:
        return None
    interpreter = Interpreter(model_content=_with_outputs(artifact, [(p.inputs[0], p.outputs[1]) for p in pools]))
    interpreter.allocate_tensors()
    places = [details["index"] for details in interpreter.get_output_details()][-2 * len(pools) :]
    other = windows = 0
    for tensor in inputs:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], tensor)
        interpreter.invoke()
        for source, index in zip(places[::2], places[1::2], strict=True):
            # XNNPACK writes uint32 where the file says float32: the column times two, plus the row.
            taken = interpreter.get_tensor(index).view(np.uint32)
            other += int(np.count_nonzero(taken != _first(interpreter.get_tensor(source))))
            windows += taken.size
    return other / windows


def _first(x: NDArray[np.float32]) -> NDArray[Any]:
    """The first maximum in row order of every 2x2 window of ``(1, 2h, 2w, C)``, numbered as XNNPACK does."""
    _, height, width, channels = x.shape
    windows = x.reshape(height // 2, 2, width // 2, 2, channels).transpose(0, 2, 4, 1, 3)
    row, column = np.divmod(windows.reshape(*windows.shape[:3], 4).argmax(-1), 2)
    numbers: NDArray[Any] = column * 2 + row
    return numbers[None]


def _with_outputs(artifact: bytes, pairs: Sequence[tuple[int, int]]) -> bytes:
    """The same model that also gives these tensors."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(artifact))
    graph = model.subgraphs[0]
    # Its own output stays one: XNNPACK crashes on an unpooling that nobody reads.
    graph.outputs = [*map(int, graph.outputs), *(tensor for pair in pairs for tensor in pair)]
    model.signatureDefs = None  # it knows one output
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
