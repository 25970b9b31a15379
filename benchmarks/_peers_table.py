"""Write the Markdown table of ``peers``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from _peers import SIDES
from _shared import read_json

from edgeseg._internal.json import convert
from edgeseg.benchmark.result import LatencyResult

#: An answer is right where at least this share of the pixels has Keras' class: edgeseg's own gate for float32. The
#: weights are random and int8 flips many ties, so that an int8 file is judged by the best one of the same model.
_GATE = {"fp32": 0.999}
_INT8_WORSE = 0.1


def table(*paths: Path) -> str:
    """Return result files as Markdown: milliseconds, share of the peak, agreement, and the ratio of the fastest.

    Args:
        paths: a model that is in several is taken from the last.
    """
    files = [read_json(path) for path in paths]
    rows: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for recorded in files:
        own: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for entry in recorded["results"]:
            own.setdefault((entry["precision"], entry["model"], *entry["input_size"]), []).append(entry)
        rows |= own
    heads = [side.peer for side in SIDES]
    text: list[str] = []
    notes: list[str] = []
    for precision in dict.fromkeys(key[0] for key in rows):
        text += [
            f"| {precision}: model, input | {' | '.join(heads)} | naive / edgeseg |",
            f"|---|{'---:|' * (len(heads) + 1)}",
        ]
        ratios: list[float] = []
        without_ncnn: list[float] = []
        for (_, model, height, width), entries in ((key, value) for key, value in rows.items() if key[0] == precision):
            right = _right(entries, precision)
            best = {
                owner: min((_median_ms(e) for e in right if e["peer"].startswith(owner)), default=math.nan)
                for owner in ("naive", "edgeseg")
            }
            ratios.append(best["naive"] / best["edgeseg"])
            taken = [_median_ms(e) for e in right if e["peer"].startswith("naive") and e["peer"] != "naive ncnn"]
            without_ncnn.append(min(taken, default=math.nan) / best["edgeseg"])
            by_peer = {entry["peer"]: entry for entry in entries}
            cells = [_cell(by_peer[peer], by_peer[peer] in right, best.values(), notes) for peer in heads]
            text.append(f"| {model} {height}x{width} | {' | '.join(cells)} | **{ratios[-1]:.2f}** |")
        text += ["", _summary(ratios, without_ncnn), ""]
    machine = files[-1]["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    text += [
        "Median milliseconds; in brackets the share of the machine's float32 peak, and the share of pixels with the "
        "class that Keras gives. ~~Struck out~~: a wrong answer, which has no speed. Bold: the fastest of each owner. "
        f"{machine['cpu']} ({machine['machine']}), {machine['num_threads']} threads, batch 1, {machine['date']}; "
        f"{versions}.",
        *[f"[{number}] {note.rstrip('.')}." for number, note in enumerate(notes, 1)],
    ]
    return "\n".join(text)


def _summary(ratios: list[float], without_ncnn: list[float]) -> str:
    """Return the sentence under a table; ``nan`` where one owner has no right answer."""
    told = [ratio for ratio in ratios if not math.isnan(ratio)]
    others = [ratio for ratio in without_ncnn if not math.isnan(ratio)]
    mean = f"Geometric mean over {len(told)} models: {_mean(told)}."
    if others == told:
        return mean
    return f"{mean} Without ncnn, the one runtime here that edgeseg has no format for: {_mean(others)}."


def _mean(ratios: list[float]) -> str:
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else math.nan
    return f"**{mean:.2f}**; the least is {min(ratios, default=math.nan):.2f}"


def _right(entries: list[dict[str, Any]], precision: str) -> list[dict[str, Any]]:
    """Return the measured entries of a model whose answer is right."""
    timed = [entry for entry in entries if "latency" in entry]
    least = max((entry["argmax_agreement"] for entry in timed), default=0.0) - _INT8_WORSE
    return [entry for entry in timed if entry["argmax_agreement"] >= _GATE.get(precision, least)]


def _cell(entry: dict[str, Any], right: bool, best: Any, notes: list[str]) -> str:
    if "refused" in entry:
        if entry["refused"] not in notes:
            notes.append(entry["refused"])
        return f"no [{notes.index(entry['refused']) + 1}]"
    median = _median_ms(entry)
    share = entry["gflops"] / (median / 1e3) / entry["peak_gflops"]
    text = f"**{median:.1f}**" if median in best else f"{median:.1f}"
    text = text if right else f"~~{median:.1f}~~"
    return f"{text} ({share:.0%}, {_percent(entry['argmax_agreement'])})"


def _percent(share: float) -> str:
    """Return a share in percent; 100 % only if every pixel agrees."""
    return "100 %" if share == 1 else f"{min(100 * share, 99.99):.2f} %"


def _median_ms(entry: dict[str, Any]) -> float:
    return convert(entry["latency"], LatencyResult).median_s * 1e3
