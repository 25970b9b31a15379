"""Compare what ``edgeseg tune`` chooses with the best of an exhaustive run, and with what it chooses a second time.

    python benchmarks/tune.py --data CAMVID --output benchmarks/results/NAME.json
    python benchmarks/tune.py unet_mini:64 --data DIR --formats tflite --rounds 12
    python benchmarks/tune.py --table benchmarks/results/NAME.json               # Markdown for docs/tune.md

Each model is tuned twice; the second time the files are those of the first, and everything is measured again. Then
every candidate that passed the gates is measured in turns with the full number of processes, the chosen ones among
them, and the ratio of each choice to the best is taken there: of the fastest calls, as ``compare`` takes them, and of
the medians. So the ratio is not flattered by the samples that led to the choice.

A model with packaged weights has those; others are random, which is right for latency, and are tuned on the images
alone, as labels would say nothing. An interrupted run continues: models that ``--output`` has are skipped, and a tuning
goes on in ``--folder``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
from _shared import environment, known_results, parse_model, read_json, write_json

from edgeseg.benchmark.compare import fastest_s
from edgeseg.benchmark.devices import open_device
from edgeseg.benchmark.measure import Case, measure
from edgeseg.benchmark.plan import Plan
from edgeseg.datasets import as_source
from edgeseg.datasets.layouts import has_layout
from edgeseg.models.opening import ModelRequest, load_model, packaged_spec
from edgeseg_converters import TuneOptions, TuneResult, tune

DEFAULT = ("unet_mini:128", "efficientnet_lite0_unet:384,480", "deeplabv3plus_mobilenetv2:128")


def tuned(name: str, size: tuple[int, int], folder: Path, arguments: argparse.Namespace, *, again: bool) -> TuneResult:
    """Tune a model; ``again`` measures it a second time."""
    labeled = packaged_spec(name) is not None and has_layout(Path(as_source(arguments.data).root))
    keras.utils.set_random_seed(0)  # the second tuning is of the same model
    opened = load_model(name, ModelRequest(input_size=size))
    data = arguments.data if labeled else str(images_of(Path(arguments.data)))
    options = TuneOptions(
        formats=arguments.formats,
        precisions=arguments.precisions,
        num_threads=arguments.num_threads,
        plan=Plan(rounds=arguments.rounds, verify=False),
        budget=arguments.budget,
    )
    return tune(
        opened.model, folder, data=data, spec=opened.spec, device=arguments.device, options=options, overwrite=again
    )


def images_of(data: Path) -> Path:
    """Return the folder of images of a data set of folders; the folder itself where it has no splits."""
    return next((path for path in (data / "val" / "images", data / "images") if path.is_dir()), data)


def compared(name: str, size: tuple[int, int], arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Tune twice, then measure every candidate in turns, and return the ratios of the two choices."""
    choices = []
    for again in (False, True):
        result = tuned(name, size, folder, arguments, again=again)
        if result.chosen is None:
            raise SystemExit(f"{name}: {result.failure}")
        artifact = result.record.artifact(result.chosen.variant)
        assert artifact is not None and not artifact.failure  # what is chosen passed its gates
        processes = sum(len(one.result.rounds) for one in result.record.measured if one.result)
        choices.append((result.chosen, processes, artifact))
    candidates = [one.candidate for one in result.record.measured]
    cases = [
        Case(folder / one.variant.path(result.record.model), one.place.accelerator, one.options) for one in candidates
    ]
    print(f"{name}: {len(cases)} candidates, all of them", file=sys.stderr, flush=True)
    measured = measure(cases, open_device(arguments.device), Plan(rounds=arguments.rounds, verify=False))
    fastest, medians = np.array([fastest_s(one) for one in measured]), np.array([one.median_s for one in measured])
    places = [candidates.index(chosen) for chosen, _, _ in choices]
    return {
        "model": name,
        "size_hw": list(size),
        "num_candidates": len(candidates),
        "processes": [count for _, count, _ in choices],
        "processes_exhaustive": sum(len(one.rounds) for one in measured),
        "chosen": [str(chosen) for chosen, _, _ in choices],
        "best": str(candidates[int(fastest.argmin())]),
        "best_ms": float(fastest.min() * 1e3),
        "ratio_fastest": [float(fastest[place] / fastest.min()) for place in places],
        "ratio_median": [float(medians[place] / medians.min()) for place in places],
        "size_mb": [artifact.size_bytes / 1e6 for _, _, artifact in choices],
    }


def table(recorded: dict[str, Any]) -> str:
    """Return the Markdown of a result file."""
    lines = [
        "| model | candidates | processes, of all | chosen | chosen again | over the best | again |",
        "|---|---:|---:|---|---|---:|---:|",
    ]
    for entry in recorded["results"]:
        size = ",".join(map(str, entry["size_hw"]))
        first, second = entry["ratio_fastest"]
        lines.append(
            f"| {entry['model']} {size} | {entry['num_candidates']} | {entry['processes'][0]}, "
            f"{entry['processes_exhaustive']} | {entry['chosen'][0]} | {entry['chosen'][1]} | {first:.3f} | "
            f"{second:.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Tune and compare, or print the table of a result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=DEFAULT, metavar="NAME:SIZE")
    parser.add_argument("--data", help="labeled data set; the images of its val split where weights are random")
    parser.add_argument("--device", default="local")
    parser.add_argument("--formats", type=lambda text: tuple(text.split(",")))
    parser.add_argument("--precisions", type=lambda text: tuple(text.split(",")))
    parser.add_argument("--num-threads", type=lambda text: tuple(map(int, text.split(","))))
    parser.add_argument("--rounds", type=int, default=Plan.rounds)
    parser.add_argument("--budget", type=float, default=TuneOptions.budget)
    parser.add_argument("--folder", type=Path, help="for the tunings; a temporary one when omitted")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--table", type=Path, help="print a result file as Markdown")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(read_json(arguments.table)))
        return
    if arguments.data is None:
        parser.error("--data is needed")
    path = arguments.output
    results = known_results(path)
    with tempfile.TemporaryDirectory() as temporary:
        for text in arguments.models:
            name, size = parse_model(text)
            if any(entry["model"] == name and entry["size_hw"] == list(size) for entry in results):
                continue
            folder = (arguments.folder or Path(temporary)) / f"{name}-{size[0]}x{size[1]}"
            results.append(compared(name, size, arguments, folder))
            if path:
                write_json(path, environment(), results)
    print(table({"results": results}))


if __name__ == "__main__":
    main()
