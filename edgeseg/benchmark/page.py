"""Render results and comparisons as one HTML page, from ``page.html.j2``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeseg._internal.versions import __version__
from edgeseg.benchmark import charts, tables
from edgeseg.benchmark.compare import CONFIDENCE, NOISE, Comparison, Verdict
from edgeseg.benchmark.result import Environment, LatencyResult, Lost
from edgeseg.html import render

_NONE = "\N{EN DASH}"


def page(
    results: Sequence[LatencyResult],
    comparisons: Sequence[Comparison],
    mean_iou: Mapping[str, float] | None = None,
    *,
    lost: Sequence[Lost] = (),
) -> str:
    """Make one HTML file of results.

    Args:
        results: all results to show, of all files.
        comparisons: pairs of them; may be empty.
        mean_iou: name of an artifact to its mIoU in [0, 1]; see ``accuracy.read_mean_iou``.
        lost: devices that gave no result.

    Raises:
        BackendUnavailable: jinja2 is not installed.
    """
    names = _names(results, comparisons)
    scores = mean_iou or {}
    side_by_side = tables.by_device(results, lost)
    words = [comparison.verdict for comparison in comparisons]
    tone = "bad" if "slower" in words else "good" if "faster" in words else ""
    return render(
        __package__,
        "page.html.j2",
        filters={},
        values={
            "num_artifacts": len({result.artifact for result in results}),
            "devices": list(dict.fromkeys(result.environment.device for result in results)),
            "side_by_side": side_by_side if len(side_by_side[0]) > 4 and not comparisons else None,
            "tone": tone,
            "verdicts": _verdicts(words),
            "remarks": [*tables.doubt_lines(comparisons), *_remarks(results, names)],
            "comparisons": tables.comparison_rows(comparisons),
            "comparison_columns": tables.COMPARISON_COLUMNS,
            "forest": charts.forest(comparisons) if comparisons else "",
            "confidence": f"{CONFIDENCE:.0%}",
            "noise": f"{NOISE:.0%}",
            "spans": charts.spans(results, names),
            "wrong": tables.WRONG,
            "columns": (">#", *tables.COLUMNS),
            "rows": [[str(number), *row] for number, row in enumerate(tables.rows(results), 1)]
            + [["-", *row] for row in tables.lost_rows(lost)],
            "trade_off": charts.trade_off(results, scores),
            "accuracies": _accuracies(results, names, scores),
            "results": [_calls(result, name) for result, name in zip(results, names, strict=True)],
            "places": _places(results, names),
            "version": __version__,
        },
    )


def _names(results: Sequence[LatencyResult], comparisons: Sequence[Comparison]) -> list[str]:
    """Name each result by its number and what it is; the earlier one of a pair is marked ``before``."""
    before = {id(comparison.baseline) for comparison in comparisons}
    return [
        f"{number} {charts.label(result)}{', before' if id(result) in before else ''}"
        for number, result in enumerate(results, 1)
    ]


def _verdicts(verdicts: Sequence[Verdict]) -> list[str]:
    """Count the pairs of each verdict."""
    texts = {**tables.VERDICTS, "same": "without a difference that these runs can tell"}
    return [f"{verdicts.count(word)} {text}" for word, text in texts.items() if word in verdicts]


def _remarks(results: Sequence[LatencyResult], names: Sequence[str]) -> list[str]:
    """Return the reasons to distrust results, in a sentence for each result that has some."""
    remarks = []
    for name, result in zip(names, results, strict=True):
        reasons = [*result.warnings]
        if result.software_rendering:
            reasons.insert(0, "the GPU is a program on the CPU, this is no GPU's latency")
        if result.agreement is not None and not result.agreement.passed:
            reasons.insert(0, f"the answers are wrong, {result.agreement.worst:.3%} of the decided pixels agree")
        remarks += [f"{name}: {'; '.join(reasons)}."] if reasons else []
    return remarks


def _accuracies(
    results: Sequence[LatencyResult], names: Sequence[str], mean_iou: Mapping[str, float]
) -> list[list[str]]:
    return [
        [name, f"{mean_iou[r.artifact]:.4f}", f"{r.median_s * 1e3:.2f}", f"{r.size_bytes / 1e6:.2f}"]
        for name, r in zip(names, results, strict=True)
        if r.artifact in mean_iou
    ]


def _calls(result: LatencyResult, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "num_calls": len(result.latencies_s),
        "num_processes": len(result.rounds),
        "runtime": result.runtime,
        "chart": charts.calls(result, name) if result.latencies_s else "",
    }


def _places(results: Sequence[LatencyResult], names: Sequence[str]) -> list[dict[str, Any]]:
    """Merge environments that differ only in time; each has a row for every result in it."""
    places: dict[tuple[object, ...], dict[str, Any]] = {}
    for name, result in zip(names, results, strict=True):
        e = result.environment
        key = e.device, e.machine, e.system, e.governor, tuple(e.versions.items()), tuple(e.extra.items())
        heat = " to ".join(f"{value:.0f} \N{DEGREE SIGN}C" for value in e.temperature_c) or _NONE
        load = _NONE if e.load is None else f"{e.load:.0%}"
        place = places.setdefault(key, {"device": e.device, "lines": _about(e), "rows": []})
        place["rows"].append([name, e.date, load, heat])
    return list(places.values())


def _about(environment: Environment) -> list[str]:
    cpus = f"{environment.cpus} CPU{'' if environment.cpus == 1 else 's'}"
    lines = [
        f"{environment.machine}, {cpus}, {environment.system}",
        f"governor {environment.governor}" if environment.governor else "governor not known",
        *(f"{name} {value}" for name, value in environment.extra.items()),
        ", ".join(f"{package} {version}" for package, version in environment.versions.items()),
    ]
    return [line for line in lines if line]
