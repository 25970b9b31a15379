"""Measure what a benchmark in a browser counts: its calls, and the same loop written by hand in the page, in turns.

    python benchmarks/browser_call.py

Both run the packaged person.int8 with LiteRT.js on the CPU with one thread. The ratio is of the two medians of a round,
and the median over the rounds; the order of the two sides changes from round to round.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

from browser_live import browser_of_tests

from edgeseg.benchmark.devices.web import WebDevice
from edgeseg.benchmark.worker import Request
from edgeseg.models.packaged_files import find_file
from edgeseg.web.runtime import LITERT
from edgeseg.web.site import runtime_place

#: Loads a model with LiteRT.js alone, in the page itself; ``byHand(calls)`` is the median of some calls on zeros.
BY_HAND = """(async () => {
    const liteRt = await import('/RUNTIMEcore.js');
    await liteRt.loadLiteRt('/RUNTIMEwasm/');
    const bytes = new Uint8Array(await (await fetch('/MODEL')).arrayBuffer());
    const model = await liteRt.loadAndCompile(bytes, {accelerator: 'wasm', cpuOptions: {numThreads: 1}});
    const input = new liteRt.Tensor(new Uint8Array(256 * 256 * 3), [1, 256, 256, 3]);
    globalThis.byHand = async (calls) => {
        const ms = [];
        for (let call = 0; call < calls + 3; call++) {
            const started = performance.now();
            const outputs = await model.run([input]);
            ms.push(performance.now() - started);
            outputs.forEach((output) => output.delete());
        }
        return ms.slice(3).sort((a, b) => a - b)[calls >> 1];
    };
})()"""


def measured(browser: Any, rounds: int, calls: int) -> tuple[list[float], list[float]]:
    """Return the medians of the benchmark and of the loop by hand, round by round; milliseconds."""

    def announced(line: str) -> None:
        if line.startswith("http"):
            browser("Page.navigate", url=line)

    benchmark, hand = [], []
    with WebDevice(announce=announced) as device:
        path = device.put(find_file("person.int8"), "call" * 4)
        browser.run(BY_HAND.replace("RUNTIME", runtime_place(LITERT)).replace("MODEL", path))
        request = Request(
            path=path,
            options={"num_threads": 1},
            warmup_runs=3,
            warmup_min_secs=0.0,
            num_runs=calls,
            min_secs=0.0,
        )
        sides = [
            lambda: benchmark.append(1e3 * statistics.median(device.run(request).latencies_s)),
            lambda: hand.append(browser.run(f"byHand({calls})")),
        ]
        for _ in range(rounds):
            for side in sides:
                side()
            sides.reverse()
    return benchmark, hand


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--calls", type=int, default=15)
    arguments = parser.parse_args()
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("no chromium on the PATH: apt install chromium")
    with tempfile.TemporaryDirectory() as profile:
        browser = browser_of_tests()(program, Path(profile), "--disable-gpu")
        try:
            benchmark, hand = measured(browser, arguments.rounds, arguments.calls)
        finally:
            browser.close()
    ratios = [one / other for one, other in zip(benchmark, hand, strict=True)]
    print("| benchmark ms | by hand ms | ratio | ratios of the rounds |")
    print("|---:|---:|---:|---:|")
    spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
    medians = [statistics.median(each) for each in (benchmark, hand, ratios)]
    print(f"| {medians[0]:.2f} | {medians[1]:.2f} | {medians[2]:.3f} | {spread} |")


if __name__ == "__main__":
    main()
