"""TFLite files on LiteRT: ``ai-edge-litert``, or ``tflite-runtime`` where an old device has only that."""

from __future__ import annotations

import logging
from importlib import metadata
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgeseg.errors import InputError, missing_extra
from edgeseg.runtime.base import TensorInfo, default_threads, dtype_name
from edgeseg.runtime.tflite_file import read_metadata
from edgeseg.spec import METADATA_KEY, ModelSpec

_log = logging.getLogger(__name__)


class LiteRTBackend:
    """A TFLite model on LiteRT's interpreter, CPU with XNNPACK."""

    def __init__(self, model: str | Path | bytes, *, num_threads: int | None = None) -> None:
        """Open a model.

        Args:
            model: a ``.tflite`` file, or its bytes.
            num_threads: threads; ``default_threads()`` when left out.

        Raises:
            InputError: the file cannot be read, or is no TFLite model that the runtime accepts.
            BackendUnavailable: neither runtime is installed.
        """
        interpreter_class, self.runtime = _import_interpreter()
        what = "the model" if isinstance(model, bytes) else f"'{model}'"
        try:
            content = model if isinstance(model, bytes) else Path(model).read_bytes()
            text = read_metadata(content, METADATA_KEY)
            self.spec = None if text is None else ModelSpec.from_json(text)
            self._interpreter = interpreter_class(
                model_content=content, num_threads=default_threads() if num_threads is None else num_threads
            )
            self._interpreter.allocate_tensors()
        except OSError as error:
            raise InputError(f"{what} cannot be read: {error.strerror}.") from error
        except (ValueError, RuntimeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{what} is not a TFLite model that {self.runtime} runs: {error}") from error
        self.inputs = tuple(_info(details) for details in self._interpreter.get_input_details())
        self.outputs = tuple(_info(details) for details in self._interpreter.get_output_details())
        self._input_index = self._interpreter.get_input_details()[0]["index"]
        self._output_index = self._interpreter.get_output_details()[0]["index"]

    def run(self, image: NDArray[Any]) -> NDArray[Any]:
        """Run once; see ``Backend.run``."""
        self._interpreter.set_tensor(self._input_index, image)
        self._interpreter.invoke()
        output: NDArray[Any] = self._interpreter.get_tensor(self._output_index)
        return output

    def close(self) -> None:
        """Drop the interpreter and its arena."""
        del self._interpreter


def _info(details: dict[str, Any]) -> TensorInfo:
    scale, zero_point = details["quantization"]
    shape = tuple(int(side) for side in details["shape"])
    return TensorInfo(details["name"], shape, dtype_name(details["dtype"]), float(scale), int(zero_point))


def _import_interpreter() -> tuple[Any, str]:
    try:
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter, f"ai-edge-litert {metadata.version('ai-edge-litert')}"
    except ModuleNotFoundError:
        pass
    try:
        from tflite_runtime.interpreter import Interpreter as OldInterpreter
    except ModuleNotFoundError as error:
        raise missing_extra("a .tflite model", "tflite") from error
    version = metadata.version("tflite-runtime")
    _log.warning("ai-edge-litert is not installed; running on tflite-runtime %s", version)
    return OldInterpreter, f"tflite-runtime {version}"
