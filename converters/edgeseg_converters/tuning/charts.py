"""Draw the Pareto fronts of a tuning: what a candidate costs against its latency, each an ``<svg>``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from edgeseg.html import svg
from edgeseg_converters.tuning.result import Point

_HEIGHT, _LEFT = 300.0, 70.0
_RADIUS = 6.0


def trade_off(
    points: Sequence[Point],
    names: Sequence[str],
    chosen: int | None,
    value: Callable[[Point], float],
    *,
    more_is_better: bool,
    title: str,
) -> str:
    """Draw a dot for each candidate over its latency; a line joins those that no other beats in these two alone.

    Args:
        points: what each costs and gives; at least one.
        names: shown where the pointer rests on a dot.
        chosen: the place of the chosen one, which is large.
        value: what goes up in the chart.
        more_is_better: whether a higher value is better.
        title: of the chart, for screen readers.
    """
    times, values = [point.ms for point in points], [value(point) for point in points]
    margin = max(0.1 * (max(values) - min(values)), 0.01 * max(values), 1e-3)
    x_axis = svg.axis(min(times), max(times), start=_LEFT, from_zero=True)
    y_axis = svg.Axis(low=max(0.0, min(values) - margin), high=max(values) + margin, start=_HEIGHT, end=10.0)
    body = svg.grid(x_axis, _HEIGHT, "ms")
    for tick in y_axis.ticks(4):
        body.append(svg.text(_LEFT - 6, y_axis(tick) + 4, f"{tick:.4g}", anchor="end"))
        body.append(svg.horizontal(_LEFT, svg.END, y_axis(tick), "grid"))
    steps = _steps(times, values, more_is_better=more_is_better)
    corners = " ".join(f"{x_axis(times[place]):.1f},{y_axis(values[place]):.1f}" for place in steps)
    body.append(f'<polyline class="front" points="{corners}"/>')
    for place, name in enumerate(names):
        kind = "blob" if place == chosen else "dot"
        radius = 1.5 * _RADIUS if place == chosen else _RADIUS
        body.append(
            f'<circle class="{kind}" cx="{x_axis(times[place]):.1f}" cy="{y_axis(values[place]):.1f}" r="{radius}">'
            f"<title>{escape(name)}</title></circle>"
        )
    return svg.drawing(_HEIGHT + 40, body, title)


def _steps(times: Sequence[float], values: Sequence[float], *, more_is_better: bool) -> list[int]:
    """Return the places of the front in the order of latency: each is better than all that are faster."""
    sign = -1 if more_is_better else 1
    steps: list[int] = []
    for place in sorted(range(len(times)), key=lambda one: (times[one], sign * values[one])):
        if not steps or sign * values[place] < sign * values[steps[-1]]:
            steps.append(place)
    return steps
