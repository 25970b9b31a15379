"""Run ``.mnn`` files on MNN's CPU backend, in float32."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.files import scratch_folder
from edgeseg._internal.limits.models import ModelFile
from edgeseg._internal.versions import installed_version
from edgeseg.errors import InputError, missing_extra
from edgeseg.runtime.base import (
    TensorInfo,
    closed,
    default_threads,
    does_not_run,
    dtype_name,
    place_of,
    require_memory,
    with_first,
)
from edgeseg.runtime.mnn.file import read_mnn

#: ``MNN::Interpreter::HintMode``; level 0 takes no Winograd kernels.
_WINOGRAD_MEMORY_LEVEL = 3
#: Held while stdout goes to nowhere: the next to open a model would keep nowhere as the stdout to return to.
_stdout_lock = threading.Lock()


class MnnBackend:
    """An MNN model on the CPU."""

    def __init__(
        self,
        model: str | Path | bytes | ModelFile,
        *,
        num_threads: int | None = None,
        output: str | None = None,
        winograd: bool = True,
    ) -> None:
        """Open a model.

        Args:
            model: an ``.mnn`` file, or its bytes.
            num_threads: threads; ``default_threads()`` when omitted.
            output: name of the output that ``run`` returns, or of any value inside; the first output when omitted.
            winograd: whether its kernels may be Winograd's, which are faster and round more.

        Raises:
            InputError: the file cannot be read, or is no model that MNN accepts.
            BackendUnavailable: MNN is not installed.
        """
        what, data, self.spec = read_mnn(model)
        self._what = what
        threads = default_threads() if num_threads is None else num_threads
        # "high" is float32. The default also is, on CPUs that have no half precision, and other classes on the others.
        settings: dict[str, Any] = {"backend": "CPU", "numThread": threads, "precision": "high"}
        with _quiet_stdout():
            try:
                import MNN
            except ModuleNotFoundError as error:
                raise missing_extra("an .mnn model", "mnn") from error
            self._mnn = MNN
            self.runtime = f"MNN {installed_version('MNN')} fp32"
            # Its Python takes paths alone; the file is what was verified, and what was tried.
            with scratch_folder("edgeseg-mnn-") as folder:
                path = folder / "model.mnn"
                path.write_bytes(data)
                inputs, outputs = self._open_session(path, settings, winograd)
                if output is not None and output not in outputs:  # a value inside, which is kept where it is asked for
                    inputs, outputs = self._open_session(path, {**settings, "saveTensors": (output,)}, winograd)
            self._choose(inputs, outputs, output)

    def _open_session(
        self, path: Path, settings: dict[str, Any], winograd: bool
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Open the model's only session, as one stays in memory as long as its interpreter; return both its sides."""
        self._session = self._interpreter = None
        self._interpreter = interpreter = self._asked(lambda: self._mnn.Interpreter(str(path)))
        if not winograd:
            interpreter.setSessionHint(_WINOGRAD_MEMORY_LEVEL, 0)
        self._session = session = self._asked(lambda: interpreter.createSession(settings))
        return dict(interpreter.getSessionInputAll(session)), dict(interpreter.getSessionOutputAll(session))

    def _choose(self, inputs: dict[str, Any], outputs: dict[str, Any], output: str | None) -> None:
        if not inputs or not outputs:
            raise InputError(f"{self._what} has no input or no output.")
        self._input = next(iter(inputs.values()))
        place = place_of(self._what, list(outputs), output)
        self._output = list(outputs.values())[place]
        self.inputs = tuple(self._info(name, tensor) for name, tensor in inputs.items())
        self.outputs = with_first([self._info(name, tensor) for name, tensor in outputs.items()], place)
        self._copy, self._image = self._host(self._output), None
        self._result: NDArray[Any] = np.empty(self.outputs[0].shape, self.outputs[0].dtype)

    def run(self, image: NDArray[Any]) -> NDArray[Any]:
        """Run once; see ``Backend.run``. The next run writes to the returned array."""
        self._require_session()
        shape, dtype = self.inputs[0].shape, self.inputs[0].dtype
        if image.shape != shape or image.dtype != dtype:  # it reads as many bytes as it needs
            raise ValueError(f"the model takes {shape} {dtype}, got {image.shape} {image.dtype}")
        image = np.ascontiguousarray(image)
        self._image = self._mnn.Tensor(shape, self._input.getDataType(), image, self._input.getDimensionType())
        self.invoke()
        return self._result

    def invoke(self) -> None:
        """See ``Backend.invoke``; with both copies, as a run uses the memory of its input for other values."""
        interpreter = self._require_session()
        self._input.copyFrom(self._image)
        status = interpreter.runSession(self._session)
        if status:
            raise does_not_run(self._what, f"MNN's status is {status}")
        self._output.copyToHostTensor(self._copy)
        np.copyto(self._result, self._copy.getNumpyData())

    def close(self) -> None:
        """Release the session."""
        self._session = self._interpreter = self._input = self._output = self._copy = self._image = None

    def _require_session(self) -> Any:
        if self._interpreter is None:
            raise closed(self._what)
        return self._interpreter

    def _host(self, tensor: Any) -> Any:
        """Return memory of this process that a tensor of the session is copied to."""
        return self._mnn.Tensor(tensor, tensor.getDimensionType())

    def _info(self, name: str, tensor: Any) -> TensorInfo:
        shape = tuple(tensor.getShape())
        info = TensorInfo(name=name, shape=shape, dtype="uint8")
        if min(shape, default=0) < 1:
            raise InputError(f"{self._what} leaves the size of '{name}' open; convert it at a fixed one.")
        require_memory(self._what, info)
        return TensorInfo(name=name, shape=shape, dtype=dtype_name(self._host(tensor).getNumpyData().dtype))

    def _asked(self, call: Any) -> Any:
        """Return what MNN answers; its Python raises the class ``Exception`` itself."""
        try:
            answer = call()
        except Exception as error:
            text = str(error).rpartition(": ")[2] or "it does not say why"
            raise InputError(f"{self._what} is not a model that {self.runtime} runs: {text}") from error
        if answer is None:
            raise InputError(f"{self._what} is not a model that {self.runtime} runs; it does not say why.")
        return answer


@contextmanager
def _quiet_stdout() -> Iterator[None]:
    """Send to nowhere what MNN prints on stdout while it opens a model; there are results of commands on it."""
    with _stdout_lock:
        kept = _duplicate(1)
        if kept is None:  # it is closed, as for a service
            yield
            return
        library = ctypes.CDLL("ucrtbase" if os.name == "nt" else None)  # of C, which keeps what is printed to a pipe
        if sys.stdout is not None and not sys.stdout.closed:
            sys.stdout.flush()
        library.fflush(None)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 1)
            yield
        finally:
            library.fflush(None)
            os.dup2(kept, 1)
            os.close(kept)
            os.close(nowhere)


def _duplicate(descriptor: int) -> int | None:
    try:
        return os.dup(descriptor)
    except OSError:
        return None
