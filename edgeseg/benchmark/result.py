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
from edgeseg._internal.json import Meta, field_names, tuples
from edgeseg.choices import Scope
from edgeseg.errors import InputError
from edgeseg.html.notebook import html_table

FORMAT_VERSION = 1


#: The stages of an end-to-end run, in order.
STAGES = ("preprocess", "inference", "postprocess")


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
        extra: properties that only some devices have: the phone's model, Android version, thermal state.
    """

    __repr__ = short_repr

    device: str
    machine: str
    system: str
    cpus: Annotated[int, Meta(ge=0, le=1 << 20)]
    governor: str = ""
    temperature_c: tuple[Annotated[float, Meta(ge=-273.15, le=1000)], ...] = ()
    load: Annotated[float, Meta(ge=0, le=1)] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    date: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


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
        environment: where it was measured.
    """

    __repr__ = short_repr

    artifact: str
    sha256: str
    size_bytes: int
    accelerator: str
    runtime: str
    num_threads: int
    scope: Scope
    latencies_s: tuple[float, ...]
    rounds: tuple[int, ...]
    warmup_runs: int
    input_size: tuple[int, int] | None = None
    init_s: tuple[float, ...] = ()
    first_s: tuple[float, ...] = ()
    peak_memory_bytes: int | None = None
    reported: tuple[Mapping[str, float], ...] = ()
    stages_s: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    fully_accelerated: bool | None = None
    software_rendering: bool = False
    coverage: tuple[int, int] | None = None
    warnings: tuple[str, ...] = ()
    environment: Environment = field(default_factory=lambda: Environment(device="local", machine="", system="", cpus=0))

    def __post_init__(self) -> None:
        if min(self.latencies_s, default=0.0 if not self.reported else 1.0) <= 0:
            raise InputError(f"a result of '{self.artifact}' needs latencies above 0 seconds.")
        if sum(self.rounds) != len(self.latencies_s):
            raise InputError(f"the rounds {self.rounds} do not add up to {len(self.latencies_s)} latencies.")
        if self.scope not in get_args(Scope):
            raise InputError(f"scope must be one of {get_args(Scope)}, got {self.scope!r}.")

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
        """Return plain values for JSON, with the statistics for other readers; ``from_dict`` recomputes them."""
        values = dataclasses.asdict(self)
        environment = values.pop("environment")
        return {**values, "summary": dataclasses.asdict(self.summary), "environment": environment}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LatencyResult:
        """Read the values that ``to_dict`` wrote; fields that this version does not know are skipped.

        Raises:
            InputError: a field is missing or of the wrong kind.
        """
        try:
            values = {key: tuples(value) for key, value in data.items() if key in field_names(cls)}
            place = {
                key: tuples(value) for key, value in data["environment"].items() if key in field_names(Environment)
            }
            return cls(**{**values, "environment": Environment(**place)})
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"this is not a benchmark result: {error!r}.") from error


def to_json(results: Sequence[LatencyResult]) -> str:
    """Return the text of a result file."""
    return json.dumps({"format_version": FORMAT_VERSION, "results": [r.to_dict() for r in results]}, indent=1) + "\n"


def read(path: str | Path) -> list[LatencyResult]:
    """Read a result file.

    Raises:
        InputError: it is missing, no result file, or of a version that this edgeseg cannot read.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        version = data["format_version"]
        entries = list(data["results"])
    except OSError as error:
        raise InputError(f"result file '{path}' cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"'{path}' is no benchmark result of edgeseg.") from error
    if version != FORMAT_VERSION:
        raise InputError(f"'{path}' has format version {version}, this edgeseg reads {FORMAT_VERSION}; update edgeseg.")
    try:
        return [LatencyResult.from_dict(entry) for entry in entries]
    except InputError as error:
        raise InputError(f"'{path}': {error}") from error


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
