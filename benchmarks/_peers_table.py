"""Write the Markdown table of ``peers``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from _peers import RUNTIMES
from _shared import read_json

from edgeseg._internal.json import convert
from edgeseg.benchmark.result import LatencyResult

#: A runtime with a class map that agrees this much less than the best one of the same model is not marked as fastest.
_WORSE = 0.01


def table(path: Path) -> str:
    """Return a result file as Markdown: milliseconds, share of the peak, and agreement where it is not perfect."""
    recorded = read_json(path)
    entries = recorded["results"]
    peak = recorded["environment"]["peak_gflops"]
    text = [f"| Model, input | {' | '.join(RUNTIMES)} |", f"|---|{'---:|' * len(RUNTIMES)}"]
    rows = dict.fromkeys((entry["model"], *entry["input_size"], entry["precision"]) for entry in entries)
    notes: list[str] = []
    for model, height, width, precision in rows:
        mine = [
            e for e in entries if (e["model"], *e["input_size"], e["precision"]) == (model, height, width, precision)
        ]
        by_runtime = {entry["runtime"]: entry for entry in mine}
        # The weights are random: the agreement of an int8 file is too weak a sign to disqualify a runtime.
        agreements = [entry["argmax_agreement"] for entry in mine if "latency" in entry and precision == "fp32"]
        right = max(agreements, default=0.0) - _WORSE
        timed = [entry for entry in mine if "latency" in entry and entry["argmax_agreement"] >= right]
        best = min((_median_ms(entry) for entry in timed), default=0.0)
        cells = [_cell(by_runtime[runtime], best, peak, notes) for runtime in RUNTIMES]
        text.append(f"| {model} {precision}, {height}x{width} | {' | '.join(cells)} |")
    machine = recorded["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    text += [
        "",
        f"Median milliseconds; in brackets the share of the machine's {peak:.0f} float32 GFLOP/s, and the share of "
        "pixels with the class that Keras gives. The weights are random, so that many pixels are near a tie and int8 "
        "flips them; beside it therefore the share with the class that ONNX Runtime gives for the same int8 file. "
        "\\*: the plain export, as the optimized one does not convert. "
        f"{machine['cpu']} ({machine['machine']}), {machine['num_threads']} threads, batch 1, {machine['date']}; "
        f"{versions}.",
        *[f"[{number}] {note}." for number, note in enumerate(notes, 1)],
    ]
    return "\n".join(text)


def _cell(entry: dict[str, Any], best: float, peak: float, notes: list[str]) -> str:
    if "refused" in entry:
        if entry["refused"] not in notes:
            notes.append(entry["refused"])
        return f"does not convert [{notes.index(entry['refused']) + 1}]"
    median = _median_ms(entry)
    share = entry["gflops"] / (median / 1e3) / peak
    text = f"**{median:.1f}**" if median == best else f"{median:.1f}"
    text += "*" if entry["not_from"] else ""
    agreement = _percent(entry["argmax_agreement"])
    if entry["precision"] != "fp32" and "same_file_agreement" in entry:
        agreement += f", of ONNX Runtime's {_percent(entry['same_file_agreement'])}"
    return f"{text} ({share:.0%}, {agreement})"


def _percent(share: float) -> str:
    """Return a share in percent; 100 % only if every pixel agrees."""
    return "100 %" if share == 1 else f"{min(100 * share, 99.99):.2f} %"


def _median_ms(entry: dict[str, Any]) -> float:
    return convert(entry["latency"], LatencyResult).median_s * 1e3
