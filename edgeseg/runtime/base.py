"""Define a backend: it runs one model file on one runtime, and does no pre- or post-processing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeseg.spec import ModelSpec


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """One input or output of a model.

    Attributes:
        name: its name in the file.
        shape: its shape; -1 where it is dynamic.
        dtype: numpy's name of its dtype.
        scale: quantization scale, 0 where the tensor is not quantized.
        zero_point: quantization zero point.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0


class Backend(Protocol):
    """One open model on one runtime.

    Attributes:
        runtime: name and version of what actually runs, for reports (``"ai-edge-litert 2.3.0"``).
        spec: the ModelSpec inside the file, ``None`` when there is none.
        inputs: the model's inputs.
        outputs: the model's outputs.
    """

    runtime: str
    spec: ModelSpec | None
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]

    def run(self, image: NDArray[Any]) -> NDArray[Any]:
        """Run once: ``(1, H, W, 3)`` or ``(1, 3, H, W)`` in ``inputs[0].dtype`` to the first output as it is.

        The returned array may be the runtime's own memory, valid until the next call.
        """
        ...

    def invoke(self) -> None:
        """Run once more on the image of the last ``run``: the runtime's own work alone, which benchmarks time."""
        ...

    def close(self) -> None:
        """Release the runtime's memory; may be called twice."""
        ...


def default_threads() -> int:
    """Return the default number of threads: the cores that this process may use, at most 4.

    More than 4 seldom helps one image and on big.LITTLE chips puts work on the slow cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, cores)


def dtype_name(dtype: Any) -> str:
    """Return numpy's name of a dtype (``float32``)."""
    return str(np.dtype(dtype).name)
