"""Measure what the speed-ups save: one model exported with and without them, both timed in turns in one process.

    python benchmarks/rewrite_latency.py unet_mini:224 mobilenet_unet:256 --output benchmarks/results/NAME.json
    python benchmarks/rewrite_latency.py hrnetv2_w18:224 --runtimes mnn,openvino --each-rule   # rule by rule

The two sides run in turns, so that other load on the machine affects both; only the ratio of the medians counts. With
``--each-rule`` the file with all rules of the runtime is compared with files that lack one of them: a ratio above 1 is
what that rule saves, against another rule of the runtime where that matches the same layers. Then it is the least CPU
time of one thread that counts, which other load changes less.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from edgeseg._internal.versions import installed_version
from edgeseg.models import create
from edgeseg.models.zoo.table import ZOO
from edgeseg.runtime.litert import LiteRTBackend
from edgeseg.runtime.mnn.backend import MnnBackend
from edgeseg.runtime.onnx import OnnxBackend
from edgeseg.runtime.openvino.backend import OpenVinoBackend
from edgeseg.spec import Provenance
from edgeseg_converters.keras_model.freeze import freeze
from edgeseg_converters.mnn.convert import to_mnn
from edgeseg_converters.onnx.convert import to_onnx
from edgeseg_converters.openvino.convert import to_openvino
from edgeseg_converters.rewrites import rewrite, rules_for
from edgeseg_converters.tflite.convert import to_tflite

THREADS = 2

#: What converts the frozen function, and what runs the file.
_RUNTIMES: dict[str, tuple[Callable[..., bytes], Callable[..., Any]]] = {
    "tflite": (to_tflite, LiteRTBackend),
    "onnx": (to_onnx, OnnxBackend),
    "mnn": (lambda frozen, spec: to_mnn(to_onnx(frozen, spec), spec), MnnBackend),
    "openvino": (lambda frozen, spec: to_openvino(to_onnx(frozen, spec), spec), OpenVinoBackend),
}


def measure(name: str, size: int, arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Time one zoo model on the chosen runtimes and return one entry for each."""
    model = create(name, num_classes=21, input_size=(size, size))
    spec = ZOO[name].default_spec(21, (size, size)).replace(provenance=Provenance(source=name), output_kind="argmax")
    image = np.random.default_rng(0).normal(size=(1, size, size, 3)).astype(np.float32)
    threads, clock = (1, time.process_time) if arguments.each_rule else (THREADS, time.perf_counter)
    entries = []
    for runtime in arguments.runtimes.split(","):
        convert, backend = _RUNTIMES[runtime]
        rules = rules_for(runtime)
        used = rules.in_order(optimize=True)
        whole = rewrite(model, used)
        if arguments.each_rule:
            sides = {"with": whole}
            for rule, _ in whole.counts():
                if rule in {each.name for each in rules.speed_ups}:
                    sides[f"without {rule}"] = rewrite(model, tuple(each for each in used if each.name != rule))
        else:
            sides = {"without": rewrite(model, rules.in_order(optimize=False)), "with": whole}
        frozen = {side: freeze(result.model, spec) for side, result in sides.items()}
        backends = {side: backend(convert(f, spec), num_threads=threads) for side, f in frozen.items()}
        answer = np.array(backends["with"].run(image))
        agreements = {
            side: float(np.mean(open_backend.run(image) == answer)) for side, open_backend in backends.items()
        }
        latencies: dict[str, list[float]] = {side: [] for side in backends}
        for run in range(arguments.num_runs + 3):  # three to warm up
            for side, open_backend in backends.items():
                start = clock()
                open_backend.run(image)
                if run >= 3:
                    latencies[side].append(clock() - start)
        best = np.min if arguments.each_rule else np.median
        times = {side: float(best(values)) for side, values in latencies.items()}
        for side in sorted(set(times) - {"with"}):
            print(
                f"{name:20} {size} {runtime:8} {side}: {times[side] * 1e3:8.1f} -> {times['with'] * 1e3:8.1f} ms   "
                f"{times[side] / times['with']:.2f}x   same class {agreements[side]:.3%}",
                flush=True,
            )
        entries.append(
            {
                "model": name,
                "input": size,
                "runtime": runtime,
                "rewrites": whole.counts(),
                "clock": "CPU seconds of one thread" if arguments.each_rule else "seconds",
                "latencies_s": latencies,
                "ratios": {side: times[side] / times["with"] for side in times},
                "argmax_agreement": agreements,
            }
        )
    return entries


def main() -> None:
    """Read the arguments, measure, write the raw times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="NAME:SIZE")
    parser.add_argument("--num-runs", type=int, default=20)
    parser.add_argument("--runtimes", default="tflite,onnx", help="with commas between")
    parser.add_argument("--each-rule", action="store_true", help="omit one rule at a time")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    packages = ("tensorflow", "keras", "ai-edge-litert", "tf2onnx", "onnxruntime", "MNN", "openvino")
    environment = {
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "num_threads": 1 if arguments.each_rule else THREADS,
        "date": time.strftime("%Y-%m-%d"),
        "versions": {package: installed_version(package) for package in packages},
    }
    results: list[dict[str, object]] = []
    for argument in arguments.models:
        name, size = argument.split(":")
        results += measure(name, int(size), arguments)
        if arguments.output:  # after each model, as a run of many takes an hour
            text = json.dumps({"format_version": 1, "environment": environment, "results": results}, indent=1)
            arguments.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
