"""Write the report as one page from ``page.html.j2``, with every image inside."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.files import refuse_existing, write_text
from edgeseg.drawing.palette import drawing_palette
from edgeseg.errors import InputError
from edgeseg.html import render
from edgeseg.imaging import encode_image
from edgeseg_converters.report.content import Entry, Report
from edgeseg_converters.report.model_explorer import node_data_files

TEMPLATE = "page.html.j2"

#: Number of the worst layers and of the costliest ops that are shown; the JSON has all.
NUM_ROWS = 15

# The end of a long name tells the layer.
_NUM_PARTS = 3

_NONE = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"


def save(report: Report, path: str | Path, *, overwrite: bool = False) -> tuple[Path, Path]:
    """Write the page, the JSON beside it, and the files for Model Explorer (``report.model_explorer``).

    Args:
        report: the content.
        path: of the page; the JSON has the same name with the suffix ``.json``.
        overwrite: whether existing files may be replaced.

    Returns:
        The paths of the page and of its JSON.

    Raises:
        InputError: the suffix is not ``.html``, or one of the files exists or cannot be written.
    """
    page = Path(path)
    if page.suffix != ".html":
        raise InputError(f"a report is written as an .html file with a .json beside it, got '{page.name}'.")
    data = page.with_suffix(".json")
    overlays = {page.with_name(name): values for name, values in node_data_files(report)}
    for file in (page, data, *overlays):
        refuse_existing(file, overwrite=overwrite)
    text = json.dumps(report.to_dict(), indent=1, allow_nan=False)
    write_text(page, to_html(report), overwrite=overwrite)
    write_text(data, text, overwrite=overwrite)
    for overlay, values in overlays.items():
        write_text(overlay, json.dumps(values, indent=1, allow_nan=False) + "\n", overwrite=overwrite)
    return page, data


def to_html(report: Report) -> str:
    """Fill the page, which needs no other file: styles and images are inside, and there is no script."""
    return render(
        __package__,
        TEMPLATE,
        filters={
            "bytes": _bytes,
            "decibel": _decibel,
            "image": _image,
            "iou": _iou,
            "milliseconds": _milliseconds,
            "percent": _percent,
            "points": _points,
            "short": _short,
            "value": _value,
        },
        values={
            "report": report,
            "remarks": report.remarks(),
            "baseline": _baseline(report),
            "classes": _classes,
            "colors": _colors(report),
            "rows": NUM_ROWS,
        },
    )


def _baseline(report: Report) -> float | None:
    """Return the float model's mIoU; all artifacts were compared with the same one."""
    accuracies = [entry.measured.accuracy for entry in report.entries if entry.measured.accuracy]
    return next((accuracy.mean_iou[0] for accuracy in accuracies if accuracy.mean_iou), None)


def _classes(entry: Entry) -> list[dict[str, Any]]:
    """Order the classes of an artifact: the one that fell most first, those that do not occur last."""
    assert entry.measured.accuracy is not None
    rows = [
        {"name": name, "before": before, "after": after, "drop": (before - after) * 100}
        for name, (before, after) in entry.measured.accuracy.per_class_iou.items()
    ]
    return sorted(rows, key=lambda row: -row["drop"] if np.isfinite(row["drop"]) else np.inf)


def _colors(report: Report) -> dict[str, str]:
    """Write the color that each class has in the drawings as CSS has it."""
    return {
        name: "#{:02x}{:02x}{:02x}".format(*color)
        for name, color in zip(report.spec.class_names, drawing_palette(report.spec.palette), strict=True)
    }


def _image(image: NDArray[np.uint8]) -> str:
    """Encode an image as a data URL: JPEG, or PNG where some of it is transparent."""
    suffix, kind = (".png", "png") if image.shape[2] == 4 else (".jpg", "jpeg")
    return f"data:image/{kind};base64,{base64.b64encode(encode_image(image, suffix)).decode()}"


def _bytes(size: int | None) -> str:
    if size is None:
        return _NONE
    return f"{size / 1e6:.2f} MB" if abs(size) >= 1e6 else f"{size / 1e3:.1f} kB"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"


def _percent(share: float) -> str:
    if 0 < share < 1e-4:
        return "< 0.01%"
    return f"{min(share, 0.9999) if share < 1 else 1:.2%}"  # 100 % only if every pixel counts


def _iou(value: float | None) -> str:
    return _NONE if value is None or not np.isfinite(value) else f"{value:.3f}"


def _points(drop: float) -> str:
    """Write lost points as a change: a drop of 1.5 is -1.5."""
    if not np.isfinite(drop):
        return _NONE
    return f"{-drop:+.1f}".replace("-", _MINUS) if abs(drop) >= 0.05 else "0.0"


def _decibel(value: float) -> str:
    return f"{value:.1f} dB".replace("-", _MINUS) if np.isfinite(value) else "exact" if value > 0 else _NONE


def _value(value: float | None) -> str:
    return _NONE if value is None else f"{value:.4g}".replace("-", _MINUS)


def _short(name: str) -> str:
    """Return the end of the first of a fused tensor's names; TensorFlow joins them by semicolons."""
    parts = name.split(";")[0].split("/")
    return "/".join(parts if len(parts) <= _NUM_PARTS else ["\N{HORIZONTAL ELLIPSIS}", *parts[-_NUM_PARTS:]])
