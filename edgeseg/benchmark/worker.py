"""Measure one request in one process: read it as JSON from stdin, open the artifact, time it, answer in JSON.

Runs on the measured device: this machine or one that ssh reaches:

    python -m edgeseg.benchmark.worker < request.json

In a process of its own the first call is really the first, memory is charged to the model alone, and a crash in a
driver does not affect the other measurements.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.json import Text, WrongValue, convert, decode
from edgeseg._internal.limits.models import TRIAL_VARIABLE, ModelFile
from edgeseg.benchmark import machine
from edgeseg.benchmark.result import (
    MIN_S,
    STAGES,
    Bytes,
    Environment,
    Latencies,
    Nodes,
    Reported,
    Seconds,
    Stages,
    Warnings,
    check_coverage,
    check_stages,
)
from edgeseg.choices import Scope
from edgeseg.imaging import preprocess, read_image
from edgeseg.opening import InputDescription, described
from edgeseg.runtime import SUFFIXES, Backend, open_backend
from edgeseg.runtime.base import is_open, open_size
from edgeseg.runtime.process.exchange import answer, raise_refusal
from edgeseg.segmenter import to_segmentation

#: Seconds that opening a model may take beside its timed calls: a GPU compiles its kernels for minutes.
_OPENING_S = 600.0

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True, kw_only=True)
class Request:
    """The measurement that one process makes.

    Warm-up and length follow LiteRT's ``benchmark_model``: at least a number of runs and a time, at most ``max_secs``.

    Attributes:
        path: the artifact, on the device.
        options: keywords of ``edgeseg.runtime.open_backend``.
        scope: ``inference`` or ``end-to-end``.
        warmup_runs: untimed calls; the first call of the process is one of them and is reported separately.
        warmup_min_secs: how long to warm up at least, in seconds.
        num_runs: timed calls at least.
        min_secs: how long they take together at least, in seconds.
        max_secs: how long at most, in seconds; one call is made in any case.
        image: an image on the device for ``end-to-end``; seeded noise of 640x480 when ``None``.
        description: the fields of an ``InputDescription``, for ``end-to-end`` of a model without ModelSpec.
    """

    path: str
    options: dict[str, Any] = field(default_factory=dict)
    scope: Scope = "inference"
    warmup_runs: int = 5
    warmup_min_secs: float = 0.5
    num_runs: int = 50
    min_secs: float = 1.0
    max_secs: float = 150.0
    image: str | None = None
    description: dict[str, Any] = field(default_factory=dict)


def longest_s(request: Request) -> float:
    """Return the seconds after which a process that measures a request cannot be expected to answer any more."""
    return 2 * request.max_secs + request.warmup_min_secs + _OPENING_S  # the warm-up ends by max_secs too


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The measurement of one process; fields as in ``LatencyResult``.

    ``warnings`` are the device's own, in addition to those derived from the samples.
    """

    runtime: Text
    environment: Environment
    init_s: Seconds
    first_s: Seconds
    latencies_s: Latencies = ()
    reported: Reported = field(default_factory=dict)
    stages_s: Stages = field(default_factory=dict)
    peak_memory_bytes: Bytes | None = None
    fully_accelerated: bool | None = None
    software_rendering: bool = False
    coverage: tuple[Nodes, Nodes] | None = None
    warnings: Warnings = ()

    def __post_init__(self) -> None:
        if not self.latencies_s and self.reported.get("median_ms", 0) < 1e3 * MIN_S:
            raise WrongValue("it has neither latencies nor a median above 0")
        check_stages(self.stages_s, len(self.latencies_s))
        check_coverage(self.coverage)

    @classmethod
    def from_json(cls, text: str) -> Reply:
        """Read the JSON that ``main`` wrote; nothing of it is trusted.

        Raises:
            WrongValue: it is no measurement.
            InputError: the worker refused the artifact or a setting.
            BackendUnavailable: the worker lacks the requested runtime or accelerator.
        """
        raise_refusal(text)
        return decode(text, cls)


