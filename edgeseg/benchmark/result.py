"""Define a measurement: raw samples, how they were taken, and where. Statistics are computed, never stored.

The JSON file has a version; a changed meaning is a new version and a line here:
1 - the first.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, get_args

import numpy as np

from edgeseg._internal.fields import short_repr
from edgeseg._internal.json import FEW, AnyText, Meta, Text, Texts, WrongValue, decode
from edgeseg._internal.limits.text import read_text
from edgeseg.choices import Scope
from edgeseg.errors import InputError
from edgeseg.html.notebook import html_table
from edgeseg.proof import Agreement

FORMAT_VERSION = 1

#: The stages of an end-to-end run, in order.
STAGES = ("preprocess", "inference", "postprocess")

#: The name of Linux's setting in ``Environment.extra``.
HUGE_PAGES = "transparent huge pages"

#: Eleven days: what no call takes, and what a sum of many is still exact with.
MAX_S = 1e6
#: A nanosecond: what no call is faster than, and so a ratio of two is finite.
MIN_S = 1e-9
#: Bytes of the largest result file: of some millions of calls.
_MAX_FILE = 1 << 26
_MAX_CALLS = 10_000_000

Latency = Annotated[float, Meta(ge=MIN_S, le=MAX_S)]
Seconds = Annotated[float, Meta(ge=0, le=MAX_S)]
Latencies = Annotated[tuple[Latency, ...], Meta(max_length=_MAX_CALLS)]
#: Seconds of each stage of every call, by the names of ``STAGES``.
Stages = Annotated[
    Mapping[Text, Annotated[tuple[Seconds, ...], Meta(max_length=_MAX_CALLS)]], Meta(max_length=len(STAGES))
]
#: Statistics of a tool in milliseconds, by the names of ``Summary``.
Reported = Annotated[Mapping[Text, Annotated[float, Meta(ge=0, le=1e3 * MAX_S)]], Meta(max_length=FEW)]
Bytes = Annotated[int, Meta(ge=-(2**50), le=2**50)]  # a growth: a tool that frees memory reports less than nothing
Nodes = Annotated[int, Meta(ge=0, le=2**31)]
Warnings = Annotated[tuple[Annotated[str, Meta(max_length=10_000)], ...], Meta(max_length=FEW)]
_Count = Annotated[int, Meta(ge=0, le=2**31)]
_PerProcess = Annotated[tuple[Seconds, ...], Meta(max_length=FEW)]


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Where and with what a result was measured.

    Attributes:
        device: ``local``, ``ssh:HOST`` or ``adb:SERIAL``.
        machine: the CPU or SoC as the system names it.
        system: operating system and architecture.
        cpus: cores that the process could use.
        governor: CPU frequency governor, empty where the system has none to read.
        temperature_c: hottest thermal zone before and after, degrees Celsius; empty where there is none.
        load: share of the CPU that other work used just before, in [0, 1]; ``None`` where it cannot be read.
        versions: package to version, edgeseg among them.
        date: UTC, ``2026-01-31T12:00:00Z``.
        extra: properties that only some devices have: the phone's model, Android version, thermal state, Linux's
            transparent huge pages.
    """

    __repr__ = short_repr

    device: Text
    machine: Text
    system: Text
    cpus: Annotated[int, Meta(ge=0, le=1 << 20)]
    governor: Text = ""
    temperature_c: Annotated[tuple[Annotated[float, Meta(ge=-273.15, le=1000)], ...], Meta(max_length=FEW)] = ()
    load: Annotated[float, Meta(ge=0, le=1)] | None = None
    versions: Texts = field(default_factory=dict)
    date: Text = ""
    extra: Texts = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Statistics of one result, in milliseconds; names as in DESIGN and, where they agree, in LiteRT's own tool."""

    median_ms: float
    p5_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    mean_ms: float
    std_ms: float
    min_ms: float
    max_ms: float
    init_ms: float | None
    first_ms: float | None
    peak_memory_mb: float | None


