"""Compare the latency of ``edgeseg benchmark`` with LiteRT's own tool and with a bare loop, in turns.

    python benchmarks/same_latency.py SMALL.tflite LARGE.tflite --output benchmarks/results/NAME.json

Each round starts five processes in random order: edgeseg's worker on the interpreter and on CompiledModel, a bare loop
around each of the two runtimes in a dozen lines without edgeseg, and LiteRT's ``benchmark_litert_model``, which runs
CompiledModel. Every process warms up with five calls and times the same number. Ratios are taken within a round and
are the medians over the rounds, as a shared machine switches between a fast and a slow state.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import _shared

from edgeseg.benchmark.devices.local import LocalDevice
from edgeseg.benchmark.worker import Request

_BARE_INTERPRETER = """
import json, sys, time
import numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(sys.argv[1], num_threads=int(sys.argv[2]))
interpreter.allocate_tensors()
details = interpreter.get_input_details()[0]
image = np.random.default_rng(0).integers(0, 256, details["shape"])
interpreter.set_tensor(details["index"], image.astype(details["dtype"]))
taken = []
for _ in range(5 + int(sys.argv[3])):
    start = time.perf_counter()
    interpreter.invoke()
    taken.append(time.perf_counter() - start)
print(json.dumps(taken[5:]))
"""

_BARE_COMPILED = """
import json, sys, time
import numpy as np
from ai_edge_litert.compiled_model import CompiledModel, CpuOptions, HardwareAccelerator, Options
options = Options(HardwareAccelerator.CPU, cpu_options=CpuOptions(num_threads=int(sys.argv[2])))
model = CompiledModel.from_file(sys.argv[1], options=options)
inputs, outputs = model.create_input_buffers(0), model.create_output_buffers(0)
(details,) = model.get_input_tensor_details(model.get_signature_by_index(0)["key"]).values()
image = np.random.default_rng(0).integers(0, 256, details["shape"])
inputs[0].write(image.astype(np.dtype(details["dtype"])))
taken = []
for _ in range(5 + int(sys.argv[3])):
    start = time.perf_counter()
    model.run_by_index(0, inputs, outputs)
    taken.append(time.perf_counter() - start)
print(json.dumps(taken[5:]))
"""


def edgeseg(backend: str) -> Callable[[Path, int], list[float]]:
    """Return a function that gives the seconds of each call, as ``edgeseg benchmark`` measures them."""

    def measure(artifact: Path, runs: int) -> list[float]:
        options = {"backend": backend, "num_threads": _shared.THREADS}
        request = Request(
            path=str(artifact), options=options, warmup_runs=5, warmup_min_secs=0, num_runs=runs, min_secs=0
        )
        return list(LocalDevice().run(request).latencies_s)

    return measure


def bare(code: str) -> Callable[[Path, int], list[float]]:
    """Return a function that gives the seconds of each call of a loop without edgeseg."""

    def measure(artifact: Path, runs: int) -> list[float]:
        command = [sys.executable, "-c", code, str(artifact), str(_shared.THREADS), str(runs)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return [float(value) for value in json.loads(done.stdout.splitlines()[-1])]

    return measure


def litert_tool(artifact: Path, runs: int) -> list[float]:
    """Return the median that LiteRT's own tool reports, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", "ai_edge_litert.tools.benchmark_litert_model", f"--model={artifact}"]
        command += [
            f"--num_runs={runs}",
            "--warmup_runs=5",
            f"--num_threads={_shared.THREADS}",
            f"--result_json={result}",
        ]
        subprocess.run(command, capture_output=True, check=True)
        return [json.loads(result.read_text())["latency"]["median_ms"] / 1e3]


SIDES: dict[str, Callable[[Path, int], list[float]]] = {
    "edgeseg, interpreter": edgeseg("litert"),
    "bare loop, interpreter": bare(_BARE_INTERPRETER),
    "edgeseg, CompiledModel": edgeseg("litert-compiled"),
    "bare loop, CompiledModel": bare(_BARE_COMPILED),
    "benchmark_litert_model": litert_tool,
}

PAIRS = (
    ("edgeseg, interpreter", "bare loop, interpreter"),
    ("edgeseg, CompiledModel", "bare loop, CompiledModel"),
    ("edgeseg, CompiledModel", "benchmark_litert_model"),
)


def main() -> None:
    """Read the arguments, measure, print the medians and ratios, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--num-runs", type=int, default=50, help="timed calls of each process")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    results = []
    order = random.Random(0)
    for artifact in args.artifacts:
        medians: dict[str, list[float]] = {side: [] for side in SIDES}
        for _ in range(args.rounds):
            for side in order.sample(list(SIDES), len(SIDES)):
                medians[side].append(statistics.median(SIDES[side](artifact, args.num_runs)))
        over_all = {side: statistics.median(values) * 1e3 for side, values in medians.items()}
        ratios = {
            f"{ours} / {theirs}": statistics.median(a / b for a, b in zip(medians[ours], medians[theirs], strict=True))
            for ours, theirs in PAIRS
        }
        for side, value in over_all.items():
            print(f"{artifact.name}  {side:26} {value:8.3f} ms")
        for pair, ratio in ratios.items():
            print(f"{artifact.name}  {pair:50} {ratio:.3f}", flush=True)
        results.append({"artifact": artifact.name, "median_ms": over_all, "ratios": ratios, "rounds_s": medians})
    if args.output is not None:
        _shared.write_json(args.output, _shared.environment(), results)


if __name__ == "__main__":
    main()
