"""Measure and verify in a browser, such as a phone's: it opens a page, and the page runs what it is asked for.

Each measurement has a worker of its own, with LiteRT.js loaded anew, as a process elsewhere. The browser says what it
likes of itself: its words are kept as they are, within limits.
"""

from __future__ import annotations

import contextlib
import logging
import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.files import sha256
from edgeseg._internal.text import counted
from edgeseg.benchmark.machine import now
from edgeseg.benchmark.result import MAX_S, MIN_S, Environment
from edgeseg.benchmark.worker import Reply, Request, longest_s
from edgeseg.choices import INTEGERS
from edgeseg.errors import BackendUnavailable, DeviceLost, InputError
from edgeseg.proof.answering import answer_proof, precision_of
from edgeseg.proof.file import read_proof
from edgeseg.proof.questions import Answers
from edgeseg.runtime import open_backend
from edgeseg.runtime.artifact import read_tflite, tflite_tensors
from edgeseg.runtime.base import dequantized, is_open
from edgeseg.runtime.options import RuntimeOptions
from edgeseg.web.exchange import Exchange, Greeting, Opened, Output, Timings
from edgeseg.web.pairing import shown_address
from edgeseg.web.runtime import LITERT, BrowserRuntime
from edgeseg.web.server import WebServer
from edgeseg.web.site import NO_GPU, NO_GPU_FOR_ONNX, File, Site, runtime_files, runtime_of, runtime_place

T = TypeVar("T")

_log = logging.getLogger(__name__)

#: Seconds that somebody has to open the page.
WAIT_S = 600.0

# Seconds for one run, and for a model to be loaded: a GPU compiles its kernels, and an emulated one takes minutes.
_RUN_S = 300.0
_OPEN_S = 600.0

_ACCELERATORS = {"cpu": "wasm", "gpu": "webgpu"}

# What a clock's step may be of a latency before it says something of its own.
_COARSE = 0.02


