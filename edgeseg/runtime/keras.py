"""Run Keras models, so that the reference goes through the same path as its artifacts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import InputError, missing_extra
from edgeseg.runtime.base import TensorInfo, at_size, dtype_name, place_of, unfit_size, with_first
from edgeseg.spec import ModelSpec

if TYPE_CHECKING:
    import keras


class KerasBackend:
    """A Keras model in inference mode.

    Attributes:
        graph: the functional model.
        tensor: the symbolic output of it that ``run`` returns.
    """

    def __init__(self, model: keras.Model, spec: ModelSpec | None = None, *, output: str | None = None) -> None:
        """Wrap a model.

        Args:
            model: takes one image.
            spec: how to feed it.
            output: name of the output that ``run`` returns; the first when omitted.

        Raises:
            InputError: there is no output of that name.
        """
        import keras

        from edgeseg.models.keras_graph import graph_of, plain

        self.runtime = f"keras {keras.__version__} ({keras.config.backend()})"
        self.spec = spec
        self.graph = graph_of(model)
        self._model = plain(model)
        self._compiled: Any = None  # the same by XLA, where only that has the kernels
        self.inputs = tuple(_info(tensor) for tensor in model.inputs)
        self._place = place_of("the model", [tensor.name for tensor in model.outputs], output)
        self.tensor = model.outputs[self._place]
        self.outputs = with_first([_info(tensor) for tensor in model.outputs], self._place)

    @classmethod
    def from_file(
        cls,
        path: Path,
        *,
        num_threads: int | None = None,
        input_size: Sequence[int] | None = None,
        output: str | None = None,
    ) -> KerasBackend:
        """Open a ``.keras`` or full-model ``.h5`` file.

        Args:
            path: the file.
            num_threads: see ``set_threads``; TensorFlow's own choice when omitted.
            input_size: ``(H, W)`` in pixels, for a model that leaves it open.
            output: see ``__init__``.

        Raises:
            InputError: the file is broken or Keras refuses it; it does not run at that size; or it is too late to set
                the threads.
            BackendUnavailable: keras is not installed.
        """
        from edgeseg.models.keras_files.load import load_keras_file, read_spec

        if num_threads is not None:
            set_threads(num_threads)
        backend = cls(load_keras_file(path), read_spec(path), output=output)
        if input_size is not None:
            backend._resize(f"'{path}'", input_size)
        return backend

    def run(self, image: NDArray[Any]) -> NDArray[Any]:
        """Run once; see ``Backend.run``."""
        self._image = image
        result = self._computed(image)
        if len(self.outputs) > 1:
            import keras

            result = keras.tree.flatten(result)[self._place]
        return np.asarray(result)

    def _computed(self, image: NDArray[Any]) -> Any:
        if self._compiled is None:
            try:
                return self._model.predict_on_batch(image)
            except _no_kernel_errors() as error:
                self._compiled = _compiled(self._model, image, error)
        return self._compiled(image)

    def _resize(self, what: str, input_size: Sequence[int]) -> None:
        tensor = at_size(what, self.inputs[0], input_size)
        if tensor == self.inputs[0]:
            return
        try:
            self._model.compute_output_shape(tensor.shape)
        except ValueError as error:
            raise unfit_size(what, tensor.shape, error) from error
        self.inputs = (tensor, *self.inputs[1:])

    def invoke(self) -> None:
        """Run again; see ``Backend.invoke``. Keras cannot keep the image in place."""
        self.run(self._image)

    def close(self) -> None:
        """Release the model."""
        self._model = self._compiled = None


# How TensorFlow says so; XLA runs anything else without its assertions, and would hide an error.
_NO_KERNEL = re.compile("not (yet )?support|only support|No OpKernel", re.IGNORECASE)


def _no_kernel_errors() -> tuple[type[Exception], ...]:
    """Return what TensorFlow raises where it has no kernel for an op on this machine; nothing on another backend."""
    import keras

    if keras.config.backend() != "tensorflow":
        return ()
    import tensorflow as tf

    return (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError)


def _compiled(model: keras.Model, image: NDArray[Any], error: Exception) -> Any:
    """Return a model compiled by XLA, which has what TensorFlow's kernels for a CPU lack: a dilated Conv2DTranspose.

    Args:
        model: to compile.
        image: to try it on.
        error: what it raised without XLA.

    Raises:
        InputError: the error is no missing kernel, such as an assertion, or XLA has none either.
    """
    import tensorflow as tf

    @tf.function(jit_compile=True, autograph=False)  # type: ignore[untyped-decorator]
    def run(x: Any) -> Any:
        return model(x, training=False)

    failed: Exception = error
    if _NO_KERNEL.search(str(error)):
        try:
            run(tf.constant(image))
            return lambda x: run(tf.constant(x))
        except tf.errors.OpError as failure:
            failed = failure
    raise InputError(f"TensorFlow cannot run '{model.name}' on this machine: {_reason(error)}") from failed


def _reason(error: Exception) -> str:
    """Return the sentence of a graph's execution error, which names the op's place in many lines before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [
        line for line in lines if not line.startswith(("[[{{", "File ", "Detected at", "Graph exec", "Stack trace"))
    ]
    return " ".join((told or lines)[-1].split())[:200]


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
