"""Measure time and memory of a conversion to TFLite: edgeseg's whole export, and TensorFlow's ``from_keras_model``.

    python benchmarks/conversion_time.py hrnetv2_w18:480 --repeats 3 --output benchmarks/results/NAME.json

Each side converts in a fresh process, the two in turns. The time is what a user waits for after the model is loaded:
edgeseg's side is ``export_all`` without verification (rewrites with their proofs, freezing, converting, the spec).
Memory is the largest resident set of the process, with TensorFlow and the model in it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from _shared import environment, parse_model, write_json

SIDES = ("from_keras_model", "edgeseg")


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


def main() -> None:
    """Read the arguments, convert, write the raw numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=parse_model, help="NAME:SIZE or NAME:H,W")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)  # for the processes that this one starts
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(convert(arguments.side, *arguments.models[0])))
        return
    results = [compare(name, size, arguments.repeats) for name, size in arguments.models]
    if arguments.output:
        write_json(arguments.output, environment(), results)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kilobytes on Linux


if __name__ == "__main__":
    main()
