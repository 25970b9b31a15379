"""Read the accuracy of artifacts, for the chart of accuracy over latency."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeseg.errors import InputError


def read_mean_iou(path: str | Path) -> dict[str, float]:
    """Return the mIoU in [0, 1] by the name of the artifact's file.

    Args:
        path: the output of ``edgeseg evaluate --json`` for an artifact, the JSON of ``edgeseg export --report``, or any
            ``{"artifact": "unet_mini.int8.tflite", "mean_iou": 0.61}``, alone or several in a list.

    Raises:
        InputError: the file cannot be read, or has no mIoU in it.
    """
    try:
        accuracies = dict(_entries(json.loads(Path(path).read_text(encoding="utf-8"))))
    except OSError as error:
        raise InputError(f"accuracy file '{path}' cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"'{path}' is none of the files with a mIoU: {_ACCEPTED}.") from error
    if not accuracies:
        raise InputError(f"'{path}' has no mIoU in it: that needs images with labels.")
    wrong = {name: value for name, value in accuracies.items() if not 0 <= value <= 1}
    if wrong:
        raise InputError(f"'{path}' has a mIoU outside of [0, 1]: {wrong}.")
    return accuracies


_ACCEPTED = 'evaluate --json, the report of an export, {"artifact": NAME, "mean_iou": NUMBER} or a list of those'


def _entries(data: Any) -> Iterator[tuple[str, float]]:
    if isinstance(data, list):
        for entry in data:
            yield from _entries(entry)
    elif "artifacts" in data:  # the report of an export; its files have these names, see ``ExportResult.save``
        for entry in data["artifacts"]:
            scores = entry["accuracy"] or {}
            if scores.get("mean_iou") is not None:
                yield f"{data['model']}.{entry['precision']}.{entry['format']}", float(scores["mean_iou"])
                yield f"{data['model']}.fp32.{entry['format']}", float(scores["mean_iou_float"])
    elif data["mean_iou"] is not None:
        yield Path(data["artifact"]).name, float(data["mean_iou"])
