"""Format results as rows of text: for a terminal, Markdown and CSV alike."""

from __future__ import annotations

from collections.abc import Sequence

from edgeseg._internal.files import csv_text
from edgeseg.benchmark.compare import CONFIDENCE, Comparison
from edgeseg.benchmark.result import LatencyResult

#: Columns of ``rows``; those that begin with ``>`` are numbers.
COLUMNS = (
    "Artifact",
    "Device",
    "Runs on",
    ">Threads",
    ">Median ms",
    ">p90",
    ">p99",
    ">Min",
    ">First",
    ">Init",
    ">Memory MB",
    ">Size MB",
)

COMPARISON_COLUMNS = (
    "Artifact",
    "Device",
    "Runs on",
    ">Threads",
    ">Before ms",
    ">After ms",
    ">Ratio",
    ">Of the fastest",
    f"{CONFIDENCE:.0%} interval",
    "Verdict",
)


def rows(results: Sequence[LatencyResult]) -> list[list[str]]:
    """Return a row for each result; times in milliseconds."""
    return [_row(result) for result in results]


def comparison_rows(comparisons: Sequence[Comparison]) -> list[list[str]]:
    """Return a row for each pair."""
    return [
        [
            c.result.name,
            c.result.environment.device,
            runs_on(c.result),
            threads_text(c.result),
            _ms(c.baseline.median_s * 1e3),
            _ms(c.result.median_s * 1e3),
            f"{c.median.value:.3f}",
            f"{c.fastest.value:.3f}",
            f"{c.fastest.low:.3f} to {c.fastest.high:.3f}",
            verdict(c),
        ]
        for c in comparisons
    ]


def verdict(comparison: Comparison) -> str:
    """Return ``slower``, ``faster``, or that the runs cannot tell."""
    if not comparison.significant:
        return "no difference that these runs can tell"
    return "slower" if comparison.median.value > 1 else "faster"


def to_csv(columns: Sequence[str], table: Sequence[Sequence[str]]) -> str:
    """Return the rows as CSV with a header line."""
    return csv_text([[column.lstrip(">") for column in columns], *table])


def threads_text(result: LatencyResult) -> str:
    """Return the number of threads, or that it is the default."""
    return str(result.num_threads or "default")


def runs_on(result: LatencyResult) -> str:
    """Return the accelerator, with what a reader must know about it."""
    if result.software_rendering:
        return f"{result.accelerator} (software rendering: no GPU's latency)"
    if result.fully_accelerated is False:
        return f"{result.accelerator} (in part)"
    return result.accelerator


def _row(result: LatencyResult) -> list[str]:
    s = result.summary
    return [
        result.name,
        result.environment.device,
        runs_on(result),
        threads_text(result),
        _ms(s.median_ms),
        _ms(s.p90_ms),
        _ms(s.p99_ms),
        _ms(s.min_ms),
        _ms(s.first_ms),
        _ms(s.init_ms),
        "-" if s.peak_memory_mb is None else f"{s.peak_memory_mb:.1f}",
        f"{result.size_bytes / 1e6:.2f}",
    ]


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 100 else f"{value:.1f}"
