"""Run ONNX files on ONNX Runtime."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.limits.models import ModelFile
from edgeseg.errors import InputError, missing_extra
from edgeseg.runtime.artifact import folder_of, parse_spec, read_onnx
from edgeseg.runtime.base import (
    TensorInfo,
    at_size,
    default_threads,
    does_not_run,
    dtype_name,
    is_open,
    place_of,
    require_memory,
    unfit_size,
    with_first,
)
from edgeseg.runtime.onnx_providers import full_names, what_runs
from edgeseg.spec import METADATA_KEY

_log = logging.getLogger(__name__)

# Where a model that is opened from memory finds the files with its weights.
_EXTERNAL_FOLDER = "session.model_external_initializers_file_folder_path"

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(uint16)": np.uint16,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
    "tensor(double)": np.float64,
}


class OnnxBackend:
    """An ONNX model on ONNX Runtime, on its CPU provider or on those that the caller asks for."""

    def __init__(
        self,
        model: str | Path | bytes | ModelFile,
        *,
        num_threads: int | None = None,
        providers: Sequence[str] = (),
        profile_to: Path | None = None,
        input_size: Sequence[int] | None = None,
        output: str | None = None,
    ) -> None:
        """Open a model.

        Args:
            model: an ``.onnx`` file, or its bytes.
            num_threads: threads inside an op; ``default_threads()`` when omitted.
            providers: execution providers in the order of preference, ``cuda`` or ``CUDAExecutionProvider``; the nodes
                that they do not take run on the CPU, which ``runtime`` and a warning say.
            profile_to: folder for a record of every node of every run, which slows the runs; see ``end_profiling``.
            input_size: ``(H, W)`` in pixels, for a model that leaves it open; without it such a model runs at any.
            output: name of the output that ``run`` returns; the first when omitted.

        Raises:
            InputError: the file is no ONNX model that the runtime accepts, or takes images of another size; no provider
                has that name.
            BackendUnavailable: onnxruntime is not installed; a provider is not there or takes no part of the model.
        """
        try:
            import onnxruntime
            from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors
        except ModuleNotFoundError as error:
            raise missing_extra("an .onnx model", "onnx") from error
        self.runtime = f"onnxruntime {onnxruntime.__version__}"
        provider_names = full_names(providers, onnxruntime.get_available_providers())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = default_threads() if num_threads is None else num_threads
        options.log_severity_level = 3  # errors only: warnings about graph clean-ups are not for users
        if profile_to is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile_to / "onnxruntime")
        if providers:
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        what, data = read_onnx(model)
        self._what = what
        if (folder := folder_of(model)) is not None:
            options.add_session_config_entry(_EXTERNAL_FOLDER, str(folder))
        # ONNX Runtime raises a class of its own for each status; these are the ones of a broken file.
        statuses = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "RuntimeException")
        broken = tuple(getattr(ort_errors, status) for status in statuses)
        self._errors = (*broken, RuntimeError, ValueError)  # the last two are the binding's, for a name that is no text
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=provider_names, enable_fallback=0)
            text = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
            self.inputs = tuple(_info(value) for value in self._session.get_inputs())
            outputs = [_info(value) for value in self._session.get_outputs()]
        except self._errors as error:
            raise InputError(f"{what} is not an ONNX model that {self.runtime} runs: {error}") from error
        if not self.inputs or not outputs:
            raise InputError(f"{what} has no input or no output.")
        self.runtime += what_runs(self._session, provider_names)
        if "partly" in self.runtime:
            _log.warning("%s runs partly on the CPU: %s", what, self.runtime)
        self.spec = None if text is None else parse_spec(what, text)
        self.outputs = with_first(outputs, place_of(what, [each.name for each in outputs], output))
        self._open = is_open(self.inputs[0].shape)
        size = input_size or (self.spec.input_size if self.spec and self._open else None)
        if size is not None:
            self.inputs = (at_size(what, self.inputs[0], size), *self.inputs[1:])
        self._binding, self._output = self._session.io_binding(), None
        if -1 not in self.outputs[0].shape and self.outputs[0].dtype != "object":
            require_memory(what, self.outputs[0])
            self._output = np.empty(self.outputs[0].shape, self.outputs[0].dtype)
            name, address = self.outputs[0].name, self._output.ctypes.data
            self._binding.bind_output(name, "cpu", 0, self._output.dtype, self._output.shape, address)

    def run(self, image: NDArray[Any]) -> NDArray[Any]:
        """Run once; see ``Backend.run``. The returned array is memory that the next run writes to."""
        self._image = image  # bound memory must live as long as it may be read
        if self._output is None:  # of a size that is known only after the run
            try:
                result: NDArray[Any] = self._session.run([self.outputs[0].name], {self.inputs[0].name: image})[0]
            except self._errors as error:
                raise self._failed(error) from error
            return result
        self._binding.bind_cpu_input(self.inputs[0].name, image)
        self.invoke()
        return self._output

    def invoke(self) -> None:
        """See ``Backend.invoke``."""
        if self._output is None:
            self.run(self._image)
            return
        try:
            self._session.run_with_iobinding(self._binding)
        except self._errors as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> InputError:
        if self._open:
            return unfit_size(self._what, self._image.shape, error)
        return does_not_run(self._what, error)

    def end_profiling(self) -> Path:
        """Write the record that ``profile_to`` requests: JSON of Chrome's trace format."""
        return Path(self._session.end_profiling())

    def close(self) -> None:
        """Release the session and its arena."""
        self._binding = self._session = None


def _info(value: Any) -> TensorInfo:
    shape = tuple(side if isinstance(side, int) and side >= 0 else -1 for side in value.shape)
    return TensorInfo(name=value.name, shape=shape, dtype=dtype_name(_DTYPES.get(value.type, np.object_)))
