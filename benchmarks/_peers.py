"""List what ``peers`` compares, and open the runtimes that edgeseg does not open, or not on files of others.

All get the same threads, and full float32 where the file is float32: otherwise OpenVINO and MNN would compute in
bfloat16 or with shortcuts on some CPUs, and be faster with another answer.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.runtime import Backend, open_backend
from edgeseg.runtime.base import TensorInfo


@dataclass(frozen=True)
class Side:
    """One column of the table: a file and the runtime that runs it.

    Attributes:
        owner: ``naive`` or ``edgeseg``.
        runtime: its name in the table.
        kind: the file's name after model and precision: for edgeseg target and format.
        suffix: what the runtime's own converter adds to it; empty where it reads the file.
    """

    owner: str
    runtime: str
    kind: str
    suffix: str = ""

    @property
    def peer(self) -> str:
        """Owner and runtime: what ``open_peer`` takes."""
        return f"{self.owner} {self.runtime}"


SIDES = (
    Side("naive", "LiteRT", "naive.tflite"),
    Side("naive", "ONNX Runtime", "naive.onnx"),
    Side("naive", "OpenVINO", "naive.onnx"),
    Side("naive", "MNN", "naive.onnx", ".mnn"),
    Side("naive", "ncnn", "plain.onnx", ".ncnn.param"),
    Side("edgeseg", "LiteRT", "generic.tflite"),
    Side("edgeseg", "LiteRT, xnnpack", "xnnpack.tflite"),
    Side("edgeseg", "ONNX Runtime", "generic.onnx"),
    Side("edgeseg", "OpenVINO", "generic.xml"),
    Side("edgeseg", "MNN", "generic.mnn"),
)


class DoesNotConvert(Exception):
    """A peer's converter does not take the model; the text says why."""


