#!/usr/bin/env python3
"""Stands in for ``benchmark_model`` in tests: prints what the real one's sources print, and times nothing.

The lines are those of ``tflite/tools/benchmark/benchmark_model.cc``, ``benchmark_tflite_model.cc`` and
``command_line_flags.cc``, and of ``litert/tools/benchmark_litert_model.h`` where ``behavior.json`` in the device's
root says ``"tool": "litert"``. Unknown flags are a warning, as there.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

ROOT = Path(os.environ["ANDROID_ROOT"])
BEHAVIOR = json.loads((ROOT / "behavior.json").read_text())
BASE = {
    "num_runs": "50",
    "min_secs": "1",
    "max_secs": "150",
    "num_threads": "-1",
    "warmup_runs": "1",
    "warmup_min_secs": "0.5",
    "graph": "",
    "use_gpu": "false",
}
TOOLS = {
    "tflite": {"use_xnnpack": "false", "use_nnapi": "false", "external_delegate_path": "", "help": "false"}
    | {"external_delegate_options": ""},
    "litert": {"use_cpu": "true", "use_npu": "false"},
}


def log(text):
    print(f"INFO: {text}", flush=True)


def fail(text):
    print(f"ERROR: {text}", file=sys.stderr)
    print("ERROR: Benchmarking failed.", file=sys.stderr)
    sys.exit(1)


def main():
    kind = BEHAVIOR.get("tool", "tflite")
    flags = BASE | TOOLS[kind]
    log("STARTING!")
    if sys.argv[1:2] == ["--help"]:
        lines = "".join(f"\t--{name}={value}\tstring\toptional\tsee there\n" for name, value in flags.items())
        fail(f"usage: {sys.argv[0]} <flags>\nFlags:\n{lines}")
    unconsumed = []
    for argument in sys.argv[1:]:
        name, _, value = argument.removeprefix("--").partition("=")
        if name in flags:
            flags[name] = value
        else:
            unconsumed.append(argument)
    if unconsumed:
        print(f"WARN: Unconsumed cmdline flags: {' '.join(unconsumed)}")
    with (ROOT / "calls.jsonl").open("a") as calls:
        entry = {"flags": flags, "pid": os.getpid(), "libraries": os.environ.get("LD_LIBRARY_PATH", "")}
        calls.write(json.dumps(entry) + "\n")
    if not Path(flags["graph"]).is_file():
        fail(f"Failed to load model {flags['graph']}")
    log(f"Loaded model {flags['graph']}")
    if BEHAVIOR.get("ends") == "refuses":
        fail("Failed to apply GPU delegate.")
    delegate(flags, kind)
    log("The input model file size (MB): 0.012")
    log("Initialized session in 12.345ms.")
    print_run(flags["warmup_runs"], flags["warmup_min_secs"], flags["max_secs"])
    log("count=6 first=9100 curr=4000 min=4000 max=9100 avg=5000.5 std=1900 p5=4000 median=4100 p95=9100\n")
    print_run(flags["num_runs"], flags["min_secs"], flags["max_secs"])
    if BEHAVIOR.get("ends") == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if BEHAVIOR.get("ends") == "hang":
        time.sleep(20)
    if BEHAVIOR.get("ends") == "gibberish":
        print("Segmentation is a wonderful thing")
        return
    log(BEHAVIOR.get("stats", "count=50 first=4100 curr=4200 min=3900 max=6000 avg=4250.25 std=300 ")
        + BEHAVIOR.get("percentiles", "p5=3950 median=4200 p95=5100") + "\n")  # fmt: skip
    if kind == "tflite":
        log("Inference timings in us: Init: 12345, First inference: 9100, Warmup (avg): 5000.5, "
            "Inference (avg): 4250.25")  # fmt: skip
        log("Memory footprint delta from the start of the tool (MB): init=7.5 overall=12.25")
    else:
        print("INFO: Overall footprint:    12.25 MB", file=sys.stderr)


def print_run(runs, at_least, at_most):
    log(f"Running benchmark for at least {runs} iterations and at least {at_least} seconds "
        f"but terminate if exceeding {at_most} seconds.")  # fmt: skip


def delegate(flags, kind):
    """``BEHAVIOR["delegated"]``: how many of 58 nodes the accelerator takes."""
    taken = BEHAVIOR.get("delegated", 58)
    names = {"use_gpu": ("GPU", "TfLiteGpuDelegateV2" if kind == "tflite" else "LITERT_CL")}
    names |= {"use_nnapi": ("NNAPI", "TfLiteNnapiDelegate"), "use_npu": ("NPU", "DispatchDelegate")}
    asked = next((names[name] for name in names if flags.get(name) == "true"), None)
    if flags.get("external_delegate_path"):
        asked = ("EXTERNAL", "TfLiteQnnDelegate")
        if not Path(flags["external_delegate_path"]).is_file():
            fail("Failed to apply EXTERNAL delegate.")
    if asked is None:
        print("VERBOSE: Replacing 58 out of 58 node(s) with delegate (TfLiteXNNPackDelegate) node, "
              "yielding 1 partitions for subgraph 0.", file=sys.stderr)  # fmt: skip
        return
    if BEHAVIOR.get("ends") == "no nnapi":
        print("WARN: NNAPI acceleration is unsupported on this platform.")
        return
    if taken:
        print(f"VERBOSE: Replacing {taken} out of 58 node(s) with delegate ({asked[1]}) node, "
              "yielding 1 partitions for subgraph 0.", file=sys.stderr)  # fmt: skip
    if kind == "litert":
        return
    if taken == 58:
        log(f"Explicitly applied {asked[0]} delegate, and the model graph will be completely executed by the delegate.")
    elif taken:
        log(f"Explicitly applied {asked[0]} delegate, and the model graph will be partially executed by the delegate "
            "w/ 1 delegate kernels.")  # fmt: skip
    else:
        log(f"Though {asked[0]} delegate is explicitly applied, the model graph will not be executed by the delegate.")


main()
