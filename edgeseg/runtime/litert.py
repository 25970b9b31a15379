"""Run TFLite files on an interpreter: ``ai-edge-litert``'s, or ``tflite-runtime``'s where a device has only that."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.limits.models import ModelFile
from edgeseg._internal.text import counted
from edgeseg._internal.versions import installed_version
from edgeseg.errors import BackendUnavailable, InputError, missing_extra
from edgeseg.runtime import delegate as external
from edgeseg.runtime.artifact import read_tflite
from edgeseg.runtime.base import (
    TensorInfo,
    at_size,
    default_threads,
    does_not_run,
    dtype_name,
    is_open,
    open_size,
    place_of,
    unfit_size,
    with_first,
)
from edgeseg.tflite.half_arithmetic import HalfArithmetic
from edgeseg.tflite.litert_internals import op_details

_log = logging.getLogger(__name__)

InterpreterName = Literal["litert", "tflite-runtime"]


class LiteRTBackend:
    """A TFLite model on an interpreter: on the CPU with XNNPACK, and on a delegate where one is given.

    Attributes:
        half_arithmetic: whether XNNPACK computes it in half precision on this CPU; ``None`` where that is not known.
    """

    def __init__(
        self,
        model: str | Path | bytes | ModelFile,
        *,
        num_threads: int | None = None,
        delegate: str | None = None,
        delegate_options: Mapping[str, str] | None = None,
        package: InterpreterName = "litert",
        input_size: Sequence[int] | None = None,
        output: str | None = None,
    ) -> None:
        """Open a model.

        Args:
            model: a ``.tflite`` file, or its bytes.
            num_threads: threads; ``default_threads()`` when omitted.
            delegate: library of a delegate; the nodes that it does not take run on the CPU.
            delegate_options: options that the library takes.
            package: the package of the interpreter; ``litert`` is tflite-runtime's if ai-edge-litert is not installed.
            input_size: ``(H, W)`` in pixels, for a model that leaves it open; without it such a model does not run.
            output: name of the output that ``run`` returns; the first when omitted.

        Raises:
            InputError: the file cannot be read, or is no TFLite model that the runtime accepts, or not at that size.
            BackendUnavailable: the runtime is not installed; the delegate is not there or takes no part of the model.
        """
        module, self.runtime = _import_interpreter(package)
        delegates = [external.load(module.load_delegate, delegate, delegate_options or {})] if delegate else []
        what, content, self.spec = read_tflite(model)
        self._what = what
        half = HalfArithmetic.of(content)
        on_cpu = not delegate and self.runtime.startswith("ai-edge-litert")  # tflite-runtime was not tried
        self.half_arithmetic = half.here if on_cpu or not half.asked else None
        try:
            self._interpreter = module.Interpreter(
                model_content=content,
                num_threads=default_threads() if num_threads is None else num_threads,
                experimental_delegates=delegates,
            )
            if delegate:
                self.runtime += f" with {_taken(self._interpreter, delegate)}"
            outputs = [details["name"] for details in self._interpreter.get_output_details()]
            if not outputs or not self._interpreter.get_input_details():
                raise InputError(f"{what} has no input or no output.")
            self._place = place_of(what, outputs, output)
            self._describe()
            self._open = is_open(self.inputs[0].shape)
            size = input_size or (self.spec.input_size if self.spec and is_open(self.inputs[0].shape) else None)
            if size is not None:
                self._resize(at_size(what, self.inputs[0], size))
            elif not self._open:  # else its memory is of one pixel, where many models do not fit
                self._interpreter.allocate_tensors()
                self._describe()
        except InputError:
            raise
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{what} is not a TFLite model that {self.runtime} runs: {error}") from error
        self._input = self._interpreter.tensor(self._interpreter.get_input_details()[0]["index"])
        self._output = self._interpreter.tensor(self._interpreter.get_output_details()[self._place]["index"])

    def run(self, image: NDArray[Any]) -> NDArray[Any]:
        """Run once; see ``Backend.run``. The returned array is the interpreter's memory."""
        if is_open(self.inputs[0].shape):
            raise open_size(self._what, self.inputs[0])
        memory = self._input()
        if image.shape != memory.shape or image.dtype != memory.dtype:  # numpy would broadcast and convert
            raise ValueError(f"the model takes {memory.shape} {memory.dtype}, got {image.shape} {image.dtype}")
        np.copyto(memory, image)
        del memory  # an array on the interpreter's memory would keep it from running
        try:
            self.invoke()
        except RuntimeError as error:  # shapes that follow only from a run
            if self._open:
                raise unfit_size(self._what, image.shape, error) from error
            raise does_not_run(self._what, error) from error
        return np.asarray(_Memory(self._output(), self._interpreter))

    def invoke(self) -> None:
        """See ``Backend.invoke``."""
        self._interpreter.invoke()

    def _describe(self) -> None:
        self.inputs = tuple(_info(details) for details in self._interpreter.get_input_details())
        outputs = [_info(details) for details in self._interpreter.get_output_details()]
        self.outputs = with_first(outputs, self._place)

    def _resize(self, tensor: TensorInfo) -> None:
        """Give the image's tensor its size; outputs that follow from it are known only after a run."""
        if tensor != self.inputs[0]:
            index = self._interpreter.get_input_details()[0]["index"]
            self._interpreter.resize_tensor_input(index, tensor.shape)
            self.inputs = (tensor, *self.inputs[1:])
        try:
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise unfit_size(self._what, tensor.shape, error) from error

    def close(self) -> None:
        """Release the interpreter and its arena."""
        self._input = self._output = self._interpreter = None