class OpenVinoBackend:
    """An ONNX file on OpenVINO's CPU plugin."""

    def __init__(self, path: Path, num_threads: int) -> None:
        import openvino

        core = openvino.Core()
        settings = {
            "INFERENCE_NUM_THREADS": num_threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self._request = core.compile_model(core.read_model(path), "CPU", settings).create_infer_request()
        self._input = self._request.get_input_tensor(0)
        self.runtime, self.spec = f"openvino {metadata.version('openvino')}", None
        self.inputs = (TensorInfo(name="input", shape=tuple(self._input.shape), dtype=str(self._input.data.dtype)),)
        self.outputs: tuple[TensorInfo, ...] = ()

    def run(self, image: NDArray[Any]) -> NDArray[Any]:
        """See ``Backend.run``."""
        self._input.data[:] = image
        self.invoke()
        output: NDArray[Any] = self._request.get_output_tensor(0).data
        return output

    def invoke(self) -> None:
        """See ``Backend.invoke``."""
        self._request.infer()

    def close(self) -> None:
        """Drop the model."""
        del self._input, self._request


class MnnBackend:
    """A file that MNN's converter made from an ONNX file, on MNN's CPU backend."""

    def __init__(self, path: Path, num_threads: int) -> None:
        import MNN

        self._mnn = MNN
        self._interpreter = MNN.Interpreter(str(path))
        settings = {"numThread": num_threads, "backend": "CPU", "precision": "high"}
        self._session = self._interpreter.createSession(settings)
        self._input = self._interpreter.getSessionInput(self._session)
        self._output = self._interpreter.getSessionOutput(self._session)
        self.runtime, self.spec = f"MNN {metadata.version('MNN')}", None
        dtype = str(self._host(self._input).getNumpyData().dtype)
        self.inputs = (TensorInfo(name="input", shape=tuple(self._input.getShape()), dtype=dtype),)
        self.outputs: tuple[TensorInfo, ...] = ()
        self._result = self._host(self._output)

    def _host(self, tensor: Any) -> Any:
        """Return our own memory that a tensor of the session is copied to or from."""
        return self._mnn.Tensor(tensor, tensor.getDimensionType())

    def run(self, image: NDArray[Any]) -> NDArray[Any]:
        """See ``Backend.run``."""
        kind = self._input.getDataType()
        self._input.copyFrom(self._mnn.Tensor(image.shape, kind, image, self._input.getDimensionType()))
        self.invoke()
        self._output.copyToHostTensor(self._result)
        output: NDArray[Any] = self._result.getNumpyData()
        return output

    def invoke(self) -> None:
        """See ``Backend.invoke``."""
        self._interpreter.runSession(self._session)

    def close(self) -> None:
        """Drop the session."""
        del self._session, self._interpreter


class NcnnBackend:
    """A file that pnnx made from an ONNX file that gives scores, on ncnn's CPU; without ArgMax, which ncnn lacks."""

    def __init__(self, path: Path, num_threads: int) -> None:
        import ncnn

        self._ncnn = ncnn
        self._net = ncnn.Net()
        self._net.opt.num_threads = num_threads
        self._net.opt.use_vulkan_compute = False
        for flag in ("packed", "storage", "arithmetic"):
            setattr(self._net.opt, f"use_fp16_{flag}", False)
        weights = path.with_name(path.name.removesuffix(".param") + ".bin")
        if self._net.load_param(str(path)) or self._net.load_model(str(weights)):
            raise DoesNotConvert("ncnn does not load the files of pnnx")
        self.runtime, self.spec = f"ncnn {metadata.version('ncnn')}", None
        self.inputs = (TensorInfo(name="in0", shape=_shape_of(path), dtype="float32"),)
        self.outputs: tuple[TensorInfo, ...] = ()

    def run(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return ``(1, C, H, W)`` scores of an image ``(1, 3, H, W)``."""
        self._image = image
        extractor = self._net.create_extractor()
        extractor.input("in0", self._ncnn.Mat(image[0]))
        status, output = extractor.extract("out0")
        if status:
            raise DoesNotConvert(f"ncnn fails with status {status}")
        return np.asarray(output)[None]

    def invoke(self) -> None:
        """See ``Backend.invoke``; ncnn needs a new extractor for each run."""
        self.run(self._image)

    def close(self) -> None:
        """Drop the network."""
        self._net.clear()


def open_peer(path: str | Path, *, peer: str, num_threads: int) -> Backend:
    """Open a file on a runtime: edgeseg's files, ``.tflite`` and ``.onnx`` as edgeseg opens them."""
    opened: dict[str, Callable[..., Any]] = {
        "naive OpenVINO": OpenVinoBackend,
        "naive MNN": MnnBackend,
        "naive ncnn": NcnnBackend,
    }
    if peer in opened:
        backend: Backend = opened[peer](Path(path), num_threads)
        return backend
    return open_backend(path, num_threads=num_threads)


def translate(peer: str, source: Path, target: Path) -> None:
    """Convert an ONNX file to a peer's format.

    Raises:
        DoesNotConvert: the converter refuses, or omits ops that it does not know.
    """
    {"MNN": _to_mnn, "ncnn": _to_ncnn}[peer](source, target)


def _to_mnn(source: Path, target: Path) -> None:
    # Not the command `mnnconvert`: it runs pip to install a package that reports every conversion to Alibaba.
    import _tools

    converted = _tools.mnnconvert(
        ["mnnconvert", "-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(target), "--bizCode", "edgeseg"]
    )
    if not converted or not target.exists():
        raise DoesNotConvert("mnnconvert fails")


def _to_ncnn(source: Path, target: Path) -> None:
    package = find_spec("pnnx")  # not imported: that wants torch, which the program does not
    if package is None or package.origin is None:
        raise DoesNotConvert("pnnx is not installed")
    program = Path(package.origin).with_name("pnnx")
    stem = target.name.removesuffix(".ncnn.param")
    weights = target.with_name(f"{stem}.ncnn.bin")
    # Everything that pnnx would write beside its source gets a name derived from the target.
    command = [str(program), str(source), f"ncnnparam={target}", f"ncnnbin={weights}", "fp16=0"]
    command += [
        f"{key}={target.with_name(f'{stem}.pnnx.{key}')}" for key in ("pnnxparam", "pnnxbin", "pnnxpy", "ncnnpy")
    ]
    command += [f"pnnxonnx={target.with_name(f'{stem}.pnnx.onnx')}"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    log = done.stdout + done.stderr
    unknown = sorted(
        {line.split()[1] for line in log.splitlines() if line.startswith("ignore ") and len(line.split()) > 1}
    )
    if unknown:
        target.unlink(missing_ok=True)
        raise DoesNotConvert(f"pnnx omits {', '.join(unknown)}")
    if done.returncode or not target.exists():
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise DoesNotConvert(f"pnnx ends with status {done.returncode}: {last}")


def _shape_of(path: Path) -> tuple[int, ...]:
    """Return the input's shape, which ncnn's files do not have, from the ONNX file that they were made from."""
    import onnx

    source = path.with_name(path.name.removesuffix(".ncnn.param"))
    dims = onnx.load(source, load_external_data=False).graph.input[0].type.tensor_type.shape.dim
    return tuple(dim.dim_value for dim in dims)
