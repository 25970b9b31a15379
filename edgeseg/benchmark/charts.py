"""The images of the page, each an ``<svg>`` that takes its colors from the page's style; every text is escaped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from edgeseg.benchmark.compare import NOISE, Comparison
from edgeseg.benchmark.result import LatencyResult
from edgeseg.benchmark.tables import runs_on

_WIDTH = 1000.0
_ROW = 24.0
_LABELS = 380.0  # room for names, left of the axis
_END = 960.0

#: A run of minutes has more calls than a screen has pixels; so many are drawn, evenly chosen.
_MOST_POINTS = 1500


def label(result: LatencyResult) -> str:
    """Which result this is, as plain text: file, accelerator, threads, device."""
    threads = "" if not result.num_threads else f", {result.num_threads} thread{'s' if result.num_threads > 1 else ''}"
    scope = "" if result.scope == "inference" else f", {result.scope}"
    return f"{result.artifact}, {runs_on(result)}{threads}{scope}, {result.environment.device}"


def spans(results: Sequence[LatencyResult], names: Sequence[str]) -> str:
    """All results on one axis: 80 % of the calls as a bar, the median of each process as a tick, of all as a line."""
    spread = [np.array([ms for taken in r.by_round() for ms in taken]) * 1e3 for r in results]
    axis = _axis(min(v.min() for v in spread), max(np.percentile(v, 99) for v in spread), from_zero=True)
    body = []
    for row, (result, name, values) in enumerate(zip(results, names, spread, strict=True)):
        y = _ROW * row + 14
        low, high = (axis(value) for value in np.percentile(values, (10, 90)))
        body.append(_text(_LABELS - 12, y + 4, name, anchor="end", width=_LABELS - 20))
        body.append(f'<rect class="old" x="{low:.1f}" y="{y - 6}" width="{max(high - low, 1):.1f}" height="12"/>')
        for taken in result.by_round():
            body.append(_line(axis(float(np.median(taken)) * 1e3), y - 6, y + 6, "thin"))
        body.append(_line(axis(result.median_s * 1e3), y - 9, y + 9, "new"))
    return _svg(
        _ROW * len(results) + 44, [*_grid(axis, _ROW * len(results) + 6, "ms"), *body], "latency of all results"
    )


def calls(result: LatencyResult, name: str) -> str:
    """Every timed call in order, a column for each process, its median as a line; beside it how often which time.

    A slope is drift, two bands are two modes, a column that lies elsewhere is a process that was unlike the others.
    """
    height, left, end, wide = 150.0, 60.0, 800.0, 150.0
    values = np.array(result.latencies_s) * 1e3
    median, high = np.percentile(values, (50, 90))
    # One call that was interrupted shall not press the others into a line.
    top = min(float(values.max()), float(median + 6 * max(high - median, 0.01 * median)))
    axis = Axis(low=float(values.min()), high=top, start=height, end=10.0)
    step = (end - left) / len(values)
    shown = np.unique(np.linspace(0, len(values) - 1, min(len(values), _MOST_POINTS)).astype(int))
    radius = 3 if len(values) < 300 else 1.6
    body = [_text(left - 6, axis(tick) + 4, _short(tick), anchor="end") for tick in axis.ticks(4)]
    body += [_across(left, _END, axis(tick), "grid") for tick in axis.ticks(4)]
    first = 0
    for number, taken in enumerate(result.by_round()):
        start, stop = left + first * step, left + (first + len(taken)) * step
        if number:
            body.append(_line(start, 10, height, "grid"))
        body.append(_across(start, stop, axis(min(float(np.median(taken)) * 1e3, top)), "new"))
        first += len(taken)
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
    return _svg(height + 12, body, f"timed calls of {name}")


def forest(comparisons: Sequence[Comparison]) -> str:
    """The ratios of each pair with their intervals, on a logarithmic axis; the band in the middle is noise.

    The one of the fastest is above, the medians' thin below: a difference needs both.
    """
    ends = [end for c in comparisons for ratio in (c.median, c.fastest) for end in (ratio.low, ratio.high)]
    furthest = max(abs(math.log(end)) for end in (*ends, 1.1))
    axis = Axis(low=math.exp(-furthest * 1.05), high=math.exp(furthest * 1.05), start=_LABELS, end=_END, log=True)
    bottom = _ROW * len(comparisons) + 6
    band = axis(1 - NOISE), axis(1 + NOISE)
    body = [f'<rect class="track" x="{band[0]:.1f}" y="0" width="{band[1] - band[0]:.1f}" height="{bottom}"/>']
    body += [*_grid(axis, bottom, "\N{MULTIPLICATION SIGN}"), _line(axis(1), 0, bottom, "thin")]
    for row, c in enumerate(comparisons):
        y = _ROW * row + 14
        kind = "soft" if not c.significant else "bad" if c.median.value > 1 else "good"
        body.append(_text(_LABELS - 12, y + 4, label(c.result), anchor="end", width=_LABELS - 20))
        for ratio, at, half in ((c.fastest, y - 3, 4), (c.median, y + 6, 2)):
            body.append(_across(axis(ratio.low), axis(ratio.high), at, f"{kind} thinner" if half == 2 else kind))
            left, side = axis(ratio.value) - half, 2 * half
            body.append(f'<rect class="{kind}" x="{left:.1f}" y="{at - half}" width="{side}" height="{side}"/>')
    return _svg(bottom + 38, body, "ratios of the fastest and the medians with their intervals")


def trade_off(results: Sequence[LatencyResult], mean_iou: Mapping[str, float]) -> str:
    """Accuracy over latency, a circle for each result as large as its file; empty where no accuracy is known.

    The circles carry the numbers of the results, from 1.
    """
    known = [(number, result) for number, result in enumerate(results, 1) if result.artifact in mean_iou]
    if not known:
        return ""
    height, left = 300.0, 60.0
    scores = [mean_iou[result.artifact] for _, result in known]
    margin = max(0.15 * (max(scores) - min(scores)), 0.01)
    times = [result.median_s * 1e3 for _, result in known]
    x_axis = _axis(min(times), max(times), start=left, from_zero=True)
    y_axis = Axis(low=max(0.0, min(scores) - margin), high=min(1.0, max(scores) + margin), start=height, end=10.0)
    body = _grid(x_axis, height, "ms")
    for tick in y_axis.ticks(4):
        body.append(_text(left - 6, y_axis(tick) + 4, f"{tick:.3g}", anchor="end"))
        body.append(_across(left, _END, y_axis(tick), "grid"))
    largest = max(result.size_bytes for _, result in known)
    above: dict[tuple[int, int], int] = {}
    for number, result in sorted(known, key=lambda entry: -entry[1].size_bytes):
        x, y = x_axis(result.median_s * 1e3), y_axis(mean_iou[result.artifact])
        radius = 3 + 15 * math.sqrt(result.size_bytes / largest)
        title = escape(f"{number} {label(result)}")
        body.append(f'<circle class="blob" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"><title>{title}</title></circle>')
        place = round(x / 24), round(y / 24)  # numbers of circles on one another are stacked
        stacked = above[place] = above.get(place, -1) + 1
        body.append(_text(x, y - radius - 4 - 13 * stacked, str(number), anchor="middle"))
    return _svg(height + 40, body, "mIoU over latency")


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Values to pixels.

    Attributes:
        low: value at ``start``.
        high: value at ``end``.
        start: in pixels.
        end: in pixels; less than ``start`` for an axis that goes up.
        log: logarithmic.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Pixels of a value."""
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (self.end - self.start) * ((at - low) / (high - low) if high > low else 0.5)

    def ticks(self, count: int = 6) -> list[float]:
        """Round values within, about ``count`` of them."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            fine = [m * 10.0**d for d in decades for m in (1, 1.5, 2, 3, 5, 7)]
            found = [tick for tick in fine if self.low <= tick <= self.high]
            if len(found) > 2:
                return (
                    found if len(found) < 2 * count else [10.0**d for d in decades if self.low <= 10.0**d <= self.high]
                )
        if self.high <= self.low:
            return [self.low]
        rough = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
        return [step * n for n in range(math.ceil(self.low / step), math.floor(self.high / step + 1e-9) + 1)]


def _axis(low: float, high: float, *, start: float = _LABELS, from_zero: bool) -> Axis:
    """From 0, so that lengths can be compared; logarithmic where the values are of different orders."""
    if high / low > 20:
        return Axis(low=low * 0.8, high=high * 1.2, start=start, end=_END, log=True)
    return Axis(low=0.0 if from_zero else low, high=high * 1.05, start=start, end=_END)


def _grid(axis: Axis, bottom: float, unit: str) -> list[str]:
    lines = []
    for tick in axis.ticks():
        lines.append(_line(axis(tick), 0, bottom, "grid"))
        lines.append(_text(axis(tick), bottom + 16, _short(tick), anchor="middle"))
    return [*lines, _text(_END, bottom + 32, unit, anchor="end")]


def _svg(height: float, body: Sequence[str], title: str) -> str:
    head = f'<svg viewBox="0 0 {_WIDTH:.0f} {height:.0f}" role="img" aria-label="{escape(title)}">'
    return f"{head}{''.join(body)}</svg>\n"


def _text(x: float, y: float, text: str, *, anchor: str, width: float | None = None) -> str:
    """A line of text; one that is longer than ``width`` pixels is pressed together, so that nothing is cut off."""
    pressed = ""
    if width is not None and len(text) * 6.0 > width:
        pressed = f' textLength="{width:.0f}" lengthAdjust="spacingAndGlyphs"'
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{pressed}>{escape(text)}</text>'


def _line(x: float, top: float, bottom: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>'


def _across(left: float, right: float, y: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _short(value: float) -> str:
    return f"{value:.6g}"
