"""Feed a model whose input is quantized with the normalized float image that a spec asks for."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.choices import InputDtype
from edgeseg.errors import InputError
from edgeseg.runtime.base import Backend


def feed_as(backend: Backend, dtype: InputDtype) -> Backend:
    """Return a backend whose input has the dtype of a spec: the same backend, or one that quantizes its input.

    Raises:
        InputError: the model takes another dtype, and has no scale to convert with.
    """
    tensor = backend.inputs[0]
    if tensor.dtype == dtype:
        return backend
    if dtype == "float32" and tensor.dtype in ("int8", "uint8", "int16") and tensor.scale:
        return QuantizedInput(backend)
    raise InputError(f"the model takes {tensor.dtype} but its spec says {dtype}; give it the right spec.")


class QuantizedInput:
    """A backend that takes float32 where the backend inside takes ``round(x / scale) + zero_point``."""

    def __init__(self, backend: Backend) -> None:
        """Wrap a backend whose input has a scale."""
        self._backend = backend
        self._info = backend.inputs[0]
        self._limits = np.iinfo(self._info.dtype)
        self.runtime, self.spec, self.outputs = backend.runtime, backend.spec, backend.outputs
        self.inputs = (dataclasses.replace(self._info, dtype="float32", scale=0.0, zero_point=0), *backend.inputs[1:])

    def run(self, image: NDArray[Any]) -> NDArray[Any]:
        """Run once; see ``Backend.run``."""
        steps = np.rint(image / np.float32(self._info.scale))
        steps += self._info.zero_point
        return self._backend.run(steps.clip(self._limits.min, self._limits.max).astype(self._info.dtype))

    def invoke(self) -> None:
        """See ``Backend.invoke``."""
        self._backend.invoke()

    def close(self) -> None:
        """Close the backend inside."""
        self._backend.close()
