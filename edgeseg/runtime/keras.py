"""Keras models, so that the reference runs through the same path as its artifacts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.runtime.base import TensorInfo, dtype_name
from edgeseg.spec import ModelSpec

if TYPE_CHECKING:
    import keras


class KerasBackend:
    """A Keras model in inference mode."""

    def __init__(self, model: keras.Model, spec: ModelSpec | None = None) -> None:
        """Wrap a model.

        Args:
            model: one input, one output.
            spec: how to feed it.
        """
        import keras

        self.runtime = f"keras {keras.__version__} ({keras.config.backend()})"
        self.spec = spec
        self._model = model
        self.inputs = tuple(_info(tensor) for tensor in model.inputs)
        self.outputs = tuple(_info(tensor) for tensor in model.outputs)

    @classmethod
    def from_file(cls, path: Path) -> KerasBackend:
        """Open a ``.keras`` or full-model ``.h5`` file.

        Raises:
            InputError: the file is broken or Keras refuses it.
            BackendUnavailable: keras is not installed.
        """
        from edgeseg.models.keras_file import load_model, read_spec

        return cls(load_model(path), read_spec(path))

    def run(self, image: NDArray[Any]) -> NDArray[Any]:
        """Run once; see ``Backend.run``."""
        self._image = image
        return np.asarray(self._model.predict_on_batch(image))

    def invoke(self) -> None:
        """See ``Backend.invoke``; Keras has no way to leave the picture where it is."""
        self.run(self._image)

    def close(self) -> None:
        """Drop the model."""
        del self._model


def _info(tensor: Any) -> TensorInfo:
    shape = tuple(-1 if side is None else side for side in tensor.shape)
    return TensorInfo(tensor.name, shape, dtype_name(tensor.dtype))
