"""Measure what the speed-ups save: one model exported with and without them, both timed in turns in one process.

    python benchmarks/rewrite_latency.py unet_mini:224 mobilenet_unet:256 --output benchmarks/results/NAME.json

The two sides run in turns, so that other load on the machine affects both; only the ratio of the medians counts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from importlib import metadata
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from edgeseg.models import create
from edgeseg.models.zoo.table import ZOO
from edgeseg.runtime.litert import LiteRTBackend
from edgeseg.runtime.onnx import OnnxBackend
from edgeseg.spec import Provenance
from edgeseg_converters.keras_model.freeze import freeze
from edgeseg_converters.onnx.convert import to_onnx
from edgeseg_converters.rewrites import rewrite, rules_for
from edgeseg_converters.tflite.convert import to_tflite

THREADS = 2


def measure(name: str, size: int, runs: int) -> list[dict[str, object]]:
    """Time one zoo model on both runtimes and return one entry for each."""
    model = create(name, num_classes=21, input_size=(size, size))
    spec = ZOO[name].default_spec(21, (size, size)).replace(provenance=Provenance(source=name), output_kind="argmax")
    image = np.random.default_rng(0).normal(size=(1, size, size, 3)).astype(np.float32)
    entries = []
    for runtime in ("tflite", "onnx"):
        rules = rules_for(runtime)
        sides = {
            "without": rewrite(model, rules.in_order(optimize=False)),
            "with": rewrite(model, rules.in_order(optimize=True)),
        }
        frozen = {side: freeze(result.model, spec) for side, result in sides.items()}
        convert, backend = (to_tflite, LiteRTBackend) if runtime == "tflite" else (to_onnx, OnnxBackend)
        backends = {side: backend(convert(f, spec), num_threads=THREADS) for side, f in frozen.items()}
        agreement = float(np.mean(backends["with"].run(image) == backends["without"].run(image)))
        latencies: dict[str, list[float]] = {side: [] for side in backends}
        for run in range(runs + 3):  # three to warm up
            for side, open_backend in backends.items():
                start = time.perf_counter()
                open_backend.run(image)
                if run >= 3:
                    latencies[side].append(time.perf_counter() - start)
        medians = {side: float(np.median(values)) for side, values in latencies.items()}
        ratio = medians["without"] / medians["with"]
        print(
            f"{name:20} {size} {runtime:7} {medians['without'] * 1e3:8.1f} -> {medians['with'] * 1e3:8.1f} ms   "
            f"{ratio:.2f}x   same class {agreement:.3%}",
            flush=True,
        )
        entries.append(
            {
                "model": name,
                "input": size,
                "runtime": runtime,
                "rewrites": sides["with"].counts(),
                "latencies_s": latencies,
                "ratio_of_medians": ratio,
                "argmax_agreement": agreement,
            }
        )
    return entries


def main() -> None:
    """Read the arguments, measure, write the raw times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="NAME:SIZE")
    parser.add_argument("--num-runs", type=int, default=20)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    results = []
    for argument in arguments.models:
        name, size = argument.split(":")
        results += measure(name, int(size), arguments.num_runs)
    packages = ("tensorflow", "keras", "ai-edge-litert", "tf2onnx", "onnxruntime")
    environment = {
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "num_threads": THREADS,
        "date": time.strftime("%Y-%m-%d"),
        "versions": {package: metadata.version(package) for package in packages},
    }
    if arguments.output:
        text = json.dumps({"format_version": 1, "environment": environment, "results": results}, indent=1)
        arguments.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
