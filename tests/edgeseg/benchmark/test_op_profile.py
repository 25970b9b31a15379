"""``devices.op_profile``: the profile that TensorFlow Lite's tool writes, parsed, and fetched over adb."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeseg.benchmark.devices.adb import AdbDevice
from edgeseg.benchmark.devices.op_profile import MAX_BYTES, parse_csv
from edgeseg.errors import BackendUnavailable, InputError

START = """\
Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
AllocateTensors, 0.029, 0.029, 100%, 100%, 0, 1, AllocateTensors/0

Number of nodes executed: 1
============================== Summary by node type ==============================
node type, count, avg_ms, avg %, cdf %, mem KB, times called
AllocateTensors, 1, 0.029, 100%, 100%, 0, 1

"""
#: Of a model of which a delegate runs a part; its own ops are reported as ops of the graph, with tabs for commas.
NEWER = f"""\
{START}
Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
Convolution (NHWC, F32) IGEMM, 0.16, 0.2, 20%, 20%, 0, 1, Delegate/Convolution (NHWC\t F32) IGEMM:0
ARG_MAX, 0.9, 0.75, 75%, 95%, 0, 2, [class_map]:58
RESHAPE, 0.1, 0.05, 5%, 100%, 0, 1, [a\t b]:7

============================== Top by Computation Time ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
ARG_MAX, 0.9, 0.75, 75%, 75%, 0, 2, [class_map]:58

Number of nodes executed: 3
============================== Summary by node type ==============================
node type, count, avg_ms, avg %, cdf %, mem KB, times called
ARG_MAX, 1, 0.75, 75%, 75%, 0, 2

Timings (microseconds): count=50 first=1160 curr=990 min=950 max=1200 avg=1000 std=19
Memory (bytes): count=0
3 nodes observed

Delegate internal:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
DelegateOpInvoke, 0.1, 0.1, 100%, 100%, 0, 1, Delegate/kernel:0
"""
#: As older tools write it: the time at which an op starts, and names as they are.
OLDER = f"""\
{START}
Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
node type, start, first, avg_ms, %, cdf%, mem KB, times called, name
CONV_2D, 0, 0.11, 0.0930388, 44.8994%, 44.8994%, 0, 1, [sequential/conv2d/Conv2D]:0
SPLIT, 0.0931277, 0.034, 1.20884e-01, 55.1006%, 100%, 0, 1, [split, split:1]:1
"""


def test_ops_of_the_graph_the_slowest_first() -> None:
    rows = parse_csv(NEWER)
    assert [(op.name, op.kind, op.count, op.milliseconds) for op in rows] == [
        ("[class_map]:58", "ARG_MAX", 2, 0.75),
        ("Delegate/Convolution (NHWC, F32) IGEMM:0", "Convolution (NHWC, F32) IGEMM", 1, 0.2),
        ("[a, b]:7", "RESHAPE", 1, 0.05),
    ]
    assert [op.share for op in rows] == pytest.approx([0.75, 0.2, 0.05])


def test_a_tool_that_also_prints_when_an_op_starts() -> None:
    rows = parse_csv(OLDER)
    assert [(op.name, op.kind, op.milliseconds) for op in rows] == [
        ("[split, split:1]:1", "SPLIT", 0.120884),
        ("[sequential/conv2d/Conv2D]:0", "CONV_2D", 0.0930388),
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no table of 'Operator-wise Profiling Info"),
        (START, "has no table of 'Operator-wise Profiling Info"),
        (
            NEWER.partition("node type, first, avg_ms, %, cdf%, mem KB, times called, name\nConv")[0],
            "has no table|'' names",
        ),
        (NEWER.replace("Conv", "\nConv", 1), "has no op"),
        (NEWER.replace("0.75, 75%, 95%", "0.75, 75, 95%"), "'ARG_MAX, 0.9, 0.75, 75, 95%, .*' is no op"),
        (NEWER.replace("0.75, 75%, 95%", "nan, 75%, 95%"), "has 'nan'; accepted: 0 to 1e.09"),
        (NEWER.replace("0.75, 75%, 95%", "-1, 75%, 95%"), "has '-1'; accepted: 0 to"),
        (NEWER.replace("0.75, 75%, 95%", "٣, 75%, 95%"), "has '٣'; accepted: 0 to"),
        (NEWER.replace("95%, 0, 2, [", "95%, 0, 1e300, ["), "has '1e300'; accepted: 0 to"),
        (NEWER.replace("avg_ms, %", "avg_ms, percent"), "has no column '%'"),
    ],
)
def test_what_is_no_profile(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        parse_csv(text)


def test_a_damaged_profile_is_read_or_refused_in_one_line() -> None:
    rng = random.Random(1)
    refused = 0
    for _ in range(300):
        at = rng.randrange(len(NEWER))
        text = (
            NEWER[:at] + rng.choice(("\x1b[2J", ",", "%", "\n", "\0", "9" * 400, "")) + NEWER[at + rng.randrange(9) :]
        )
        try:
            rows = parse_csv(text)
        except InputError as error:
            assert str(error).isprintable() and len(str(error)) < 400
            refused += 1
        else:
            assert all(op.name.isprintable() and op.kind.isprintable() and 0 <= op.share <= 1 for op in rows)
    assert refused > 30


@pytest.mark.skipif(shutil.which("adb") is None, reason="needs adb (apt install adb)")
def test_a_profile_over_adb(attach: Callable[..., Any], tflite_model: Callable[..., bytes], tmp_path: Path) -> None:
    model = tmp_path / "m.tflite"
    model.write_bytes(tflite_model(["RELU"], [((1, 8, 8, 3), "float32")]))
    phone = attach(runs=True)
    phone.behave(profile=NEWER)
    with AdbDevice(phone.serial) as device:
        assert device.op_times(model, {"num_threads": 2}, num_runs=3) == parse_csv(NEWER)
        flags = phone.calls[0]["flags"]
        assert (flags["num_runs"], flags["min_secs"], flags["num_threads"]) == ("3", "0", "2")
        assert (flags["enable_op_profiling"], flags["op_profiling_output_mode"]) == ("true", "csv")
        phone.behave(profile="x" * (MAX_BYTES + 1))
        with pytest.raises(
            InputError, match=rf"profile of '.*' on device .* has 8388609 bytes; accepted: up to {MAX_BYTES}"
        ):
            device.op_times(model, {}, num_runs=3)
        phone.behave(profile="nothing")
        with pytest.raises(InputError, match=f"adb:{phone.serial}: the profile of benchmark_model is not understood"):
            device.op_times(model, {}, num_runs=3)
        phone.behave(delegated=0, profile=NEWER)
        with pytest.raises(BackendUnavailable, match="nothing of the model ran on 'gpu'"):
            device.op_times(model, {"accelerator": "gpu"}, num_runs=3)
    assert phone.left == []
