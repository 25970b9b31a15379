"""Call TensorFlow Lite's and LiteRT's ``benchmark_model``: build its command line, and parse its output.

Two tools have this name. Both are built on ``tflite/tools/benchmark/benchmark_model.cc`` (repository
google-ai-edge/LiteRT), whose lines are the ones read here: ``Initialized session in 12.3ms.``, and for the warm-up and
for the timed calls one ``count=50 first=... min=... max=... avg=... std=... p5=... median=... p95=...`` in
microseconds (``StatWithPercentiles`` in ``stats_calculator.h``; of equal values only ``curr`` is printed). They differ
in flags and in how they speak of memory:

- TFLite's, ``tflite/tools/benchmark/benchmark_tflite_model.cc``: ``use_xnnpack``, ``use_gpu``, ``use_nnapi``,
  ``external_delegate_path``; ``Memory footprint delta from the start of the tool (MB): init=... overall=...``;
  ``Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.``
- LiteRT's, ``litert/tools/benchmark_litert_model.h``: ``use_cpu``, ``use_gpu``, ``use_npu``;
  ``Overall footprint: 12.34 MB``.

On Android the runtime adds ``Replacing 58 out of 58 node(s) with delegate (TfLiteGpuDelegateV2) node`` on stderr
(``minimal_logging_android.cc``). A flag that a tool does not know is a warning to it and nothing else
(``Unconsumed cmdline flags``, ``BenchmarkModel::ParseFlags``), and an NNAPI that is missing is one too: the CPU's
latency would pass for an accelerator's. So flags are looked up in its ``--help`` first, and a result for an
accelerator needs the line that says so.

TFLite's alone can be fed and read. Inputs go by their place in the model: ``input_layer`` gives each a name that need
not be the file's, so ours is always ``image``. The file's own may have a ``:``, which ``input_layer_value_files``
separates with (newer tools alone take a doubled one for a character). A value file is the tensor's memory, and the tool
dies of one of another size (``LoadInputTensorData``); every inference begins with it (``ResetInputsAndOutputs``).
``output_filepath`` gets the memory of all outputs after the last inference, in the order of the model's outputs with
nothing in between (``OutputSaver``); where it cannot be written, or the disk is full, the tool says nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeseg._internal.text import escaped, last_line
from edgeseg.benchmark.result import Nodes
from edgeseg.benchmark.worker import Request
from edgeseg.errors import BackendUnavailable, InputError

#: Where to download the tools; from LiteRT's and TensorFlow's pages about measuring.
WHERE_TFLITE = (
    "https://storage.googleapis.com/tensorflow-nightly-public/prod/tensorflow/release/lite/tools/nightly/latest/"
    "android_aarch64_benchmark_model (TensorFlow Lite's)"
)
WHERE = (
    "https://storage.googleapis.com/litert/binaries/latest/android_arm64/benchmark_model (LiteRT's own), or for a "
    f"delegate {WHERE_TFLITE}"
)

#: Whether an accelerator may compute in half precision; XNNPACK does by itself where a file asks, the GPU always.
_HALF_PRECISION = {"cpu": "xnnpack_force_fp16", "gpu": "gpu_precision_loss_allowed", "npu": "nnapi_allow_fp16"}

# The text is a device's, of any length up to a limit: no pattern scans more than a line again and again.
_FLAG = re.compile(r"^[ \t]*--(\w+)=", re.MULTILINE)
_STATS = re.compile(r"\bcount=(?P<count>\d+)\s(?P<rest>.*)$", re.MULTILINE)
_COUNT = re.compile(r"\bcount=(\d+)")
_PAIR = re.compile(r"(\w+)=([0-9.e+-]+|-?inf|-?nan)")
_MOST = 1e15  # as microseconds thirty years
_STATISTICS = ("first", "curr", "min", "max", "avg", "std", "p5", "median", "p95")
_INIT = re.compile(r"Initialized session in ([0-9.e+]+)ms")
_TIMINGS = re.compile(r"Inference timings in us: Init: ([0-9.e+]+), First inference: ([0-9.e+]+)")
_MEMORY = re.compile(r"Memory footprint delta .*overall=([0-9.e+-]+)|Overall footprint:\s+([0-9.]+) MB")
_REPLACING = re.compile(r"Replacing (\d+)(?: out of (\d+))? node\(s\) with delegate \(([^)\n]+)\)")
_APPLIED = re.compile(r"Explicitly applied (\w+) delegate, and the model graph will be (completely|partially)")
# A warning about the name of an input, which is ours, is no reason.
_REASON = re.compile(
    r"^(?:WARN(?:ING)?: (?!Tensor # ).*|.*delegate is explicitly applied, the model graph will not be.*)$", re.MULTILINE
)
_UNCONSUMED = re.compile(r"Unconsumed cmdline flags: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Tool:
    """A ``benchmark_model`` on a device.

    Attributes:
        path: on the device.
        flags: the names that its ``--help`` lists.
        digest: its SHA-256; it cannot report a version.
    """

    path: str
    flags: frozenset[str]
    digest: str

    @property
    def name(self) -> str:
        """Whose tool it is, and which build: the runtime's name in ``edgeseg compare``."""
        return f"benchmark_model of {'LiteRT' if 'use_npu' in self.flags else 'TFLite'} ({self.digest[:12]})"

    def command(
        self, request: Request, delegate: str | None = None, more: Mapping[str, object] | None = None
    ) -> list[str]:
        """Return the command line of a request, the program first.

        Args:
            request: what to measure.
            delegate: path of a delegate's library on the device.
            more: flags and their values, of those that TensorFlow Lite's tool alone has.

        Raises:
            InputError: the request asks for something that no ``benchmark_model`` does.
            BackendUnavailable: this tool lacks a flag for it.
        """
        options = request.options
        for name in ("backend", "providers"):
            if options.get(name):
                raise InputError(f"`{name}` does not go with adb: there benchmark_model is the runtime.")
        if options.get("input_size"):
            raise InputError(
                "`input_size` does not go with adb: benchmark_model runs a file at its own size; convert the model at "
                "this one (edgeseg export --imgsz H,W)."
            )
        if request.scope != "inference":
            raise InputError("`scope='end-to-end'` cannot be measured over adb: benchmark_model times inference alone.")
        wanted: dict[str, object] = {
            "graph": request.path,
            "num_runs": request.num_runs,
            "min_secs": f"{request.min_secs:g}",
            "max_secs": f"{request.max_secs:g}",
            "warmup_runs": request.warmup_runs,
            "warmup_min_secs": f"{request.warmup_min_secs:g}",
        }
        if options.get("num_threads"):
            wanted["num_threads"] = options["num_threads"]
        if delegate is not None:
            wanted |= _delegate_flags(delegate, options.get("delegate_options") or {})
        else:
            wanted[self._accelerator_flag(options.get("accelerator") or "cpu")] = "true"
        lacking = [name for name in more or {} if name not in self.flags]
        if lacking:
            raise BackendUnavailable(
                f"this {self.name} has no flag --{lacking[0]}; give TensorFlow Lite's own, `benchmark_model='FILE'`. "
                f"It can be had at {WHERE_TFLITE}."
            )
        wanted |= more or {}
        unknown = [name for name in wanted if name not in self.flags]
        if unknown:
            raise BackendUnavailable(
                f"this {self.name} has no flag --{unknown[0]} and would ignore it; give another one with "
                f"`benchmark_model`. It can be had at {WHERE}."
            )
        return [self.path, *(f"--{name}={value}" for name, value in wanted.items())]

    def _accelerator_flag(self, accelerator: str) -> str:
        """Return the tool's flag; TFLite's has ``use_xnnpack``, ``use_nnapi`` for LiteRT's ``use_cpu``, ``use_npu``."""
        names = {"cpu": ("use_xnnpack", "use_cpu"), "gpu": ("use_gpu",), "npu": ("use_npu", "use_nnapi")}[accelerator]
        return next((name for name in names if name in self.flags), names[-1])


