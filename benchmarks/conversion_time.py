"""Measure time and memory of a conversion to TFLite: edgeseg's whole export, and TensorFlow's ``from_keras_model``.

    python benchmarks/conversion_time.py hrnetv2_w18:480 --repeats 3 --output benchmarks/results/NAME.json
    python benchmarks/conversion_time.py --before DIR hrnetv2_w18:480 pspnet50:473 own.keras:384 --output NAME.json

The second form compares the command ``edgeseg export --format tflite,onnx --precision fp32`` of this checkout with that
of another one in DIR, on the same model file. Its time is that of the processors, of the process and its children,
which other load on the machine affects less than the clock, though not little: the two take turns, and their ratio
counts. It also says whether all runs of a side gave the same bytes.

Each side converts in a fresh process, the two in turns. The time is what a user waits for after the model is loaded:
edgeseg's side is ``export_all`` without verification (rewrites with their proofs, freezing, converting, the spec).
Memory is the largest resident set of the process, with TensorFlow and the model in it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _shared import environment, parse_model, write_json

SIDES = ("from_keras_model", "edgeseg")

#: The form with ``--before``.
CHECKOUTS = ("before", "now")


def convert(side: str, name: str, size: tuple[int, int]) -> dict[str, float]:
    """Convert one zoo model in this process.

    Returns:
        ``seconds`` of the conversion, ``peak_mb`` of the process in MiB, ``start_mb`` before the conversion.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    from edgeseg.models import create
    from edgeseg.models.zoo.table import ZOO
    from edgeseg_converters import Recipe, export_all

    model = create(name, num_classes=21, input_size=size)
    start_mb = _peak_mb()
    start = time.perf_counter()
    if side == "edgeseg":
        (result,) = export_all(model, ZOO[name].default_spec(21, size), [Recipe("tflite", "fp32")])
        num_bytes = len(result.data)
    else:
        num_bytes = len(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_mb": _peak_mb(), "start_mb": start_mb, "bytes": num_bytes}


def compare(name: str, size: tuple[int, int], repeats: int) -> dict[str, Any]:
    """Convert a model ``repeats`` times on each side, in turns; one entry for the results."""
    raw: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(repeats):
        for side in SIDES:
            command = [sys.executable, __file__, f"{name}:{size[0]},{size[1]}", "--side", side]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            raw[side].append(json.loads(done.stdout.splitlines()[-1]))
    middle = {
        side: {key: float(np.median([run[key] for run in runs])) for key in ("seconds", "peak_mb")}
        for side, runs in raw.items()
    }
    ratios = {key: middle["edgeseg"][key] / middle["from_keras_model"][key] for key in ("seconds", "peak_mb")}
    for side, values in middle.items():
        print(f"{name:26} {side:18} {values['seconds']:7.1f} s {values['peak_mb']:7.0f} MiB", flush=True)
    print(f"{name:26} {'ratio':18} {ratios['seconds']:7.2f}   {ratios['peak_mb']:7.2f}", flush=True)
    return {"model": name, "input_size": list(size), "runs": raw, "ratio_of_medians": ratios}


def export(checkout: Path, model: Path, size: tuple[int, int], options: list[str]) -> dict[str, Any]:
    """Run ``edgeseg export`` of a checkout in a process of its own.

    Returns:
        ``cpu_s``, user and system, of the process and its children; ``peak_mb`` of the largest of them in MiB;
        ``sha256`` of each file by its suffixes.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "edgeseg", "export", str(model), "--imgsz", f"{size[0]},{size[1]}", *options]
        paths = os.pathsep.join([str(checkout), str(checkout / "converters")])
        process = subprocess.Popen(
            [*command, "--output-dir", folder],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "random"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        files = sorted(Path(folder).iterdir())
        if process.returncode or not files:
            raise RuntimeError(f"{' '.join(command)} in {checkout} ended with {process.returncode}")
        hashes = {"".join(path.suffixes): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return {"cpu_s": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024, "sha256": hashes}


def compare_checkouts(
    name: str, size: tuple[int, int], before: Path, repeats: int, options: list[str]
) -> dict[str, Any]:
    """Export a model ``repeats`` times with each checkout, in turns; one entry for the results.

    Args:
        name: of the zoo, or the path of a model file.
        size: ``(H, W)`` of its input, in pixels.
        before: folder of the other checkout.
        repeats: how often.
        options: of ``edgeseg export``.
    """
    raw: dict[str, list[dict[str, Any]]] = {side: [] for side in CHECKOUTS}
    with tempfile.TemporaryDirectory() as folder:
        model = Path(name).resolve() if Path(name).suffix else Path(folder) / f"{name}.keras"
        if not model.exists():
            command = [sys.executable, __file__, f"{name}:{size[0]},{size[1]}", "--save", str(model)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for turn in range(repeats):
            for side in CHECKOUTS[:: -1 if turn % 2 else 1]:
                checkout = before.resolve() if side == "before" else Path(__file__).resolve().parent.parent
                raw[side].append(export(checkout, model, size, options))
                print(f"{name} {side}: {raw[side][-1]['cpu_s']:.1f} s", file=sys.stderr, flush=True)
    entry: dict[str, Any] = {"model": Path(name).stem, "input_size": list(size), "options": options, "runs": raw}
    for side, runs in raw.items():
        cpu_s, peak_mb = (float(np.median([run[key] for run in runs])) for key in ("cpu_s", "peak_mb"))
        same = sorted(suffix for suffix in runs[0]["sha256"] if len({run["sha256"][suffix] for run in runs}) == 1)
        entry[side] = {"cpu_s": cpu_s, "peak_mb": peak_mb, "same_bytes": same if repeats > 1 else None}
        print(f"{entry['model']:26} {side:8} {cpu_s:7.1f} CPU-s {peak_mb:7.0f} MiB  same bytes: {', '.join(same)}")
    return entry


def save(name: str, size: tuple[int, int], path: Path) -> None:
    """Save a model of the zoo, or ``pspnet50``, with random weights."""
    from edgeseg.models import create

    if name == "pspnet50":
        from _pspnet import pspnet50

        pspnet50(size).save(path)
    else:
        create(name, num_classes=21, input_size=size).save(path)


def main() -> None:
    """Read the arguments, convert, write the raw numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=parse_model, help="NAME:SIZE or NAME:H,W")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)  # for the processes that this one starts
    parser.add_argument("--save", type=Path, help=argparse.SUPPRESS)  # likewise
    parser.add_argument("--before", type=Path, metavar="DIR", help="compare edgeseg export with that of a checkout")
    parser.add_argument("--format", default="tflite,onnx", help="with --before: of the files")
    parser.add_argument("--precision", default="fp32", help="with --before: of the files")
    parser.add_argument("--data", help="with --before: a data set, for integer precisions")
    arguments = parser.parse_args()
    if arguments.save:
        save(*arguments.models[0], arguments.save)
        return
    if arguments.side:
        print(json.dumps(convert(arguments.side, *arguments.models[0])))
        return
    if arguments.before:
        options = ["--format", arguments.format, "--precision", arguments.precision]
        options += ["--data", arguments.data] if arguments.data else []
        results = [
            compare_checkouts(name, size, arguments.before, arguments.repeats, options)
            for name, size in arguments.models
        ]
    else:
        results = [compare(name, size, arguments.repeats) for name, size in arguments.models]
    if arguments.output:
        write_json(arguments.output, environment(), results)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kilobytes on Linux


if __name__ == "__main__":
    main()
