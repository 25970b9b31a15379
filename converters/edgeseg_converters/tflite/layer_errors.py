"""Find where a quantized TFLite file loses precision: compare every tensor with the same tensor of the float file.

The quantizer keeps the names of the tensors, so the two files are run on the same images and read tensor by tensor.
Two numbers are measured: how far the tensor is from the float one in the running integer model, which carries the
errors of all layers before, and how far the float values alone move when they are put on the tensor's scale, which is
the cost of its range.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgeseg.errors import InputError
from edgeseg.runtime import default_threads
from edgeseg_converters.tflite.graph import TfliteGraph


@dataclass(frozen=True, kw_only=True)
class LayerError:
    """Compare one tensor of a quantized file with the float file's.

    A signal-to-noise ratio is ``10 log10(sum(x^2) / sum((x - y)^2))`` over all images, in dB: 6 dB are one bit.
    It is infinite where nothing differs.

    Attributes:
        tensor: its name in both files.
        op: the op that makes it in the float file (``CONV_2D``).
        range_db: of the float values put on the tensor's scale; infinite for a tensor that stayed in float.
        channel_db: the same for each channel alone, the median over the channels; far below ``range_db`` where few
            channels are so large that the others have few steps left.
        model_db: of the tensor in the running model, with the errors of all before it.
        low: smallest value in the float file.
        high: largest value in the float file.
        scale: the size of one step of the integer; ``None`` for a tensor that stayed in float.
        limits: smallest and largest value that the integer can hold; ``None`` likewise.
        clipped: share of the float values beyond the limits by more than half a step, in [0, 1].
    """

    tensor: str
    op: str
    range_db: float
    channel_db: float
    model_db: float
    low: float
    high: float
    scale: float | None
    limits: tuple[float, float] | None
    clipped: float


def layer_errors(
    before: bytes, after: bytes, images: Iterable[NDArray[np.float32]], *, num_threads: int | None = None
) -> tuple[LayerError, ...]:
    """Compare every tensor that an op makes and that both files have.

    Args:
        before: the float ``.tflite`` file, whose input takes values 0 to 255.
        after: the file that was quantized from it, its input uint8 or float32.
        images: ``(1, H, W, 3)`` float32, whole numbers from 0 to 255, as ``CalibrationSet.tensors`` gives them;
            a few are enough. All tensors of both models are held in memory at once.
        num_threads: of the runtime; ``default_threads()`` when omitted.

    Returns:
        The tensors, those whose range costs most first; where no range costs anything, those furthest off in the
        running model first.

    Raises:
        InputError: there are no images, or the files have no tensor in common.
    """
    threads = default_threads() if num_threads is None else num_threads
    old, new = _Model(before, threads), _Model(after, threads)
    made_by, kept = _ops(before), _ops(after)  # a file may have tensors that nobody makes any more
    shared = [name for name in made_by if name in kept and old.holds_values(name) and new.holds_values(name)]
    sums = {name: _Sums(scale=new.scale(name)) for name in shared if old.shape(name) == new.shape(name)}
    if not sums:
        raise InputError("the two files have no tensor in common; give the file that the other was quantized from.")
    count = 0
    for image in images:
        count += 1
        old.run(image)
        new.run(image)
        for name, summed in sums.items():
            summed.add(old.read(name), new.read(name))
    if not count:
        raise InputError("there are no images to compare the layers on.")
    errors = [summed.result(name, made_by[name]) for name, summed in sums.items()]
    return tuple(sorted(errors, key=lambda error: (error.range_db, error.model_db)))


@dataclass(frozen=True)
class _Scale:
    """Hold the size of one step, the zero point, and the integers' own limits."""

    scale: float
    zero_point: int
    lowest: int
    highest: int

    @property
    def limits(self) -> tuple[float, float]:
        return (self.lowest - self.zero_point) * self.scale, (self.highest - self.zero_point) * self.scale

    def rounded(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the values on this scale, clipped to the integer's limits."""
        steps = np.clip(np.round(values / self.scale) + self.zero_point, self.lowest, self.highest)
        return np.asarray((steps - self.zero_point) * self.scale, np.float32)


class _Model:
    """Run a TFLite file that keeps its inner tensors, which a runtime otherwise overwrites."""

    def __init__(self, data: bytes, num_threads: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # keeping all tensors takes memory: intended
            self._interpreter = Interpreter(
                model_content=data, num_threads=num_threads, experimental_preserve_all_tensors=True
            )
        self._interpreter.allocate_tensors()
        self._tensors: dict[str, Any] = {details["name"]: details for details in self._interpreter.get_tensor_details()}
        self._input = self._interpreter.get_input_details()[0]

    def holds_values(self, name: str) -> bool:
        """Return whether there is such a tensor and its values are neither class ids nor a shape."""
        details = self._tensors.get(name)
        return details is not None and (details["dtype"] == np.float32 or self.scale(name) is not None)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensors[name]["shape"])

    def scale(self, name: str) -> _Scale | None:
        details = self._tensors[name]
        scales = details["quantization_parameters"]["scales"]
        if len(scales) != 1 or not np.issubdtype(details["dtype"], np.integer):
            return None
        limits = np.iinfo(details["dtype"])
        return _Scale(
            float(scales[0]), int(details["quantization_parameters"]["zero_points"][0]), limits.min, limits.max
        )

    def run(self, image: NDArray[np.float32]) -> None:
        self._interpreter.set_tensor(self._input["index"], image.astype(self._input["dtype"]))
        self._interpreter.invoke()

    def read(self, name: str) -> NDArray[np.float32]:
        """Return a tensor of the last run as float32, dequantized where it is an integer."""
        values = self._interpreter.get_tensor(self._tensors[name]["index"]).astype(np.float32)
        scale = self.scale(name)
        return np.asarray(values if scale is None else (values - scale.zero_point) * scale.scale, np.float32)


@dataclass(kw_only=True)
class _Sums:
    """Sum up the signal and the errors of a tensor, for each channel."""

    scale: _Scale | None
    signal: Any = 0.0
    range_noise: Any = 0.0
    model_noise: float = 0.0
    low: float = np.inf
    high: float = -np.inf
    clipped: int = 0
    size: int = 0

    def add(self, old: NDArray[np.float32], new: NDArray[np.float32]) -> None:
        self.signal = self.signal + _energy(old)
        self.model_noise += float(_energy(old - new).sum())
        self.low, self.high = min(self.low, float(old.min())), max(self.high, float(old.max()))
        self.size += old.size
        if self.scale is not None:
            self.range_noise = self.range_noise + _energy(old - self.scale.rounded(old))
            (lowest, highest), half = self.scale.limits, self.scale.scale / 2
            self.clipped += int(np.count_nonzero((old < lowest - half) | (old > highest + half)))

    def result(self, name: str, op: str) -> LayerError:
        total = float(np.sum(self.signal))
        live = np.atleast_1d(self.signal) > 0  # a channel that is always zero says nothing
        channels = [_decibel(s, n) for s, n in zip(*np.broadcast_arrays(self.signal, self.range_noise), strict=True)]
        return LayerError(
            tensor=name,
            op=op,
            range_db=_decibel(total, float(np.sum(self.range_noise))),
            channel_db=float(np.median(np.array(channels)[live])) if live.any() else np.inf,
            model_db=_decibel(total, self.model_noise),
            low=self.low,
            high=self.high,
            scale=None if self.scale is None else self.scale.scale,
            limits=None if self.scale is None else self.scale.limits,
            clipped=self.clipped / self.size,
        )


def _energy(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the sum of squares of each channel."""
    channels = values.reshape(-1, values.shape[-1] if values.ndim else 1)
    return np.asarray(np.square(channels, dtype=np.float64).sum(axis=0))


def _decibel(signal: float, noise: float) -> float:
    if noise == 0:
        return np.inf
    return 10 * float(np.log10(signal / noise)) if signal > 0 else -np.inf


def _ops(data: bytes) -> dict[str, str]:
    """Map the name of each tensor that is made and read by ops to the op that makes it, in the order of the file."""
    graph = TfliteGraph.read(data)
    unread = set(graph.unread())
    return {
        graph.tensor_name(tensor): graph.op_name(op)
        for op in graph.operators
        for tensor in op.outputs
        if tensor not in unread
    }
