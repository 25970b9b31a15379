"""Run OpenVINO models on OpenVINO's CPU plugin, in a precision that is always asked for and read back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.limits.models import ModelFile
from edgeseg.choices import RuntimePrecision
from edgeseg.errors import BackendUnavailable, InputError, missing_extra
from edgeseg.runtime.base import (
    TensorInfo,
    at_size,
    closed,
    default_threads,
    does_not_run,
    dtype_name,
    is_open,
    open_size,
    place_of,
    unfit_size,
    with_first,
)
from edgeseg.runtime.openvino.file import read_openvino
from edgeseg.runtime.openvino.library import import_openvino

#: Never AUTO, which chooses a device, and another where the first fails.
_DEVICE = "CPU"
#: edgeseg's name of a precision to OpenVINO's. Without one OpenVINO takes the fastest that the CPU has: bfloat16 on
#: server CPUs of x86, float16 on ARM, with other classes.
_HINTS: dict[RuntimePrecision, str] = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}


class OpenVinoBackend:
    """An OpenVINO model on the CPU."""

    def __init__(
        self,
        model: str | Path | bytes | ModelFile,
        *,
        num_threads: int | None = None,
        precision: RuntimePrecision | None = None,
        input_size: Sequence[int] | None = None,
        output: str | None = None,
    ) -> None:
        """Open a model.

        Args:
            model: an ``.xml`` file with its ``.bin`` beside it, or the bytes of both.
            num_threads: threads; ``default_threads()`` when omitted.
            precision: what floats are computed in; ``fp32`` when omitted.
            input_size: ``(H, W)`` in pixels, for a model that leaves it open; without it such a model does not run.
            output: name of the output that ``run`` returns, or of any value inside; the first output when omitted.

        Raises:
            InputError: the files cannot be read, or are no model that OpenVINO accepts, or not at that size.
            BackendUnavailable: OpenVINO is not installed, or this CPU does not compute in the precision.
        """
        try:
            openvino = import_openvino()
        except ModuleNotFoundError as error:
            raise missing_extra("an OpenVINO model", "openvino") from error
        self.runtime = f"openvino {openvino.get_version().partition('-')[0]}"
        what, graph, weights, self.spec = read_openvino(model)
        self._what = what
        precision = precision or "fp32"
        settings = {
            "INFERENCE_NUM_THREADS": default_threads() if num_threads is None else num_threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
        }
        self._request = None
        try:
            core = openvino.Core()
            loaded = core.read_model(graph, openvino.Tensor(np.frombuffer(weights, np.uint8)))
            outputs = [_info(value) for value in loaded.outputs]
            place = self._place(loaded, outputs, output)
            self.inputs = tuple(_info(value) for value in loaded.inputs)
            self._open = is_open(self.inputs[0].shape)
            size = input_size or (self.spec.input_size if self.spec and self._open else None)
            if size is not None:
                self.inputs = (at_size(what, self.inputs[0], size), *self.inputs[1:])
                self._reshape(loaded)
            self.outputs = with_first([_info(value) for value in loaded.outputs], place)
            if not is_open(self.inputs[0].shape):
                compiled = core.compile_model(loaded, _DEVICE, settings)
                self._require_precision(compiled, openvino, precision)
                self._request = compiled.create_infer_request()
                self._input, self._output = (
                    self._request.get_input_tensor(0),
                    self._request.get_output_tensor(place),
                )
        except (RuntimeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{what} is not a model that {self.runtime} runs: {_reason(error)}") from error
        self.runtime += f" {precision}"

    def run(self, image: NDArray[Any]) -> NDArray[Any]:
        """Run once; see ``Backend.run``. The returned array is OpenVINO's memory."""
        self._require_request()
        memory = self._input.data
        if image.shape != memory.shape or image.dtype != memory.dtype:  # numpy would broadcast and convert
            raise ValueError(f"the model takes {memory.shape} {memory.dtype}, got {image.shape} {image.dtype}")
        np.copyto(memory, image)
        self.invoke()
        result: NDArray[Any] = self._output.data
        return result

    def invoke(self) -> None:
        """See ``Backend.invoke``."""
        request = self._require_request()
        try:
            request.infer()
        except RuntimeError as error:
            raise does_not_run(self._what, _reason(error)) from error

    def close(self) -> None:
        """Release the model; arrays that were returned stay."""
        self._request = self._input = self._output = None

    def _require_request(self) -> Any:
        if self._request is None:
            raise open_size(self._what, self.inputs[0]) if is_open(self.inputs[0].shape) else closed(self._what)
        return self._request

    def _place(self, loaded: Any, outputs: Sequence[TensorInfo], name: str | None) -> int:
        """Return which output is asked for; a value inside becomes one more."""
        names = [output.name for output in outputs]
        if not names or not loaded.inputs:
            raise InputError(f"{self._what} has no input or no output.")
        if name is not None and name not in names:
            try:
                loaded.add_outputs(name)
                return len(names)
            except RuntimeError:  # there is none of that name
                pass
        return place_of(self._what, names, name)

    def _reshape(self, loaded: Any) -> None:
        try:
            loaded.reshape({loaded.inputs[0]: list(self.inputs[0].shape)})
        except RuntimeError as error:
            raise unfit_size(self._what, self.inputs[0].shape, _reason(error)) from error

    def _require_precision(self, compiled: Any, openvino: Any, precision: RuntimePrecision) -> None:
        """Raise ``BackendUnavailable`` where the plugin computes in another precision, which it does unasked."""
        got = compiled.get_property("INFERENCE_PRECISION_HINT")
        if got != getattr(openvino.Type, _HINTS[precision]):
            known = {hint: name for name, hint in _HINTS.items()}
            real = known.get(got.get_type_name(), got.get_type_name())
            raise BackendUnavailable(
                f"this CPU does not compute in {precision}: OpenVINO would use {real}. Omit `runtime_precision`."
            )


def _info(value: Any) -> TensorInfo:
    shape = value.get_partial_shape()
    return TensorInfo(
        name=value.get_any_name() if value.get_names() else "",
        shape=tuple(side.get_length() if side.is_static else -1 for side in shape),
        dtype=dtype_name(value.get_element_type().to_dtype()),
    )


def _reason(error: Exception) -> str:
    """Return what OpenVINO says without the places in its sources, which are lines of their own."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(("Exception from", "Check '", "While"))]
    return " ".join(telling or lines)[:300].rstrip(".")
