"""Prints the scores of the runs in a folder as Markdown, such as ``_training_table.py runs/camvid``."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path


def main(folder: Path) -> None:
    """One row for each run that was scored; the classes in a second table."""
    scored = {path.parent.name: json.loads(path.read_text()) for path in sorted(folder.glob("*/test.json"))}
    if not scored:
        sys.exit(f"no run in '{folder}' was scored yet")
    print("| model | epochs | hours | val mIoU | test mIoU | mPA | pixel accuracy |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, score in scored.items():
        rows = list(csv.DictReader((folder / name / "history.csv").open()))
        hours = sum(float(row["seconds"]) for row in rows) / 3600
        best = max(float(row["val_mean_iou"]) for row in rows)
        scores = (best, *(score[key] for key in ("mean_iou", "mean_pixel_accuracy", "pixel_accuracy")))
        print(f"| {name} | {len(rows)} | {hours:.1f} | {' | '.join(f'{value:.3f}' for value in scores)} |")
    names = next(iter(scored.values()))["class_names"]
    print(f"\n| IoU | {' | '.join(names)} |\n|---|{'---:|' * len(names)}")
    for name, score in scored.items():
        print(f"| {name} | {' | '.join(_share(score['per_class_iou'][one]) for one in names)} |")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