class WebDevice:
    """A browser that opens a page of this computer.

    Args:
        host: address to listen on; ``127.0.0.1`` for a browser of this machine, or of a phone by ``adb reverse``.
        port: 0 picks a free one.
        announce: gets the lines that tell people where the page is.
    """

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, *, announce: Callable[[str], None] = _log.warning
    ) -> None:
        self.name = "web"
        self.announce = announce
        self._where = host, port
        self._files: dict[str, File] = {}
        self._paths: dict[str, Path] = {}

    def __enter__(self) -> WebDevice:
        """Serve the page, and wait until a browser has opened it.

        Raises:
            InputError: the address cannot be listened on, or LiteRT.js cannot be downloaded.
            DeviceLost: no browser came.
        """
        self.exchange = Exchange()
        host, port = self._where
        self._server = WebServer(Site.for_device(self._files), host=host, port=port, exchange=self.exchange)
        try:
            self.announce("open this address in the browser that is to be measured:")
            for line in shown_address(self._server.url, with_code=self._server.is_public, stream=sys.stderr):
                self.announce(line)
            if self._server.fingerprint:
                self.announce(f"the browser warns of a certificate, whose SHA-256 is {self._server.fingerprint}")
            self.exchange.await_greeting(WAIT_S)
        except BaseException:  # Ctrl-C too: __exit__ is not called for what fails in here
            self._server.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Tell the page that all is done, and stop serving it."""
        self.exchange.close()
        self._server.close()

    def put(self, path: Path, digest: str) -> str:
        """Serve a file to the page; see ``Device.put``.

        Raises:
            InputError: no browser runs such a file, or its runtime cannot be downloaded.
        """
        runtime = runtime_of(path)
        self._files.update(runtime_files(runtime))
        name = f"models/{digest[:16]}/model{path.suffix.lower()}"  # a file's own name may have any character
        self._files[name] = File(path)
        self._paths[name] = path
        return name

    def run(self, request: Request) -> Reply:
        """See ``Device.run``."""
        if request.scope != "inference":
            raise InputError("in a browser `scope` 'inference' is measured; the page of edgeseg web shows the rest.")
        path = self._paths[request.path]
        opened = WebBackend(path, request.options, self)
        greeting, info = self.greeting, opened.inputs[0]
        bytes_rgb = np.random.default_rng(0).integers(0, 256, info.shape)
        image = bytes_rgb.astype(info.dtype) if np.dtype(info.dtype).kind in "iu" else bytes_rgb / np.float32(127.5) - 1
        plan = {
            "warmupRuns": request.warmup_runs,
            "warmupMs": 1e3 * request.warmup_min_secs,
            "runs": request.num_runs,
            "leastMs": 1e3 * request.min_secs,
            "mostMs": 1e3 * request.max_secs,
        }
        timings, content = self.ask(
            Timings, {"request": "measure", "plan": plan}, image.astype(info.dtype), longest_s(request)
        )
        latencies_s = _latencies_s(content)
        return Reply(
            runtime=opened.runtime,
            environment=self._environment(runtime_of(path)),
            init_s=opened.init_s,
            first_s=timings.first_ms / 1e3,
            latencies_s=latencies_s,
            fully_accelerated=opened.fully_accelerated,
            software_rendering=opened.software_rendering,
            warnings=_warnings(greeting, timings, statistics.median(latencies_s)),
        )

    def answers(self, artifact: Path, options: Mapping[str, Any], proof: Path, order: Sequence[int]) -> Answers:
        """See ``ProofDevice.answers``; all runs are of one worker."""
        read = read_proof(proof)
        return answer_proof(WebBackend(artifact, options, self), read, order)

    def value(self, artifact: Path, options: Mapping[str, Any], tensor: NDArray[Any], *, runs: int = 1) -> NDArray[Any]:
        """See ``ProofDevice.value``."""
        opened = WebBackend(artifact, options, self)
        for _ in range(runs):
            output = opened.run(tensor)
        info = opened.outputs[0]
        return dequantized(output, info.scale, info.zero_point)

    @property
    def greeting(self) -> Greeting:
        """What the browser said of itself when it opened the page."""
        return self.exchange.await_greeting(WAIT_S)

    def ask(
        self, kind: type[T], request: Mapping[str, Any], tensor: NDArray[Any] | None, timeout_s: float
    ) -> tuple[T, bytes]:
        """Ask the page; see ``Exchange.ask``."""
        if tensor is None:
            return self.exchange.ask(kind, request, timeout_s=timeout_s)
        about = {"dtype": str(tensor.dtype), "shape": tensor.shape}
        return self.exchange.ask(kind, {**request, **about}, tensor.tobytes(), timeout_s=timeout_s)

    def _environment(self, runtime: BrowserRuntime) -> Environment:
        said = self.greeting
        extra = {
            "GPU": said.gpu or "none",
            "isolated": "yes" if said.isolated else "no",
            "clock": f"steps of {said.timer_ms:.3g} ms",
            "battery": said.battery,
        }
        return Environment(
            device=self.name,
            machine=said.browser,
            system=said.system,
            cpus=said.cpus,
            versions={runtime.name: runtime.version},
            date=now(),
            extra={name: value for name, value in extra.items() if value},
        )


class WebBackend:
    """A model in a worker of the browser; a ``Backend``. The next one that is opened ends it.

    Attributes:
        runtime: LiteRT.js or onnxruntime-web, and what runs it.
        spec: the ModelSpec inside the file, ``None`` when there is none.
        inputs: the model's inputs.
        outputs: the model's outputs.
        init_s: seconds that the runtime and the model took to load.
        fully_accelerated: whether the accelerator runs every node.
        software_rendering: whether the GPU is emulated.
    """

    def __init__(self, artifact: Path, options: Mapping[str, Any], device: WebDevice) -> None:
        """Open a model in a new worker.

        Raises:
            InputError: the file is no model of one input, or the browser refuses it.
            BackendUnavailable: the accelerator that was asked for is not there.
            DeviceLost: the page is gone.
        """
        runtime = runtime_of(artifact)
        content = self._describe(artifact)
        if len(self.inputs) != 1:
            raise InputError(f"'{artifact}' has {len(self.inputs)} inputs; in a browser a model of one can be fed.")
        if is_open(self.inputs[0].shape):
            raise InputError(
                f"'{artifact}' leaves its input size open. Convert it at a fixed size (edgeseg export --imgsz H,W)."
            )
        other = [name for name, value in options.items() if value and name not in ("accelerator", "num_threads")]
        if other:
            raise InputError(f"a browser takes no `{other[0]}`: it runs a model as its file has it.")
        asked = RuntimeOptions(**options).accelerator or "cpu"
        greeting = device.greeting
        if asked not in _ACCELERATORS:
            raise BackendUnavailable(f"a browser has no '{asked}' for models; accepted: cpu, gpu.")
        if asked == "gpu" and runtime is not LITERT:
            raise BackendUnavailable(NO_GPU_FOR_ONNX)
        if asked == "gpu" and not greeting.gpu:
            raise BackendUnavailable("this browser offers no WebGPU, or not on this page; accepted: cpu.")
        if asked == "gpu" and precision_of(self.spec, self.inputs[0], self.outputs[0]) in INTEGERS:
            raise BackendUnavailable(NO_GPU)
        self._device = device
        path = device.put(artifact, sha256(content))
        request = {
            "request": "open",
            "name": artifact.name,
            "file": path,
            "folder": runtime_place(runtime),
            "runtime": f"{runtime.name} {runtime.version}",
            "accelerator": _ACCELERATORS[asked],
            "threads": options.get("num_threads") or 0,
        }
        opened, _ = device.ask(Opened, request, None, _OPEN_S)
        if opened.accelerator != _ACCELERATORS[asked]:
            raise BackendUnavailable(f"the browser runs the model on {opened.accelerator}, not on the {asked}.")
        where = "WebGPU" if asked == "gpu" else f"WASM, {counted(opened.threads, 'thread')}"
        self.runtime = f"{runtime.name} {runtime.version}, {where}"
        self.init_s = opened.init_ms / 1e3
        self.fully_accelerated = opened.fully_accelerated
        self.software_rendering = asked == "gpu" and greeting.software_gpu
        self._last: NDArray[Any] = np.zeros(self.inputs[0].shape, self.inputs[0].dtype)

    def _describe(self, artifact: Path) -> bytes:
        """Read what goes into a model and comes out of it; a .onnx file says it to its runtime on this computer."""
        if artifact.suffix.lower() == ".tflite":
            what, content, self.spec = read_tflite(artifact)
            self.inputs, self.outputs = tflite_tensors(what, content)
            return content
        with contextlib.closing(open_backend(artifact)) as here:
            self.spec, self.inputs, self.outputs = here.spec, here.inputs, here.outputs
        return artifact.read_bytes()

    def run(self, image: NDArray[Any]) -> NDArray[Any]:
        """See ``Backend.run``."""
        self._last = image
        output, content = self._device.ask(Output, {"request": "run"}, image, _RUN_S)
        if len(content) != math.prod(output.shape) * np.dtype(output.dtype).itemsize:
            raise DeviceLost(f"the browser sends {len(content)} bytes for an output of {output.shape} {output.dtype}.")
        return np.frombuffer(content, np.dtype(output.dtype).newbyteorder("<")).reshape(output.shape)

    def invoke(self) -> None:
        """See ``Backend.invoke``."""
        self.run(self._last)

    def close(self) -> None:
        """Do nothing: the next model ends the worker, and so does the page."""


def _latencies_s(content: bytes) -> tuple[float, ...]:
    """Return the seconds of each call, from the milliseconds that a page sends."""
    if not content or len(content) % 8:
        raise DeviceLost(f"the browser sends {len(content)} bytes for the times of its calls, 8 each.")
    seconds = np.frombuffer(content, "<f8") / 1e3
    if not seconds.all():
        raise DeviceLost("the browser says that a call took no time: its clock is too coarse for this model.")
    if not ((seconds >= MIN_S) & (seconds <= MAX_S)).all():
        raise DeviceLost("the browser says that a call took less than a nanosecond or more than eleven days.")
    return tuple(seconds.tolist())


def _warnings(greeting: Greeting, timings: Timings, median_s: float) -> tuple[str, ...]:
    """Return reasons to distrust a measurement in a browser."""
    found = []
    if timings.hidden:
        found.append("the page was hidden meanwhile: browsers slow hidden pages down")
    if timings.battery.endswith("discharging"):
        found.append(f"the battery is in use ({timings.battery}): systems slow down to save it")
    if not greeting.isolated:
        found.append("the page is not isolated: it has one thread and a coarse clock")
    if greeting.timer_ms > _COARSE * 1e3 * median_s:
        found.append(f"the browser's clock has steps of {greeting.timer_ms:.3g} ms")
    return tuple(found)