class _Memory:
    """A tensor's memory as numpy sees it: keeps the interpreter alive, but does not keep it from running again."""

    def __init__(self, array: NDArray[Any], owner: Any) -> None:
        self.__array_interface__ = array.__array_interface__
        self._owner = owner


def _info(details: dict[str, Any]) -> TensorInfo:
    scale, zero_point = details["quantization"]
    shape = tuple(int(side) for side in details["shape"])
    # ``shape`` has 1 for what is open, with which an open batch is right and an image of one pixel is not.
    signature = tuple(int(side) for side in details.get("shape_signature", shape))
    if len(signature) == len(shape):
        shape = (*shape[:1], *signature[1:])
    return TensorInfo(
        name=details["name"],
        shape=shape,
        dtype=dtype_name(details["dtype"]),
        scale=float(scale),
        zero_point=int(zero_point),
    )


def _taken(interpreter: Any, library: str) -> str:
    """Describe what a delegate took; XNNPACK comes with ``allocate_tensors`` and is not there yet."""
    ops = [op["op_name"] for op in op_details(interpreter)]
    partitions = ops.count("DELEGATE")
    if not partitions:
        raise BackendUnavailable(
            f"the delegate '{library}' takes none of the model's {counted(len(ops), 'node')}; "
            "export for it (edgeseg export --target), compile the model for it, or run without `delegate`."
        )
    return f"{Path(library).name} ({counted(partitions, 'partition')})"


def _import_interpreter(package: InterpreterName) -> tuple[Any, str]:
    if package == "litert":
        try:
            from ai_edge_litert import interpreter
        except ModuleNotFoundError:
            pass
        else:
            return interpreter, f"ai-edge-litert {installed_version('ai-edge-litert')}"
    try:
        from tflite_runtime import interpreter as old_interpreter
    except ModuleNotFoundError as error:
        if package == "litert":
            raise missing_extra("a .tflite model", "tflite") from error
        raise BackendUnavailable(
            "tflite-runtime is not installed. Its last wheels are for Python 3.11 and older: "
            'pip install tflite-runtime "numpy<2"'
        ) from error
    version = installed_version("tflite-runtime")
    if package == "litert":
        _log.warning("ai-edge-litert is not installed; running on tflite-runtime %s", version)
    return old_interpreter, f"tflite-runtime {version}"
