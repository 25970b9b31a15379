"""Format results as rows of text: for a terminal, Markdown and CSV alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeseg._internal.files import csv_text
from edgeseg._internal.text import counted, escaped, percent
from edgeseg.benchmark.compare import CONFIDENCE, Comparison, Verdict
from edgeseg.benchmark.result import LatencyResult, Lost

#: Marks an answer that is wrong, in a table.
WRONG = "WRONG"

#: Columns of ``rows``; those that begin with ``>`` are numbers.
COLUMNS = (
    "Artifact",
    "Device",
    "Runs on",
    ">Threads",
    ">Median ms",
    ">Agreement",
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
    ">Agreement",
    "Verdict",
)


def rows(results: Sequence[LatencyResult]) -> list[list[str]]:
    """Return a row for each result; times in milliseconds."""
    return [_row(result) for result in results]


def lost_rows(lost: Sequence[Lost]) -> list[list[str]]:
    """Return a row for each device without a result: why it has none."""
    return [["-", each.device, f"not measured: {escaped(each.why)}", *["-"] * (len(COLUMNS) - 3)] for each in lost]


def by_device(results: Sequence[LatencyResult], lost: Sequence[Lost] = ()) -> tuple[list[str], list[list[str]]]:
    """Put devices side by side: a row for each artifact on each accelerator, a column for each device.

    Returns:
        The columns, and the rows; the median in milliseconds, and how many times that of the fastest device it is.
    """
    devices = list(dict.fromkeys([*(r.environment.device for r in results), *(each.device for each in lost)]))
    medians: dict[tuple[str, str, str], dict[str, float]] = {}
    for result in results:
        key = result.name, runs_on(result), threads_text(result)
        medians.setdefault(key, {})[result.environment.device] = result.median_s * 1e3
    table = []
    for what, of in medians.items():
        best = min(of.values())
        table.append([*what, *(f"{_ms(of[d])} ({of[d] / best:.2f}x)" if d in of else "-" for d in devices)])
    return ["Artifact", "Runs on", ">Threads", *(f">{device}" for device in devices)], table


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
            agreement_text(c.result),
            verdict(c),
        ]
        for c in comparisons
    ]


#: How a verdict is written.
VERDICTS: Mapping[Verdict, str] = {
    "slower": "slower",
    "faster": "faster",
    "same": "no difference that these runs can tell",
    "untrusted": "not to be trusted",
}


def verdict(comparison: Comparison) -> str:
    """Return ``slower``, ``faster``, that the runs cannot tell, or that they are not to be trusted."""
    return VERDICTS[comparison.verdict]


def doubt_lines(comparisons: Sequence[Comparison]) -> list[str]:
    """Return a line for each pair without a verdict: why it has none."""
    return [f"{c.result.name}: no verdict: {'; '.join(c.doubts)}" for c in comparisons if c.doubts]


def warning_lines(results: Sequence[LatencyResult]) -> list[str]:
    """Return the warnings of results, a line for each kind on a device; the kind is what precedes a warning's colon."""
    kinds: dict[tuple[str, str], list[tuple[LatencyResult, str]]] = {}
    for result in results:
        for warning in result.warnings:
            kinds.setdefault((result.environment.device, warning.partition(": ")[0]), []).append((result, warning))
    lines = []
    for (device, kind), entries in kinds.items():
        count = sum(result.environment.device == device for result in results)
        result, warning = entries[0]
        if len(entries) > 1:
            detail = warning.partition(": ")[2]
            such_as = f", such as: {detail}" if detail else ""
            lines.append(f"{device}: {kind} in {len(entries)} of {count} results{such_as}")
        else:
            threads = counted(result.num_threads, "thread") if result.num_threads else "default threads"
            which = f"{result.name} on {result.accelerator}, {threads}: " if count > 1 else ""
            lines.append(f"{device}: {which}{warning}")
    return lines


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
        agreement_text(result),
        _ms(s.p90_ms),
        _ms(s.p99_ms),
        _ms(s.min_ms),
        _ms(s.first_ms),
        _ms(s.init_ms),
        "-" if s.peak_memory_mb is None else f"{s.peak_memory_mb:.1f}",
        f"{result.size_bytes / 1e6:.2f}",
    ]


def agreement_text(result: LatencyResult) -> str:
    """Return the share of decided pixels with the class that Keras gives, in the worst run, or that nothing is known.

    A failure is marked with ``WRONG``.
    """
    found = result.agreement
    if found is None:
        return "-"
    share = percent(found.worst, 2)
    return share if found.passed else f"{share} {WRONG}"


def wrong_lines(results: Sequence[LatencyResult]) -> list[str]:
    """Return a line for each result whose answers miss the gate of its precision."""
    return [
        f"{result.name} on {result.accelerator}, {result.environment.device}: "
        f"{agreement.worst:.3%} of the decided pixels have Keras' class in the worst run; at least "
        f"{agreement.min_agreement:.1%}: this latency has no use."
        for result in results
        if (agreement := result.agreement) is not None and not agreement.passed
    ]


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 100 else f"{value:.1f}"
