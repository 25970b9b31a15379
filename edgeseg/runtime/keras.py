"""Run Keras models, so that the reference goes through the same path as its artifacts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import InputError, missing_extra
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

        from edgeseg.models.keras_graph import plain

        self.runtime = f"keras {keras.__version__} ({keras.config.backend()})"
        self.spec = spec
        self._model = plain(model)
        self.inputs = tuple(_info(tensor) for tensor in model.inputs)
        self.outputs = tuple(_info(tensor) for tensor in model.outputs)

    @classmethod
    def from_file(cls, path: Path, *, num_threads: int | None = None) -> KerasBackend:
        """Open a ``.keras`` or full-model ``.h5`` file.

        Args:
            path: the file.
            num_threads: see ``set_threads``; TensorFlow's own choice when omitted.

        Raises:
            InputError: the file is broken or Keras refuses it; or it is too late to set the threads.
            BackendUnavailable: keras is not installed.
        """
        from edgeseg.models.keras_files.load import load_model, read_spec

        if num_threads is not None:
            set_threads(num_threads)
        return cls(load_model(path), read_spec(path))

    def run(self, image: NDArray[Any]) -> NDArray[Any]:
        """Run once; see ``Backend.run``."""
        self._image = image
        return np.asarray(self._model.predict_on_batch(image))

    def invoke(self) -> None:
        """Run again; see ``Backend.invoke``. Keras cannot keep the image in place."""
        self.run(self._image)

    def close(self) -> None:
        """Release the model."""
        self._model = None


def set_threads(num_threads: int) -> None:
    """Make TensorFlow use this many threads inside an op, and run one op after the other, as ONNX Runtime does.

    TensorFlow takes the number for the whole process and before its first op, so it can be set once per process.

    Raises:
        InputError: TensorFlow has started with another number, or Keras runs on another backend.
        BackendUnavailable: keras is not installed.
    """
    try:
        import keras
    except ModuleNotFoundError as error:
        raise missing_extra("a Keras model", "train") from error
    backend = keras.config.backend()
    if backend != "tensorflow":
        raise InputError(
            f"num_threads works only with the TensorFlow backend; Keras runs on {backend} here. Remove num_threads."
        )
    import tensorflow as tf

    try:
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.threading.set_intra_op_parallelism_threads(num_threads)
    except RuntimeError as error:
        raise InputError(
            "TensorFlow takes its number of threads before the first op of a process and keeps it; "
            "open the model in a process of its own, or omit num_threads."
        ) from error


def _info(tensor: Any) -> TensorInfo:
    shape = tuple(-1 if side is None else side for side in tensor.shape)
    return TensorInfo(name=tensor.name, shape=shape, dtype=dtype_name(tensor.dtype))
