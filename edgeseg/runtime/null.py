"""Provide a backend that computes nothing, to test everything above it without a model or a runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.runtime.base import TensorInfo
from edgeseg.spec import ModelSpec


class NullBackend:
    """Returns the same output for every image."""

    runtime = "null"

    def __init__(self, spec: ModelSpec, output: NDArray[Any]) -> None:
        """Set the output.

        Args:
            spec: the spec it claims to have inside.
            output: what ``run`` returns, with its batch axis.
        """
        self.spec: ModelSpec | None = spec
        height, width = spec.input_size
        shape = (1, height, width, 3) if spec.layout == "nhwc" else (1, 3, height, width)
        self.inputs = (TensorInfo(name="image", shape=shape, dtype=spec.dtype),)
        self.outputs = (TensorInfo(name="output", shape=output.shape, dtype=np.dtype(output.dtype).name),)
        self._output = output
        #: The input of the last call.
        self.seen: NDArray[Any] | None = None

    def run(self, image: NDArray[Any]) -> NDArray[Any]:
        """Remember the image and return the output."""
        self.seen = image
        return self._output

    def invoke(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
