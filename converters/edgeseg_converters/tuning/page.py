"""Render the result of a tuning as one HTML page, from ``page.html.j2``."""

from __future__ import annotations

from edgeseg._internal.versions import __version__
from edgeseg.html import render
from edgeseg_converters.tuning.charts import trade_off
from edgeseg_converters.tuning.result import COLUMNS, TuneResult, front


def page(result: TuneResult) -> str:
    """Make one HTML file of a result.

    Args:
        result: of a tuning, complete or not.

    Raises:
        BackendUnavailable: jinja2 is not installed.
    """
    pairs = result.points()
    points, names = [point for _, point in pairs], [str(one.candidate) for one, _ in pairs]
    chosen = next((place for place, (one, _) in enumerate(pairs) if one.candidate == result.chosen), None)
    labeled = any(one.accuracy is not None and one.accuracy.mean_iou is not None for one in result.record.artifacts)
    quality = "mIoU" if labeled else "share of pixels with the float model's class"
    kinds = [
        (f"{quality} over latency", lambda point: point.quality, True),
        ("MB of the file over latency", lambda point: point.size_mb, False),
        ("MB of memory over latency", lambda point: point.memory_mb, False),
    ]
    charts = [
        (title, trade_off(points, names, chosen, value, more_is_better=more_is_better, title=title))
        for title, value, more_is_better in kinds
        if any(map(value, points))
    ]
    latency = result.latency
    return render(
        __package__,
        "page.html.j2",
        filters={},
        values={
            "model": result.record.model,
            "outcome": result.outcome(),
            "sentence": result.sentence,
            "passed": result.chosen is not None,
            "command": result.command,
            "remarks": [f"{remark}." for remark in result.remarks],
            "charts": charts,
            "front": [
                [names[place], f"{points[place].ms:.2f}", f"{points[place].quality:.4f}",
                 f"{points[place].size_mb:.2f}", f"{points[place].memory_mb:.1f}"]
                for place in sorted(front(points), key=lambda one: points[one].ms)
            ],
            "front_columns": ("Candidate", ">Median ms", ">mIoU" if labeled else ">Same class", ">Size MB",
                              ">Memory MB"),
            "columns": COLUMNS,
            "rows": result.rows(),
            "absent": result.absent_rows(),
            "where": [] if latency is None else [
                f"{latency.environment.machine}, {latency.environment.system}",
                ", ".join(f"{name} {version}" for name, version in latency.environment.versions.items()),
                f"begun {result.record.date}",
            ],
            "version": __version__,
        },
    )  # fmt: skip