@dataclass(frozen=True, kw_only=True)
class LatencyResult:
    """The timed calls of one artifact on one device, accelerator and number of threads.

    Attributes:
        artifact: name of the file.
        sha256: of the file.
        size_bytes: of the file.
        accelerator: ``cpu``, ``gpu``, ``npu``, or a name of ONNX Runtime's providers or of a delegate's library.
        runtime: what actually ran, with its version, and whether the accelerator took the whole graph.
        num_threads: of the runtime.
        scope: ``inference`` is one call of the runtime; ``end-to-end`` image to class map.
        input_size: ``(H, W)`` that a model which leaves it open was measured at; ``None`` for the model's own.
        latencies_s: seconds of every timed call, in order, without warm-up calls. Empty where the device's own tool
            gives only statistics: those are then in ``reported``.
        rounds: how many of the latencies belong to each process, in order; each process opened the model anew.
        reported: statistics in milliseconds of each process, by the names of ``Summary``, from a tool without samples.
        warmup_runs: calls before the first timed one, in every process.
        init_s: seconds to open the model, one value for each process.
        first_s: seconds of the first call, one value for each process.
        peak_memory_bytes: peak growth of a process in opening and running the model, the largest of all processes.
        stages_s: seconds of each stage of every end-to-end call.
        fully_accelerated: whether the accelerator runs every node; ``None`` when the runtime does not say.
        software_rendering: whether the GPU is emulated on the CPU (SwiftShader): its latency is not a GPU's.
        coverage: ``(delegated, total)`` nodes, where it is known.
        warnings: reasons to distrust these numbers; empty when none were found.
        agreement: how far the same artifact gives the classes of its Keras model there; ``None`` where there was no
            proof. A latency whose answer is wrong is none.
        environment: where it was measured.
    """

    __repr__ = short_repr

    artifact: AnyText
    sha256: Text
    size_bytes: Annotated[int, Meta(ge=0, le=2**50)]
    accelerator: Text
    runtime: Text
    num_threads: _Count
    scope: Scope
    latencies_s: Latencies
    rounds: Annotated[tuple[_Count, ...], Meta(max_length=FEW)]
    warmup_runs: _Count
    input_size: tuple[_Count, _Count] | None = None
    init_s: _PerProcess = ()
    first_s: _PerProcess = ()
    peak_memory_bytes: Bytes | None = None
    reported: Annotated[tuple[Reported, ...], Meta(max_length=FEW)] = ()
    stages_s: Stages = field(default_factory=dict)
    fully_accelerated: bool | None = None
    software_rendering: bool = False
    coverage: tuple[Nodes, Nodes] | None = None
    warnings: Warnings = ()
    agreement: Agreement | None = None
    environment: Environment = field(default_factory=lambda: Environment(device="local", machine="", system="", cpus=0))

    def __post_init__(self) -> None:
        if min(self.latencies_s, default=0.0 if not self.reported else 1.0) <= 0:
            raise InputError(f"a result of '{self.artifact}' needs latencies above 0 seconds.")
        if sum(self.rounds) != len(self.latencies_s):
            raise InputError(
                f"the rounds of '{self.artifact}' are {_few(self.rounds)}, which do not add up to "
                f"{len(self.latencies_s)} latencies."
            )
        if self.latencies_s and 0 in self.rounds:
            raise InputError(f"a round of '{self.artifact}' has no latency.")
        if not all(report.get("median_ms", 0) >= 1e3 * MIN_S for report in self.reported):
            raise InputError(f"what a tool reported of '{self.artifact}' has no median_ms of a nanosecond or more.")
        if self.scope not in get_args(Scope):
            raise InputError(f"scope must be one of {get_args(Scope)}, got {self.scope!r}.")
        check_stages(self.stages_s, len(self.latencies_s))
        check_coverage(self.coverage)

    @property
    def name(self) -> str:
        """What was measured: the file, and the size where the user chose it."""
        return self.artifact + ("" if self.input_size is None else " at {},{}".format(*self.input_size))

    @property
    def median_s(self) -> float:
        """The median, in seconds; for a tool without samples the median of its medians."""
        return float(np.median([value for latencies in self.by_round() for value in latencies]))

    @property
    def spread(self) -> float:
        """The distance from the 10th to the 90th percentile, over the median; 0 without samples."""
        if not self.latencies_s:
            return 0.0
        low, high = np.percentile(self.latencies_s, (10, 90))
        return float(high - low) / self.median_s

    @property
    def summary(self) -> Summary:
        """All statistics; ``None`` where the device's tool does not give one."""
        return Summary(
            **(_of_samples(self.latencies_s) if self.latencies_s else _of_reports(self.reported)),
            init_ms=_median_ms(self.init_s),
            first_ms=_median_ms(self.first_s),
            peak_memory_mb=None if self.peak_memory_bytes is None else self.peak_memory_bytes / 1e6,
        )

    def _repr_html_(self) -> str:
        """Return the statistics as a table, for a notebook."""
        values = dataclasses.asdict(self.summary)
        rows = [
            (name.removesuffix("_ms"), f"{ms:.2f} ms") for name, ms in values.items() if name.endswith("_ms") and ms
        ]
        rows += [("warning", warning) for warning in self.warnings]
        return html_table(rows, head=(self.name, f"{self.accelerator}, {self.runtime}"))

    def by_round(self) -> list[tuple[float, ...]]:
        """Return the latencies of each process in seconds; its median alone where there are no samples."""
        if not self.latencies_s:
            return [(report["median_ms"] / 1e3,) for report in self.reported]
        ends = np.cumsum(self.rounds)
        return [self.latencies_s[end - count : end] for end, count in zip(ends, self.rounds, strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, with the statistics for other readers; they are not read back."""
        values = dataclasses.asdict(self)
        environment = values.pop("environment")
        device = {"kind": self.environment.device.partition(":")[0], "name": self.environment.device}
        return {
            **values,
            "device": device,
            "summary": dataclasses.asdict(self.summary),
            "environment": environment,
        }


def check_stages(stages_s: Mapping[str, Sequence[float]], num_calls: int) -> None:
    """Refuse stages that are not those of every call.

    Raises:
        WrongValue: a stage is missing or unknown, or has another number of times.
    """
    if stages_s and (set(stages_s) != set(STAGES) or any(len(times) != num_calls for times in stages_s.values())):
        raise WrongValue(f"'stages_s' is not {', '.join(STAGES)} of every latency")


def check_coverage(coverage: tuple[int, int] | None) -> None:
    """Refuse a coverage of more nodes than there are.

    Raises:
        WrongValue: it is one.
    """
    if coverage is not None and coverage[0] > coverage[1]:
        raise WrongValue("'coverage' is {} of {} nodes".format(*coverage))


def _few(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return f"({shown}{', ...' if len(numbers) > 10 else ''})"


@dataclass(frozen=True)
class Lost:
    """A device that gave no result.

    Attributes:
        device: its name.
        why: the reason.
    """

    device: Text
    why: AnyText


def to_json(results: Sequence[LatencyResult], lost: Sequence[Lost] = ()) -> str:
    """Return the text of a result file."""
    return json.dumps(to_dict(results, lost), indent=1) + "\n"


def to_dict(results: Sequence[LatencyResult], lost: Sequence[Lost] = ()) -> dict[str, Any]:
    """Return the object of a result file."""
    told = {"lost": [dataclasses.asdict(each) for each in lost]} if lost else {}
    return {"format_version": FORMAT_VERSION, "results": [result.to_dict() for result in results], **told}


def read(path: str | Path) -> list[LatencyResult]:
    """Read the results of a file, whose unknown fields are skipped.

    Raises:
        InputError: it is missing, no result file, or of a version that this edgeseg cannot read.
    """
    return list(_read(path).results)


def read_lost(path: str | Path) -> list[Lost]:
    """Read which devices of a fleet gave no result; see ``read``."""
    return list(_read(path).lost)


def _read(path: str | Path) -> _File:
    try:
        text = read_text(path, _MAX_FILE)
        version = decode(text, _Version).format_version
    except OSError as error:
        raise InputError(f"result file '{path}' cannot be read: {error.strerror}.") from error
    except (WrongValue, UnicodeDecodeError) as error:
        raise InputError(f"'{path}' is no benchmark result of edgeseg: {error}.") from error
    if version != FORMAT_VERSION:
        raise InputError(f"'{path}' has format version {version}, this edgeseg reads {FORMAT_VERSION}; update edgeseg.")
    try:
        return decode(text, _File)
    except WrongValue as error:
        raise InputError(f"'{path}' is no benchmark result of edgeseg: {error}.") from error
    except InputError as error:
        raise InputError(f"'{path}': {error}") from error


@dataclass(frozen=True, kw_only=True)
class _Version:
    format_version: _Count


@dataclass(frozen=True, kw_only=True)
class _File:
    """The results of a file of this version."""

    results: Annotated[tuple[LatencyResult, ...], Meta(max_length=FEW)]
    lost: Annotated[tuple[Lost, ...], Meta(max_length=FEW)] = ()


def _of_samples(latencies_s: Sequence[float]) -> dict[str, float]:
    ms = np.array(latencies_s) * 1e3
    points = dict(zip(("p5_ms", "p90_ms", "p95_ms", "p99_ms"), np.percentile(ms, (5, 90, 95, 99)), strict=True))
    points |= {"median_ms": np.median(ms), "mean_ms": ms.mean(), "min_ms": ms.min(), "max_ms": ms.max()}
    points["std_ms"] = ms.std(ddof=1) if ms.size > 1 else 0.0
    return {name: float(value) for name, value in points.items()}


def _of_reports(reports: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """Merge the reports of the processes: the smallest minimum, the largest maximum, the median of everything else."""
    joined: dict[str, float | None] = {}
    for name in ("median_ms", "p5_ms", "p90_ms", "p95_ms", "p99_ms", "mean_ms", "std_ms", "min_ms", "max_ms"):
        values = [report[name] for report in reports if name in report]
        join = {"min_ms": min, "max_ms": max}.get(name, np.median)
        joined[name] = float(join(values)) if values else None
    return joined


def _median_ms(seconds: Sequence[float]) -> float | None:
    return float(np.median(seconds)) * 1e3 if seconds else None
