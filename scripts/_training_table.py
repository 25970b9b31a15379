"""Print the scores of the runs in a folder as Markdown and draw their curves: ``_training_table.py runs/camvid``."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

Rows = list[dict[str, str]]


def main(folder: Path) -> None:
    """Print one row for each run that was scored, and the classes in a second table."""
    scored = {path.parent.name: json.loads(path.read_text()) for path in sorted(folder.glob("*/test.json"))}
    if not scored:
        sys.exit(f"no run in '{folder}' was scored yet")
    histories = {name: list(csv.DictReader((folder / name / "history.csv").open())) for name in scored}
    print("| model | epochs | minutes | val mIoU | test mIoU | mPA | pixel accuracy |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, score in scored.items():
        best = max(float(row["val_mean_iou"]) for row in histories[name])
        scores = (best, *(score[key] for key in ("mean_iou", "mean_pixel_accuracy", "pixel_accuracy")))
        minutes = sum(float(row["seconds"]) for row in histories[name]) / 60
        taken = f"{len(histories[name])} | {minutes:.0f}"
        print(f"| {name} | {taken} | {' | '.join(f'{value:.3f}' for value in scores)} |")
    names = next(iter(scored.values()))["class_names"]
    print(f"\n| IoU | {' | '.join(names)} |\n|---|{'---:|' * len(names)}")
    for name, score in scored.items():
        print(f"| {name} | {' | '.join(_share(score['per_class_iou'][one]) for one in names)} |")
    draw(histories, folder / "curves.png")


def draw(histories: Mapping[str, Rows], path: Path) -> None:
    """Draw the validation mIoU of every run over its epochs."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for name, rows in histories.items():
        axes.plot(range(1, len(rows) + 1), [float(row["val_mean_iou"]) for row in rows], label=name)
    axes.set(xlabel="epoch", ylabel="validation mIoU", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=100)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
