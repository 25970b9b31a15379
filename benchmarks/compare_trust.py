"""Test whether ``edgeseg compare`` can be trusted on this machine, with one artifact at its speed and slowed by 15 %.

    python benchmarks/compare_trust.py ARTIFACT --tries 20

Each try measures the artifact as a baseline, once more, and with a worker that adds 15 % to each call. The results are
how often the two equal runs "differ", and how often the slowed run is detected. Both are also computed from the medians
alone, as a tool without intervals would.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import _shared

from edgeseg.benchmark.compare import NOISE, compare
from edgeseg.benchmark.devices.local import LocalDevice
from edgeseg.benchmark.measure import Case, measure
from edgeseg.benchmark.plan import Plan
from edgeseg.benchmark.result import LatencyResult
from edgeseg.benchmark.worker import Reply, Request

SLOWDOWN = 0.15

_SLOWED_WORKER = f"""
import sys, time
from edgeseg.runtime.litert import LiteRTBackend
from edgeseg.benchmark import worker

invoke = LiteRTBackend.invoke

def slowed(self):
    start = time.perf_counter()
    invoke(self)
    end = time.perf_counter() + {SLOWDOWN} * (time.perf_counter() - start)
    while time.perf_counter() < end:
        pass

LiteRTBackend.invoke = slowed
sys.exit(worker.main())
"""


class SlowedDevice(LocalDevice):
    """This machine, with a runtime that takes 15 % longer."""

    def run(self, request: Request) -> Reply:
        """See ``Device.run``."""
        done = subprocess.run(
            [sys.executable, "-c", _SLOWED_WORKER],
            input=json.dumps(asdict(request)),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=True,
        )
        return Reply.from_json(done.stdout)


def main() -> None:
    """Read the arguments, run the tries, print the counts, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--num-runs", type=int, default=50)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    cases = [Case(args.artifact, "cpu", {"num_threads": _shared.THREADS})]
    results = []
    for number in range(args.tries):
        plan = Plan(num_runs=args.num_runs, seed=number)
        before, again, slowed = (
            measure(cases, device, plan)[0] for device in (LocalDevice(), LocalDevice(), SlowedDevice())
        )
        results.append(_verdicts(before, again, slowed))
        print(f"try {number + 1}: {results[-1]}", flush=True)
    for name in ("equal_differ", "slowed_caught", "equal_differ_by_medians", "slowed_caught_by_medians"):
        print(f"{name}: {sum(bool(entry[name]) for entry in results)} of {len(results)}")
    if args.output is not None:
        _shared.write_json(args.output, _shared.environment(), results)


def _verdicts(before: LatencyResult, again: LatencyResult, slowed: LatencyResult) -> dict[str, object]:
    equal, slower = compare(before, again), compare(before, slowed)
    return {
        "median_ms": round(before.median_s * 1e3, 3),
        "load": before.environment.load,
        "equal_ratio": round(equal.median.value, 3),
        "slowed_ratio": round(slower.median.value, 3),
        "equal_differ": equal.significant,
        "slowed_caught": slower.significant and slower.median.value > 1,
        "equal_differ_by_medians": abs(equal.median.value - 1) > NOISE,
        "slowed_caught_by_medians": slower.median.value > 1 + NOISE,
    }


if __name__ == "__main__":
    main()