def measure(request: Request, opener: Callable[..., Backend] = open_backend) -> Reply:
    """Open the artifact, warm up, and time it.

    Args:
        request: what to measure.
        opener: opens the artifact, called with its path and the request's options.

    Raises:
        EdgesegError: the artifact does not open, or not on the requested accelerator.
    """
    load = machine.busy_share()
    heat = [machine.temperature_c()]
    _import_runtime(request.path)
    memory = _kib("VmRSS:")
    start = time.perf_counter()
    backend = opener(request.path, **request.options)
    init_s = time.perf_counter() - start
    try:
        if is_open(backend.inputs[0].shape):
            raise open_size(f"'{request.path}'", backend.inputs[0])
        call = _end_to_end(backend, request) if request.scope == "end-to-end" else _inference(backend)
        (first,) = _repeat(call, 1, 0.0, 0.0)
        _repeat(call, request.warmup_runs - 1, request.warmup_min_secs, request.max_secs)
        calls = _repeat(call, request.num_runs, request.min_secs, request.max_secs)
        most = _kib("VmHWM:")
        peak = None if memory is None or most is None else most - memory
    finally:
        backend.close()
    heat.append(machine.temperature_c())
    known = tuple(value for value in heat if value is not None)
    return Reply(
        runtime=backend.runtime,
        init_s=getattr(backend, "compile_s", init_s),
        first_s=sum(first),
        latencies_s=tuple(sum(stages) for stages in calls),
        stages_s=dict(zip(STAGES, zip(*calls, strict=True), strict=True)) if request.scope == "end-to-end" else {},
        peak_memory_bytes=None if peak is None else peak * 1024,
        fully_accelerated=getattr(backend, "fully_accelerated", None),
        software_rendering=bool(getattr(backend, "software_rendering", False)),
        environment=replace(machine.environment(), load=load, temperature_c=known),
    )


def main() -> int:
    """Answer one ``Request``."""
    # This is a process of its own, and a trial would be in the time that is measured.
    os.environ[TRIAL_VARIABLE] = "0"
    return answer(lambda asked: asdict(measure(Request(**asked))))


def _inference(backend: Backend) -> Callable[[], tuple[float, ...]]:
    info = backend.inputs[0]
    batch, *sides = info.shape
    tensor = np.random.default_rng(0).integers(0, 256, (1 if batch == -1 else batch, *sides)).astype(info.dtype)

    first = True

    def call() -> tuple[float, ...]:
        nonlocal first
        start = time.perf_counter()
        # The image stays in the runtime's memory: handing it over is not inference, as in LiteRT's tool.
        if first:
            backend.run(tensor)
            first = False
        else:
            backend.invoke()
        return (time.perf_counter() - start,)

    return call


def _end_to_end(backend: Backend, request: Request) -> Callable[[], tuple[float, ...]]:
    data = None if backend.spec is not None else ModelFile.read(request.path).data
    segmenter = described(request.path, backend, convert(request.description, InputDescription), data=data)
    spec = segmenter.spec
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    image: NDArray[np.uint8] = noise if request.image is None else read_image(request.image)

    def call() -> tuple[float, ...]:
        stamps = [time.perf_counter()]
        tensor, placement = preprocess(image, spec)
        stamps.append(time.perf_counter())
        output = segmenter.backend.run(tensor)
        stamps.append(time.perf_counter())
        to_segmentation(output, spec, placement, segmenter.backend.outputs[0])
        stamps.append(time.perf_counter())
        return tuple(later - earlier for earlier, later in itertools.pairwise(stamps))

    return call


def _repeat(
    call: Callable[[], tuple[float, ...]], num_runs: int, min_secs: float, max_secs: float
) -> list[tuple[float, ...]]:
    """Call at least so often and so long; at most so long, but once where ``num_runs`` asks for any."""
    calls: list[tuple[float, ...]] = []
    start = time.perf_counter()
    while True:
        elapsed = time.perf_counter() - start
        enough = len(calls) >= num_runs and elapsed >= min_secs
        if enough or (calls and elapsed >= max_secs):
            return calls
        calls.append(call())


def _import_runtime(path: str) -> None:
    """Load the runtime before memory is measured and the clock starts: its code is not the model's."""
    import importlib

    modules: dict[str, tuple[str, ...]] = {
        "litert": ("ai_edge_litert.interpreter", "tflite_runtime.interpreter"),
        "onnx": ("onnxruntime",),
        "mnn": ("MNN",),
        "openvino": ("openvino",),
        "keras": ("keras",),
    }
    for module in modules.get(SUFFIXES.get(Path(path).suffix.lower(), ""), ()):
        try:
            importlib.import_module(module)
            return
        except ModuleNotFoundError:
            continue


def _kib(name: str) -> int | None:
    if not _STATUS.exists():
        return None
    lines = _STATUS.read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), None)


if __name__ == "__main__":
    sys.exit(main())
