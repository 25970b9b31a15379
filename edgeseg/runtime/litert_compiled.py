"""Run TFLite files on LiteRT's ``CompiledModel``: the CPU with XNNPACK, the GPU, or an NPU."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.limits.models import ModelFile
from edgeseg._internal.versions import installed_version
from edgeseg.errors import BackendUnavailable, InputError, missing_extra
from edgeseg.runtime.artifact import read_tflite
from edgeseg.runtime.base import TensorInfo, at_size, default_threads, does_not_run, dtype_name, place_of, with_first
from edgeseg.runtime.process.gpu import GpuReply, ask_gpu
from edgeseg.tflite.cpu import NO_LSE, Cpu
from edgeseg.tflite.file import has_open_size, read_quantization
from edgeseg.tflite.half_arithmetic import HalfArithmetic

_log = logging.getLogger(__name__)

#: Variables that tell a Vulkan loader about a driver; the second is the older name.
_DRIVER_VARIABLES = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")

#: The dtypes that ``TensorBuffer`` reads and writes, of those that a segmentation model has at its ends.
_DTYPES = ("float32", "float16", "int32", "int8", "uint8", "bool")

# XNNPACK and the GPU number the positions in a pooling window differently: cut between them, classes would be wrong.
_INDEX_OP = b"MaxUnpooling2D"

# Vulkan drivers that compute on the CPU, by the names they give themselves.
_SOFTWARE = ("swiftshader", "llvmpipe", "softpipe")

_ALIGNMENT = 64  # bytes; LiteRT copies host memory that is not


class CompiledBackend:
    """A TFLite model, compiled for one accelerator.

    Attributes:
        fully_accelerated: whether the accelerator takes every node.
        software_rendering: whether the GPU is emulated on the CPU.
        half_arithmetic: whether XNNPACK computes it in half precision on this CPU; ``None`` where that is not known, as
            on a GPU.
        compile_s: seconds that LiteRT took to open the model, without the question asked before on a GPU.

    On the GPU it computes in half precision where the driver can, LiteRT's own default. LiteRT 2.3 holds Python's lock
    while it runs: other threads of the process wait for it, which is not so with the interpreter or ONNX Runtime.
    """

    def __init__(
        self,
        model: str | Path | bytes | ModelFile,
        *,
        accelerator: str = "cpu",
        num_threads: int | None = None,
        input_size: Sequence[int] | None = None,
        output: str | None = None,
    ) -> None:
        """Open a model.

        A GPU that takes a part of the graph runs that part; ``runtime`` and a warning say so. An NPU takes all of it or
        is refused, as LiteRT does not say which part of a graph it left to the CPU.

        Args:
            model: a ``.tflite`` file, or its bytes.
            accelerator: ``cpu``, ``gpu`` or ``npu``.
            num_threads: threads on the CPU; ``default_threads()`` when omitted.
            input_size: ``(H, W)`` in pixels; refused where it is not the model's own.
            output: name of the output that ``run`` returns; the first when omitted.

        Raises:
            InputError: the file cannot be read, or is no TFLite model that the runtime accepts; it leaves its input
                size open, where LiteRT 2.3 writes beyond the memory of an output whose size follows only from a run.
            BackendUnavailable: ai-edge-litert is not installed; the accelerator does not exist, or it takes nothing;
                the CPU is one on which CompiledModel ends its process.
        """
        if accelerator != "gpu" and Cpu.here().lse is False:  # a GPU is asked in another process, which says it
            raise BackendUnavailable(f"{NO_LSE}; `backend='litert', accelerator='cpu'` runs the model here.")
        try:
            from ai_edge_litert.compiled_model import CompiledModel, CpuOptions, HardwareAccelerator, Options
        except ModuleNotFoundError as error:
            raise missing_extra("backend 'litert-compiled'", "tflite") from error
        what, content, self.spec = read_tflite(model)
        self._what = what
        self.half_arithmetic = HalfArithmetic.of(content).here if accelerator == "cpu" else None
        if has_open_size(content):
            raise InputError(
                f"{what} leaves its input size open, which LiteRT's CompiledModel does not run: convert the model at a "
                "fixed size (edgeseg export --imgsz H,W), or run it on the CPU with "
                "`backend='litert', input_size=(H, W)`."
            )
        self.runtime = f"ai-edge-litert {installed_version('ai-edge-litert')} CompiledModel {accelerator}"
        hardware = HardwareAccelerator[accelerator.upper()]
        self.fully_accelerated, self.software_rendering = True, False
        if accelerator == "gpu":
            reply = _ask(content)
            note = "" if reply.full else f"; partly: {reply.on_gpu} node(s), the rest on the CPU"
            self.runtime += f" ({reply.adapter or 'the GPU of this machine'}{note})"
            self.fully_accelerated = bool(reply.full)
            self.software_rendering = any(name in (reply.adapter or "").lower() for name in _SOFTWARE)
            if not reply.full:
                hardware |= HardwareAccelerator.CPU
                _log.warning("%s is not fully accelerated: %s", what, self.runtime)
        threads = default_threads() if num_threads is None else num_threads
        options = Options(hardware, cpu_options=CpuOptions(num_threads=threads))
        try:
            start = time.perf_counter()
            self._model = CompiledModel.from_buffer(content, options=options)
            self.compile_s = time.perf_counter() - start
            self._content = content  # LiteRT reads the weights from this memory
            if accelerator == "cpu":
                self.fully_accelerated = bool(self._model.is_fully_accelerated())
            signature = self._model.get_signature_by_index(0)["key"]
            inputs = self._model.get_input_tensor_details(signature)
            outputs = self._model.get_output_tensor_details(signature)
        except RuntimeError as error:
            if accelerator == "npu":
                raise BackendUnavailable(
                    f"{what} does not run on an NPU: LiteRT finds none here that takes the whole model; "
                    "`accelerator='gpu'` and cpu are the others."
                ) from error
            raise InputError(f"{what} is not a TFLite model that {self.runtime} runs: {_line(error)}") from error
        self.inputs = tuple(_info(details, content) for details in inputs.values())
        infos = [_info(details, content) for details in outputs.values()]
        self._place = place_of(what, [info.name for info in infos], output)
        self.outputs = with_first(infos, self._place)
        if input_size is not None:
            at_size(what, self.inputs[0], input_size)
        for tensor in (self.inputs[0], self.outputs[0]):
            if tensor.dtype not in _DTYPES:
                raise InputError(f"{what}: CompiledModel does not hand over {tensor.dtype}; use `backend='litert'`.")
        self._input_buffers = self._model.create_input_buffers(0)
        self._output_buffers = self._model.create_output_buffers(0)
        # The memory that the CPU writes to; what a GPU wrote has to be fetched.
        self._output = _aligned(self.outputs[0]) if accelerator == "cpu" else None
        if self._output is not None:
            from ai_edge_litert.tensor_buffer import TensorBuffer

            self._output_buffers[self._place] = TensorBuffer.create_from_host_memory(self._output.reshape(-1))

    def run(self, image: NDArray[Any]) -> NDArray[Any]:
        """Run once; see ``Backend.run``. The returned array is memory that the next run writes to."""
        # Memory of ours would save this copy, but LiteRT 2.3 takes it for a tensor of one axis and refuses it.
        with self._running():
            self._input_buffers[0].write(image)
        self.invoke()
        if self._output is not None:
            return self._output
        shape = self.outputs[0].shape
        with self._running():  # a GPU that is too slow is given up only here: its memory cannot be locked
            result: NDArray[Any] = self._output_buffers[self._place].read(
                int(np.prod(shape)), np.dtype(self.outputs[0].dtype)
            )
        return result.reshape(shape)

    def invoke(self) -> None:
        """See ``Backend.invoke``."""
        with self._running():
            self._model.run_by_index(0, self._input_buffers, self._output_buffers)

    @contextmanager
    def _running(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise does_not_run(self._what, _line(error)) from error

    def close(self) -> None:
        """Release the compiled model and its buffers."""
        for buffer in (*self._input_buffers, *self._output_buffers):
            buffer.destroy()
        self._input_buffers, self._output_buffers = [], []
        self._model.close()


def _ask(content: bytes) -> GpuReply:
    """Ask the GPU about the model, in another process, as a crashing driver takes its process along.

    Raises:
        BackendUnavailable: there is no GPU, or it takes nothing of the model.
        InputError: it takes a part that may not be cut off.
    """
    environment = dict(os.environ)
    folder = _vulkan_folder(next(filter(None, map(os.environ.get, _DRIVER_VARIABLES)), ""))
    if folder is not None:
        # The wheel looks for libvulkan.so.1 by name; a driver may bring it, in a folder that is not searched.
        paths = [str(folder), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(paths)
    (reply,) = ask_gpu([content], environment)
    if reply.full is None and reply.error == NO_LSE:
        raise BackendUnavailable(f"{NO_LSE}, so that there is no `accelerator='gpu'`; `accelerator='cpu'` runs here.")
    if reply.full is None:
        why = "no Vulkan driver, or none for this machine's GPU" if reply.no_driver else reply.error
        raise BackendUnavailable(
            f"LiteRT's GPU accelerator does not start: {why}. "
            "Install the GPU's driver, or name one in VK_DRIVER_FILES; `accelerator='cpu'` runs without."
        )
    if not reply.full and not reply.on_gpu:
        reasons = "; ".join(f"{op}: {reason}" for op, reason in reply.refused.items())
        raise BackendUnavailable(f"the GPU takes nothing of the model ({reasons}); run it with `accelerator='cpu'`.")
    if not reply.full and _INDEX_OP in content:
        raise InputError(
            "the GPU takes only a part of the model, and MaxUnpooling2D must not be cut off from its pooling; "
            "export it with `target='gpu'` or generic."
        )
    if folder is not None:
        ctypes.CDLL(str(folder / "libvulkan.so.1"), ctypes.RTLD_GLOBAL)
    return reply


@functools.cache  # what _ask() loads afterwards would be found, but not by the next process
def _vulkan_folder(named: str) -> Path | None:
    """Return the folder of libvulkan.so.1 beside the driver that the user names, if the system has none of its own."""
    try:
        ctypes.CDLL("libvulkan.so.1")
    except OSError:
        folder = Path(named.split(os.pathsep)[0]).parent
        return folder if (folder / "libvulkan.so.1").is_file() else None
    return None


def _info(details: dict[str, Any], content: bytes) -> TensorInfo:
    shape = tuple(int(side) for side in details["shape"])
    scale, zero_point = read_quantization(content, details["index"])
    return TensorInfo(
        name=details["name"], shape=shape, dtype=dtype_name(details["dtype"]), scale=scale, zero_point=zero_point
    )


def _aligned(tensor: TensorInfo) -> NDArray[Any]:
    """Return zeros of a tensor's shape and dtype, at an address that LiteRT writes to without a copy."""
    size = int(np.prod(tensor.shape)) * np.dtype(tensor.dtype).itemsize
    memory = np.zeros(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(tensor.dtype).reshape(tensor.shape)


def _line(error: RuntimeError) -> str:
    """Return LiteRT's last line: the lines before say where in its sources it was."""
    return str(error).strip().splitlines()[-1].strip("└ ")