@dataclass(frozen=True)
class Placement:
    """Where a run of the tool ran: ``fully_accelerated`` and ``coverage`` as in ``Reply``."""

    fully_accelerated: bool | None
    coverage: tuple[Nodes, Nodes] | None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The parsed output of one run of the tool; fields as in ``Reply``."""

    init_s: float
    first_s: float
    reported: dict[str, float]
    peak_memory_bytes: int | None
    fully_accelerated: bool | None
    coverage: tuple[int, int] | None


def precision_flags(half: bool | None, options: Mapping[str, Any]) -> dict[str, object]:
    """Return the flag that says whether a run is in half precision.

    Args:
        half: whether it is; no flag where ``None``.
        options: keywords of ``edgeseg.runtime.open_backend``.

    Raises:
        InputError: a delegate runs it, which has its own options for that.
    """
    if half is None:
        return {}
    if options.get("delegate"):
        raise InputError("'half_precision' of an adb device is for cpu, gpu and npu; a delegate has its own options.")
    return {_HALF_PRECISION[options.get("accelerator") or "cpu"]: "true" if half else "false"}


def known_flags(usage: str) -> frozenset[str]:
    """Return the flags of a tool from the output of ``--help``: ``	--num_runs=50	int32	optional	...``."""
    return frozenset(_FLAG.findall(usage))


def parse(text: str, accelerator: str) -> Measured:
    """Read the output of a run.

    Args:
        text: stdout and stderr of the tool.
        accelerator: ``cpu``, or the accelerator that was asked for.

    Raises:
        InputError: the output is not understood; the text ends with its last line.
        BackendUnavailable: the tool ignored a flag, or the accelerator took nothing of the model.
    """
    _require_all_flags(text)
    reports = [_statistics(match) for match in _STATS.finditer(text)]
    timings, init = _TIMINGS.search(text), _INIT.search(text)
    if len(reports) < 2 or not (timings or init):
        raise InputError(f"the output of benchmark_model is not understood; its last line: {last_line(text)}")
    warmup, timed = reports[-2:]
    if "first_ms" not in warmup:
        raise InputError("the output of benchmark_model is not understood: its warm-up has no 'first' and no 'curr'.")
    if "median_ms" not in timed:
        raise InputError("this benchmark_model is too old: it prints no median; give a newer one, `benchmark_model`.")
    return Measured(
        init_s=_number(timings[1]) / 1e6 if timings else _number(init[1]) / 1e3,  # type: ignore[index]  # one is there
        first_s=warmup["first_ms"] / 1e3,
        reported={name: value for name, value in timed.items() if name != "first_ms"},
        peak_memory_bytes=_memory(text),
        **vars(_placement(text, accelerator)),
    )


def require_run(text: str, accelerator: str, num_runs: int) -> Placement:
    """Read the output of a run whose output tensors count, and not its times.

    Args:
        text: stdout and stderr of the tool.
        accelerator: ``cpu``, or the accelerator that was asked for.
        num_runs: how many inferences were asked for.

    Raises:
        InputError: the output is not understood, or the tool made another number of inferences.
        BackendUnavailable: the tool ignored a flag, or the accelerator took nothing of the model.
    """
    _require_all_flags(text)
    counts = _COUNT.findall(text)  # of the warm-up, where there is none 0, and of the inferences
    if not counts:
        raise InputError(f"the output of benchmark_model is not understood; its last line: {last_line(text)}")
    if _number(counts[-1]) != num_runs:
        raise InputError(f"benchmark_model made {_number(counts[-1]):g} inferences of {num_runs} that were asked for.")
    return _placement(text, accelerator)


def _require_all_flags(text: str) -> None:
    if ignored := _UNCONSUMED.search(text):
        raise BackendUnavailable(
            f"benchmark_model ignored {escaped(ignored[1])}: what it ran is not what was asked for."
        )


def _number(text: str) -> float:
    """Return a number of the tool: microseconds, milliseconds, MB or nodes.

    Raises:
        InputError: it is none, or larger than any that it can have measured.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= _MOST:
        shown = escaped(text, most=40)
        raise InputError(f"the output of benchmark_model is not understood: '{shown}' is no number up to {_MOST:g}.")
    return value


