"""Stands in for TensorFlow Lite's ``benchmark_model`` where it is fed and read: it runs the model, with LiteRT.

Flags, files and lines are those of ``tflite/tools/benchmark/benchmark_tflite_model.cc`` and ``benchmark_model.cc``: how
names, shapes and files are separated, that a value file of another size ends the process, that each inference begins
with it again, and that all outputs are written one after the other. ``behavior.json`` in the device's root says what
an accelerator does wrong: ``wrong_from``, the inference from which on its first output is shifted by a row.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

ROOT = Path(os.environ["ANDROID_ROOT"])
BEHAVIOR = json.loads((ROOT / "behavior.json").read_text())
FLAGS = {
    "graph": "",
    "num_runs": "50",
    "min_secs": "1",
    "max_secs": "150",
    "warmup_runs": "1",
    "warmup_min_secs": "0.5",
    "num_threads": "-1",
    "input_layer": "",
    "input_layer_shape": "",
    "input_layer_value_files": "",
    "output_filepath": "",
    "enable_op_profiling": "false",
    "op_profiling_output_mode": "stdout",
    "op_profiling_output_file": "",
    "use_xnnpack": "",
    "xnnpack_force_fp16": "false",
    "use_gpu": "false",
    "gpu_precision_loss_allowed": "true",
    "use_nnapi": "false",
    "external_delegate_path": "",
    "external_delegate_options": "",
    "help": "false",
}


def log(text, level="INFO"):
    print(f"{level}: {text}", file=sys.stderr, flush=True)


def fail(text):
    log(text, "ERROR")
    log("Benchmarking failed.", "ERROR")
    sys.exit(1)


def fatal(text):
    log(text, "FATAL")
    os.kill(os.getpid(), signal.SIGABRT)


def parse_flags():
    flags = {name: value for name, value in FLAGS.items() if name not in BEHAVIOR.get("lacks", ())}
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
        log(f"Unconsumed cmdline flags: {' '.join(unconsumed)}", "WARN")
    with (ROOT / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps({"flags": flags, "pid": os.getpid()}) + "\n")
    return flags


def layers(flags):
    """The inputs by place: name, shape and file."""
    names = flags["input_layer"].split(",")
    shapes = flags["input_layer_shape"].split(":")
    if len(names) != len(shapes):
        fail("The number of items in --input_layer_shape must match the number of items in --input_layer")
    files = {}
    for item in flags["input_layer_value_files"].split(","):
        parts = item.replace("::", "\0").split(":")
        if len(parts) != 2:
            fail(f"Wrong input value file item specified: {item}")
        files[parts[0].replace("\0", ":")] = parts[1].replace("\0", ":")
    for name in files:
        if name not in names:
            fatal(f"Cannot find the corresponding input_layer name({name}) in --input_layer as {flags['input_layer']}")
    return [
        (name, [int(side) for side in shape.split(",")], files[name]) for name, shape in zip(names, shapes, strict=True)
    ]


def feed(interpreter, flags):
    """The values of the inputs, by place."""
    import numpy as np

    details = interpreter.get_input_details()
    given = layers(flags)
    if len(given) != len(details):
        fatal(f"Inputs mismatch: Model inputs #:{len(given)} expected: {len(details)}")
    values = []
    for one, (name, shape, file) in zip(details, given, strict=True):
        if name != one["name"]:
            log(f"Tensor # {one['index']} is named {one['name']} but flags call it {name}", "WARN")
        interpreter.resize_tensor_input(one["index"], shape)
        data = Path(file).read_bytes()
        needed = int(np.prod(shape)) * np.dtype(one["dtype"]).itemsize
        if len(data) != needed:
            fatal(f"The size of {file} is {len(data)} bytes. It should be {needed} bytes.")
        values.append(np.frombuffer(data, np.dtype(one["dtype"]).newbyteorder("<")).reshape(shape))
    return values


def say_delegate(flags):
    taken = BEHAVIOR.get("delegated", 58)
    name = next((name for name, flag in (("GPU", "use_gpu"), ("NNAPI", "use_nnapi")) if flags[flag] == "true"), "")
    if not name:
        return
    if taken:
        log(f"Replacing {taken} out of 58 node(s) with delegate (TfLite{name}) node", "VERBOSE")
        how = (
            "completely executed by the delegate."
            if taken == 58
            else "partially executed by the delegate w/ 1 kernels."
        )
        log(f"Explicitly applied {name} delegate, and the model graph will be {how}")
    else:
        log(f"Though {name} delegate is explicitly applied, the model graph will not be executed by the delegate.")


def main():
    flags = parse_flags()
    log("STARTING!")
    if BEHAVIOR.get("ends") == "hang":
        time.sleep(20)
    if BEHAVIOR.get("ends") == "refuses":
        fail("Failed to apply GPU delegate.")
    import numpy as np  # not for --help
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(flags["graph"], num_threads=1)
    log(f"Loaded model {flags['graph']}")
    values = feed(interpreter, flags) if flags["input_layer"] else None
    say_delegate(flags)
    interpreter.allocate_tensors()
    log("Initialized session in 12.345ms.")
    outputs = []
    done = 0
    for runs in (int(flags["warmup_runs"]), BEHAVIOR.get("made", int(flags["num_runs"]))):
        for _ in range(runs):
            for one, value in zip(interpreter.get_input_details(), values or (), strict=False):
                interpreter.set_tensor(one["index"], value)
            interpreter.invoke()
            done += 1
            outputs = [interpreter.get_tensor(one["index"]) for one in interpreter.get_output_details()]
            if done >= BEHAVIOR.get("wrong_from", 10**9) and "true" in (flags["use_gpu"], flags["use_nnapi"]):
                outputs[0] = np.roll(outputs[0], 1, axis=1)
        log(f"count={runs} curr=4000 p5=4000 median=4000 p95=4000" if runs else "count=0 p5=0 median=0 p95=0")
    if flags["output_filepath"] and BEHAVIOR.get("writes", True):
        data = b"".join(np.asarray(one, one.dtype.newbyteorder("<")).tobytes() for one in outputs)
        data = data[: len(data) - BEHAVIOR.get("short", 0)] + bytes(BEHAVIOR.get("long", 0))
        Path(flags["output_filepath"]).write_bytes(data)
    if flags["enable_op_profiling"] == "true":
        Path(flags["op_profiling_output_file"]).write_text(BEHAVIOR.get("profile", ""))
    log("Inference timings in us: Init: 12345, First inference: 9100, Warmup (avg): 5000.5, Inference (avg): 4250.25")


main()
