"""A backend that computes nothing: the whole stack above it is tested with no model and no runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.runtime.base import TensorInfo
from edgeseg.spec import ModelSpec


class NullBackend:
    """Answers every image with the same output."""

    runtime = "null"

    def __init__(self, spec: ModelSpec, output: NDArray[Any]) -> None:
        """Set the answer.

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
        #: What the last call was given.
        self.seen: NDArray[Any] | None = None

    def run(self, image: NDArray[Any]) -> NDArray[Any]:
        """Remember the image and return the answer."""
        self.seen = image
        return self._output

    def invoke(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to give back."""