def _statistics(match: re.Match[str]) -> dict[str, float]:
    """Return milliseconds by the names of ``Summary``, and ``first_ms``."""
    values = {name: _number(value) / 1e3 for name, value in _PAIR.findall(match["rest"]) if name in _STATISTICS}
    if "min" not in values and "curr" in values:  # all values are the same, so that the tool prints only the newest
        values |= {name: values["curr"] for name in ("first", "min", "max", "avg")} | {"std": 0.0}
    return {"mean_ms" if name == "avg" else f"{name}_ms": value for name, value in values.items() if name != "curr"}


def _memory(text: str) -> int | None:
    """Return the growth of the process's largest resident size in bytes: ``ru_maxrss``, whose MB are MiB."""
    match = _MEMORY.search(text)
    return round(_number(match[1] or match[2]) * 2**20) if match else None


def _placement(text: str, accelerator: str) -> Placement:
    """Return whether the accelerator runs the whole graph, and ``(delegated, total)`` nodes."""
    if accelerator == "cpu":
        return Placement(None, None)
    applied = _APPLIED.search(text)
    # XNNPACK is the CPU: it takes what the accelerator did not take.
    nodes = next((match for match in _REPLACING.finditer(text) if "XNNPack" not in match[3]), None)
    if applied is None and (nodes is None or nodes[1] == "0"):
        reason = _REASON.search(text)
        raise BackendUnavailable(
            f"nothing of the model ran on '{accelerator}': "
            + (
                f"benchmark_model says: {escaped(reason[0])}"
                if reason
                else "benchmark_model names no delegate that took a node."
            )
        )
    coverage = (int(_number(nodes[1])), int(_number(nodes[2]))) if nodes is not None and nodes[2] else None
    if applied is not None:
        full: bool | None = applied[2] == "completely"
    else:
        full = coverage[0] == coverage[1] if coverage else None
    return Placement(full, coverage)


def _delegate_flags(path: str, options: Mapping[str, str]) -> dict[str, object]:
    """Return the flags of a delegate.

    ``external_delegate_options`` is split at ``;`` and ``:`` in ``external_delegate_provider.cc``.

    Its help text says commas; and it silently drops a pair with a second colon.
    """
    for name, value in options.items():
        if any(mark in f"{name}{value}" for mark in ":;"):
            raise InputError(
                f"the delegate option '{name}={value}' has a ':' or ';', which benchmark_model cannot pass."
            )
    flags: dict[str, object] = {"external_delegate_path": path}
    if options:
        flags["external_delegate_options"] = ";".join(f"{name}:{value}" for name, value in options.items())
    return flags
