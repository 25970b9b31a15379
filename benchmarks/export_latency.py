"""Compare the latency of today's converters with that of ``edgeseg export``, on LiteRT and ONNX Runtime.

    python benchmarks/export_latency.py --output benchmarks/results/NAME.json            # the zoo
    python benchmarks/export_latency.py unet_mini:224 segnet:256 --targets generic,xnnpack
    python benchmarks/export_latency.py --table benchmarks/results/NAME.json             # Markdown for docs/rewrites.md

Both sides have the same weights. Today's TFLite is TensorFlow's converter on the frozen model with batch 1, today's
ONNX is tf2onnx, both with softmax scores as output: the best that the public tools give. edgeseg's side is
``export_all`` with its defaults, fp32, with a class map as output. Where today's converter refuses the model, edgeseg's
file is compared with today's ONNX on ONNX Runtime.

Each model is converted in one process and measured in another, without TensorFlow in it. The files of a model on one
runtime take turns, so that other load on the machine affects all of them; only ratios of medians count. An interrupted
run continues where it stopped: models that ``--output`` already has are skipped.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _shared import THREADS, environment, parse_model, read_json, write_json
from _sides import IMAGE, RUNTIMES, artifacts, convert_sides, edgeseg_sources

from edgeseg.evaluation.confusion import argmax_agreement
from edgeseg.imaging import preprocess
from edgeseg.models.zoo.table import ZOO
from edgeseg.runtime import Backend
from edgeseg.runtime.litert import LiteRTBackend
from edgeseg.runtime.onnx import OnnxBackend
from edgeseg.segmenter import to_class_map

#: Height and width where the zoo's default is too slow for a table of the whole zoo, or another size is usual.
_SIZES = {"unet_vgg16": (256, 256), "unet_resnet50": (256, 256), "deeplabv3plus_xception": (320, 320)}
_WARM_UP = 3
#: ONNX Runtime's threads spin for a while after a call; this must not slow the next file.
_PAUSE_S = 0.02

Model = tuple[str, tuple[int, int]]


def measure(model: Model, targets: list[str], runs: int, cache: Path) -> list[dict[str, Any]]:
    """Time all files of a model in turns.

    Args:
        model: name and size; its files are in the cache.
        targets: of edgeseg's files; the ratios of the table are those of the first one.
        runs: timed calls of each file.
        cache: where ``convert_sides`` put the files.

    Returns:
        One entry for each runtime.
    """
    name, size = model
    plain = ZOO[name].default_spec(21, size)
    image = np.load(cache / IMAGE)
    backends: dict[tuple[str, str], Backend] = {}
    inputs, maps = {}, {}
    files = artifacts(model, targets, cache)
    for key, path in files.items():
        if path.suffix == ".refused":
            continue
        backend = (LiteRTBackend if key[0] == "tflite" else OnnxBackend)(path, num_threads=THREADS)
        backends[key], inputs[key] = backend, preprocess(image, backend.spec or plain)[0]
        output = np.array(backend.run(inputs[key]))
        # The maps are compared as they are: that of a model with a smaller output than input is not enlarged.
        maps[key] = output[0] if output.ndim == 3 else to_class_map(output, plain.replace(input_size=output.shape[1:3]))
    latencies: dict[tuple[str, str], list[float]] = {key: [] for key in backends}
    for runtime in RUNTIMES:  # one after the other: the threads of one spin on after a call and would slow the next
        turns = [key for key in backends if key[0] == runtime]
        for turn in range(_WARM_UP + runs):
            for key in turns[:: 1 if turn % 2 else -1]:
                time.sleep(_PAUSE_S)
                start = time.perf_counter()
                backends[key].run(inputs[key])
                if turn >= _WARM_UP:
                    latencies[key].append(time.perf_counter() - start)
    entries = []
    for runtime in RUNTIMES:
        today = (runtime, "today") if (runtime, "today") in backends else ("onnx", "today")
        ours = [key for key in backends if key[0] == runtime and key != today]
        entry: dict[str, Any] = {"model": name, "input_size": list(size), "runtime": runtime}
        if today[0] != runtime:
            entry["today_refused"] = files[runtime, "today"].read_text().strip()
        entry["today_runtime"] = today[0]
        entry["latencies_s"] = {side: latencies[runtime_, side] for runtime_, side in (today, *ours)}
        entry["argmax_agreement"] = {key[1]: argmax_agreement(maps[today], maps[key]) for key in ours}
        entry["rewrites"] = {key[1]: backends[key].spec.provenance.rewrites for key in ours}  # type: ignore[union-attr]
        entries.append(entry)
    return entries


def ratio(entry: dict[str, Any], side: str) -> float:
    """Divide today's median by that of edgeseg's file: above 1, edgeseg is faster."""
    return _median_ms(entry, "today") / _median_ms(entry, side)


def lines(entries: list[dict[str, Any]]) -> list[str]:
    """Return one line for each model, runtime and target."""
    text = []
    for entry in entries:
        size = "x".join(map(str, entry["input_size"]))
        for side, agreement in entry["argmax_agreement"].items():
            text.append(
                f"{entry['model']:26}{size:9}{entry['runtime']:8}{side:18}"
                f"{_median_ms(entry, 'today'):8.1f} -> {_median_ms(entry, side):8.1f} ms   {ratio(entry, side):.2f}x   "
                f"same class {agreement:.3%}"
            )
        if "today_refused" in entry:
            text.append(f"  today's time is that of {entry['today_runtime']}: {entry['today_refused']}")
    return text


def table(*paths: Path) -> str:
    """Return result files as a Markdown table: a row for each model, with milliseconds and ratios for each target.

    A model that several files have is that of the last.
    """
    files = [read_json(path) for path in paths]
    recorded = files[0]
    entries = {
        (entry["model"], *entry["input_size"], entry["runtime"]): entry for file in files for entry in file["results"]
    }
    averages = means(list(entries.values()))
    head = ["Model, input"]
    for runtime in RUNTIMES:
        title = {"tflite": "LiteRT", "onnx": "ONNX Runtime"}[runtime]
        head.append(f"{title} today")
        head += [f"{side}" for kind, side in averages if kind == runtime]
    rows, refused = [], False
    for model, height, width in dict.fromkeys(key[:3] for key in entries):
        size = str(height) if height == width else f"{height}x{width}"
        row = [f"{model} {size}"]
        for runtime in RUNTIMES:
            entry = entries[model, height, width, runtime]
            missing = "today_refused" in entry
            refused |= missing
            row.append("does not convert*" if missing else f"{_median_ms(entry, 'today'):.1f}")
            for side in [side for kind, side in averages if kind == runtime]:
                in_entry = side in entry["latencies_s"]
                row.append(f"{_median_ms(entry, side):.1f} (**{ratio(entry, side):.2f}x**)" if in_entry else "")
        rows.append(row)
    last = ["geometric mean"]
    for runtime in RUNTIMES:
        last += ["", *(f"**{mean:.2f}x**" for (kind, _), mean in averages.items() if kind == runtime)]
    text = ["| " + " | ".join(row) + " |" for row in [head, ["---", *["---:"] * (len(head) - 1)], *rows, last]]
    machine = recorded["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    text += [
        "",
        f"Median milliseconds, {machine['cpu']} ({machine['machine']}), {machine['num_threads']} threads, batch 1, "
        f"fp32, {machine['date']}; {versions}.",
    ]
    if refused:
        text.append("\\* today's converter refuses the model; the ratio is to today's ONNX on ONNX Runtime.")
    return "\n".join(text)


def main() -> None:
    """Read the arguments, convert and measure each model in its own processes, and write after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=parse_model, help="NAME:SIZE or NAME:H,W; the zoo when omitted")
    parser.add_argument("--targets", default="generic", help="of edgeseg's files, separated by commas")
    parser.add_argument("--num-runs", type=int, default=20)
    parser.add_argument("--cache", type=Path, help="keeps the converted files; a second run only measures")
    parser.add_argument("--output", type=Path)
    parser.add_argument(
        "--table", type=Path, nargs="+", metavar="FILE.json", help="print recorded results as one table, and stop"
    )
    parser.add_argument("--step", choices=("convert", "measure"), help=argparse.SUPPRESS)  # in a process of its own
    arguments = parser.parse_args()
    if arguments.table:
        print(table(*arguments.table))
        return
    targets = arguments.targets.split(",")
    if arguments.step == "convert":
        convert_sides(arguments.models[0], targets, arguments.cache)
        return
    if arguments.step == "measure":
        print(json.dumps(measure(arguments.models[0], targets, arguments.num_runs, arguments.cache)))
        return
    models = arguments.models or [(name, _SIZES.get(name, entry.default_size)) for name, entry in ZOO.items()]
    machine = environment(edgeseg_sources())
    results: list[dict[str, Any]] = []
    if arguments.output and arguments.output.exists():
        before = read_json(arguments.output)
        if any(before["environment"].get(key) != value for key, value in machine.items() if key != "date"):
            sys.exit(f"{arguments.output} was made on another machine or from other sources; give another --output.")
        machine, results = before["environment"], before["results"]
    done = {(entry["model"], tuple(entry["input_size"])) for entry in results}
    with tempfile.TemporaryDirectory() as temporary:
        cache = arguments.cache or Path(temporary)
        cache.mkdir(parents=True, exist_ok=True)
        for name, size in models:
            if (name, size) in done:
                continue
            options = ["--targets", arguments.targets, "--num-runs", str(arguments.num_runs), "--cache", str(cache)]
            command = [sys.executable, __file__, f"{name}:{size[0]},{size[1]}", *options, "--step"]
            subprocess.run([*command, "convert"], check=True)
            measured = subprocess.run([*command, "measure"], check=True, stdout=subprocess.PIPE, text=True)
            entries = json.loads(measured.stdout.splitlines()[-1])
            results += entries
            print(*lines(entries), sep="\n", flush=True)
            if arguments.output:
                write_json(arguments.output, machine, results)
    for (runtime, side), mean in means(results).items():
        print(f"{'geometric mean':35}{runtime:8}{side:18}{mean:33.2f}x")


def _median_ms(entry: dict[str, Any], side: str) -> float:
    return 1e3 * float(np.median(entry["latencies_s"][side]))


def means(entries: list[dict[str, Any]]) -> dict[tuple[str, str], float]:
    """Return the geometric mean of the ratios for each runtime and target."""
    ratios: dict[tuple[str, str], list[float]] = {}
    for entry in sorted(entries, key=lambda entry: RUNTIMES.index(entry["runtime"])):
        for side in entry["argmax_agreement"]:
            ratios.setdefault((entry["runtime"], side), []).append(ratio(entry, side))
    return {key: float(np.exp(np.mean(np.log(values)))) for key, values in ratios.items()}


if __name__ == "__main__":
    main()
