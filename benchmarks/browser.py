"""Measure what a browser costs: the same file on this machine's own runtime and in a Chromium, in turns.

    python benchmarks/browser.py person.fp16.tflite person.fp32.onnx --output benchmarks/results/NAME.json

Each side runs a file in a process of its own (natively) or a worker of its own (the browser), one round after the
other, with 1 and 2 threads; LiteRT against LiteRT.js, ONNX Runtime against onnxruntime-web. The ratio is of the two
medians of a round, and the median over the rounds. Where a proof is beside a file, both sides answer it first: a wrong
answer has no speed.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import _shared

from edgeseg.benchmark.devices import open_device
from edgeseg.benchmark.devices.web import WebDevice
from edgeseg.benchmark.measure import Case, Device, measure
from edgeseg.benchmark.plan import Plan
from edgeseg.benchmark.result import LatencyResult
from edgeseg.models.packaged_files import find_file

THREADS = (1, 2)


class Chromium(WebDevice):
    """A browser of this machine that opens the page by itself."""

    def __init__(self) -> None:
        super().__init__(announce=self._open)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._profile = tempfile.TemporaryDirectory()

    def _open(self, line: str) -> None:
        if not line.startswith("http"):
            return
        program = shutil.which("chromium") or shutil.which("google-chrome")
        if program is None:
            raise SystemExit("no chromium on the PATH: apt install chromium")
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        command = [program, *flags, f"--user-data-dir={self._profile.name}", line]
        self._processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        for process in self._processes:
            process.terminate()
            process.wait()


def in_turns(case: Case, plan: Plan, rounds: int) -> tuple[list[LatencyResult], list[LatencyResult]]:
    """Return the results of this machine and of the browser, round by round."""
    sides: tuple[list[LatencyResult], list[LatencyResult]] = ([], [])
    for _ in range(rounds):
        devices: tuple[Device, Device] = (open_device("local"), Chromium())
        for side, device in zip(sides, devices, strict=True):
            side += measure([case], device, plan)
    return sides


def row(case: Case, here: list[LatencyResult], there: list[LatencyResult]) -> dict[str, Any]:
    """Return a row of the result file; milliseconds."""
    ratios = [browser.median_s / native.median_s for native, browser in zip(here, there, strict=True)]
    agreements = [result.agreement for result in (here[0], there[0])]
    return {
        "artifact": case.artifact.name,
        "num_threads": case.options["num_threads"],
        "native": here[0].runtime,
        "browser": there[0].runtime,
        "native_ms": [1e3 * result.median_s for result in here],
        "browser_ms": [1e3 * result.median_s for result in there],
        "ratio": statistics.median(ratios),
        "agreement": [None if agreement is None else agreement.worst for agreement in agreements],
        "right": all(agreement is None or agreement.passed for agreement in agreements),
    }


def table(results: list[dict[str, Any]]) -> str:
    """Return the Markdown table of the docs; a wrong answer has no ratio."""
    lines = ["| file | threads | native ms | browser ms | ratio | agreement |", "|---|---:|---:|---:|---:|---:|"]
    for each in results:
        native, browser = (statistics.median(each[side]) for side in ("native_ms", "browser_ms"))
        agreement = each["agreement"][1]
        shown = "-" if agreement is None else f"{100 * agreement:.2f} %"
        ratio = f"{each['ratio']:.1f}" if each["right"] else "wrong"
        lines.append(
            f"| {each['artifact']} | {each['num_threads']} | {native:.1f} | {browser:.1f} | {ratio} | {shown} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifacts", nargs="*", type=find_file)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--table", action="store_true", help="print the table of a recorded result; measure nothing")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(_shared.read_json(arguments.output)["results"]))
        return
    plan = Plan(rounds=1, num_runs=30, min_secs=1.0, max_secs=20.0, warmup_runs=5)
    results = []
    for artifact in arguments.artifacts:
        for threads in THREADS:
            case = Case(artifact, "cpu", {"num_threads": threads})
            results.append(row(case, *in_turns(case, plan, arguments.rounds)))
            print(table(results[-1:]).splitlines()[-1], flush=True)
            _shared.write_json(arguments.output, _shared.environment(), results)
    print(table(results))


if __name__ == "__main__":
    main()
