"""ONNX files on ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import InputError, missing_extra
from edgeseg.runtime.base import TensorInfo, default_threads, dtype_name
from edgeseg.spec import METADATA_KEY, ModelSpec

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


class OnnxBackend:
    """An ONNX model on ONNX Runtime's CPU provider."""

    def __init__(self, model: str | Path | bytes, *, num_threads: int | None = None) -> None:
        """Open a model.

        Args:
            model: an ``.onnx`` file, or its bytes.
            num_threads: threads inside an op; ``default_threads()`` when left out.

        Raises:
            InputError: the file is no ONNX model that the runtime accepts.
            BackendUnavailable: onnxruntime is not installed.
        """
        try:
            import onnxruntime
            from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors
        except ModuleNotFoundError as error:
            raise missing_extra("an .onnx model", "onnx") from error
        self.runtime = f"onnxruntime {onnxruntime.__version__}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = default_threads() if num_threads is None else num_threads
        options.log_severity_level = 3  # errors only: warnings about graph clean-ups are not for users
        what = "the model" if isinstance(model, bytes) else f"'{model}'"
        # ONNX Runtime raises a class of its own for each status; these are the ones a broken file leads to.
        statuses = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "RuntimeException")
        broken = tuple(getattr(ort_errors, status) for status in statuses)
        try:
            source = model if isinstance(model, bytes) else str(model)
            self._session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except broken as error:
            raise InputError(f"{what} is not an ONNX model that {self.runtime} runs: {error}") from error
        text = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        self.spec = None if text is None else ModelSpec.from_json(text)
        self.inputs = tuple(_info(value) for value in self._session.get_inputs())
        self.outputs = tuple(_info(value) for value in self._session.get_outputs())

    def run(self, image: NDArray[Any]) -> NDArray[Any]:
        """Run once; see ``Backend.run``."""
        output: NDArray[Any] = self._session.run([self.outputs[0].name], {self.inputs[0].name: image})[0]
        return output

    def close(self) -> None:
        """Drop the session and its arena."""
        del self._session


def _info(value: Any) -> TensorInfo:
    shape = tuple(side if isinstance(side, int) else -1 for side in value.shape)
    return TensorInfo(value.name, shape, dtype_name(_DTYPES.get(value.type, np.object_)))
