"""Draw the charts of the benchmark's page, each an ``<svg>``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from edgeseg._internal.text import counted
from edgeseg.benchmark.compare import NOISE, Comparison
from edgeseg.benchmark.result import LatencyResult
from edgeseg.benchmark.tables import runs_on
from edgeseg.html import svg

# Height of a result's row, in pixels.
_ROW = 24.0

#: A run of minutes has more calls than a screen has pixels; this many are drawn, evenly spread.
_MOST_POINTS = 1500


def label(result: LatencyResult) -> str:
    """Name a result, as plain text: file, accelerator, threads, device."""
    threads = "" if not result.num_threads else f", {counted(result.num_threads, 'thread')}"
    scope = "" if result.scope == "inference" else f", {result.scope}"
    return f"{result.name}, {runs_on(result)}{threads}{scope}, {result.environment.device}"


def spans(results: Sequence[LatencyResult], names: Sequence[str]) -> str:
    """Draw all results on one axis: 80 % of the calls as a bar, medians of the processes as ticks, of all as a line."""
    spread = [np.array([ms for latencies in r.by_round() for ms in latencies]) * 1e3 for r in results]
    axis = svg.axis(min(v.min() for v in spread), max(np.percentile(v, 99) for v in spread), from_zero=True)
    body = []
    for row, (result, name, values) in enumerate(zip(results, names, spread, strict=True)):
        y = _ROW * row + 14
        low, high = (axis(value) for value in np.percentile(values, (10, 90)))
        body.append(svg.text(svg.LABELS - 12, y + 4, name, anchor="end", width=svg.LABELS - 20))
        body.append(f'<rect class="old" x="{low:.1f}" y="{y - 6}" width="{max(high - low, 1):.1f}" height="12"/>')
        for latencies in result.by_round():
            body.append(svg.vertical(axis(float(np.median(latencies)) * 1e3), y - 6, y + 6, "thin"))
        body.append(svg.vertical(axis(result.median_s * 1e3), y - 9, y + 9, "new"))
    return svg.drawing(
        _ROW * len(results) + 44, [*svg.grid(axis, _ROW * len(results) + 6, "ms"), *body], "latency of all results"
    )


def calls(result: LatencyResult, name: str) -> str:
    """Draw every timed call in order, a column for each process, its median as a line; beside them a histogram.

    A slope is drift, two bands are two modes, a column at another height is a process that differed from the others.
    """
    height, left, end, wide = 150.0, 60.0, 800.0, 150.0
    values = np.array(result.latencies_s) * 1e3
    median, high = np.percentile(values, (50, 90))
    # One call that was interrupted must not squeeze the others into a line.
    top = min(float(values.max()), float(median + 6 * max(high - median, 0.01 * median)))
    axis = svg.Axis(low=float(values.min()), high=top, start=height, end=10.0)
    step = (end - left) / len(values)
    shown = np.unique(np.linspace(0, len(values) - 1, min(len(values), _MOST_POINTS)).astype(int))
    radius = 3 if len(values) < 300 else 1.6
    body = [svg.text(left - 6, axis(tick) + 4, svg.short(tick), anchor="end") for tick in axis.ticks(4)]
    body += [svg.horizontal(left, svg.END, axis(tick), "grid") for tick in axis.ticks(4)]
    first = 0
    for number, latencies in enumerate(result.by_round()):
        start, stop = left + first * step, left + (first + len(latencies)) * step
        if number:
            body.append(svg.vertical(start, 10, height, "grid"))
        body.append(svg.horizontal(start, stop, axis(min(float(np.median(latencies)) * 1e3, top)), "new"))
        first += len(latencies)
    for index in shown:
        x, value = left + (index + 0.5) * step, values[index]
        kind = "over" if value > top else "dot"
        body.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{axis(min(value, top)):.1f}" r="{radius}"/>')
    counts, edges = np.histogram(values, bins=30, range=(axis.low, axis.high))
    for count, lower, upper in zip(counts, edges, edges[1:], strict=False):
        if count:
            tall = max(axis(lower) - axis(upper) - 0.5, 0.5)
            body.append(
                f'<rect class="old" x="{end + 10:.1f}" y="{axis(upper):.1f}" '
                f'width="{wide * count / counts.max():.1f}" height="{tall:.1f}"/>'
            )
    return svg.drawing(height + 12, body, f"timed calls of {name}")


def forest(comparisons: Sequence[Comparison]) -> str:
    """Draw the ratios of each pair with their intervals, on a logarithmic axis; the band in the middle is noise.

    The ratio of the fastest is above, that of the medians thin below it: a difference needs both.
    """
    ends = [end for c in comparisons for ratio in (c.median, c.fastest) for end in (ratio.low, ratio.high)]
    reach = 1.05 * max(abs(math.log(end)) for end in (*ends, 1.1))
    axis = svg.Axis(low=math.exp(-reach), high=math.exp(reach), start=svg.LABELS, end=svg.END, log=True)
    bottom = _ROW * len(comparisons) + 6
    band = axis(1 - NOISE), axis(1 + NOISE)
    body = [f'<rect class="track" x="{band[0]:.1f}" y="0" width="{band[1] - band[0]:.1f}" height="{bottom}"/>']
    body += [*svg.grid(axis, bottom, "\N{MULTIPLICATION SIGN}"), svg.vertical(axis(1), 0, bottom, "thin")]
    for row, c in enumerate(comparisons):
        y = _ROW * row + 14
        kind = {"slower": "bad", "faster": "good"}.get(c.verdict, "soft")
        body.append(svg.text(svg.LABELS - 12, y + 4, label(c.result), anchor="end", width=svg.LABELS - 20))
        for ratio, at, half in ((c.fastest, y - 3, 4), (c.median, y + 6, 2)):
            body.append(svg.horizontal(axis(ratio.low), axis(ratio.high), at, f"{kind} thinner" if half == 2 else kind))
            left, side = axis(ratio.value) - half, 2 * half
            body.append(f'<rect class="{kind}" x="{left:.1f}" y="{at - half}" width="{side}" height="{side}"/>')
    return svg.drawing(bottom + 38, body, "ratios of the fastest and the medians with their intervals")


def trade_off(results: Sequence[LatencyResult], mean_iou: Mapping[str, float]) -> str:
    """Draw accuracy over latency, a circle for each result as large as its file; empty where no accuracy is known.

    The circles carry the numbers of the results, from 1.
    """
    known = [(number, result) for number, result in enumerate(results, 1) if result.artifact in mean_iou]
    if not known:
        return ""
    height, left = 300.0, 60.0
    scores = [mean_iou[result.artifact] for _, result in known]
    margin = max(0.15 * (max(scores) - min(scores)), 0.01)
    times = [result.median_s * 1e3 for _, result in known]
    x_axis = svg.axis(min(times), max(times), start=left, from_zero=True)
    y_axis = svg.Axis(low=max(0.0, min(scores) - margin), high=min(1.0, max(scores) + margin), start=height, end=10.0)
    body = svg.grid(x_axis, height, "ms")
    for tick in y_axis.ticks(4):
        body.append(svg.text(left - 6, y_axis(tick) + 4, f"{tick:.3g}", anchor="end"))
        body.append(svg.horizontal(left, svg.END, y_axis(tick), "grid"))
    largest = max(result.size_bytes for _, result in known)
    above: dict[tuple[int, int], int] = {}
    for number, result in sorted(known, key=lambda entry: -entry[1].size_bytes):
        x, y = x_axis(result.median_s * 1e3), y_axis(mean_iou[result.artifact])
        radius = 3 + 15 * math.sqrt(result.size_bytes / largest)
        title = escape(f"{number} {label(result)}")
        body.append(f'<circle class="blob" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"><title>{title}</title></circle>')
        place = round(x / 24), round(y / 24)  # numbers of circles on one another are stacked
        stacked = above[place] = above.get(place, -1) + 1
        body.append(svg.text(x, y - radius - 4 - 13 * stacked, str(number), anchor="middle"))
    return svg.drawing(height + 40, body, "mIoU over latency")
