"""Read which op of a ``.tflite`` takes the time on a device: the profile of TensorFlow Lite's ``benchmark_model``.

With ``op_profiling_output_mode=csv`` the tool writes tables (``profile_summary_formatter.cc``,
``stats_calculator.cc``): of its start, and below ``Operator-wise Profiling Info for Regular Benchmark Runs:`` of its
timed calls. A table has its title between equal signs, a line of names, and a line for each op, up to an empty one::

    ============================== Run Order ==============================
    node type, first, avg_ms, %, cdf%, mem KB, times called, name
    CONV_2D, 0.11, 0.093, 44.9%, 44.9%, 0, 1, [sequential/conv2d/Relu]:0

It is no CSV that a reader of CSV understands: a kind such as ``Convolution (NHWC, F32) IGEMM`` has commas. So has a
name in older tools, which have a column ``start`` more; newer ones write tabs for them. The two columns in percent are
found in each line.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeseg._internal.fields import short_repr
from edgeseg._internal.files import sha256
from edgeseg._internal.text import escaped
from edgeseg.benchmark.devices import benchmark_model
from edgeseg.benchmark.devices.tool_backend import Link
from edgeseg.benchmark.worker import Request
from edgeseg.errors import EdgesegError, InputError
from edgeseg.runtime.artifact import read_tflite
from edgeseg.runtime.options import RuntimeOptions

#: Bytes of a profile: three tables of the ops of a model of some thousand, with their names.
MAX_BYTES = 8 << 20

_RUNS = "Operator-wise Profiling Info for Regular Benchmark Runs:"
_TITLE, _COLUMNS = "= Run Order =", "node type"
#: Characters of a name: the tool joins the names of all outputs of a node.
_MOST_IN_NAME = 1 << 12
# Seconds that the timed calls may take together.
_MAX_SECS = 600.0
_MOST_MS, _MOST_CALLS = 1e9, 2**31


@dataclass(frozen=True, kw_only=True)
class OpTime:
    """One op of the graph as the tool runs it, after what a delegate fused.

    Attributes:
        name: of the op: the tensors that it writes and its number in the graph, ``[conv2d/Relu]:0``.
        kind: what it is: an op of TFLite's (``CONV_2D``), a delegate that runs a part of the graph, or one of a
            delegate's own that it reports.
        count: how often it is called in a run of the model.
        milliseconds: of its calls in a run, the mean over runs; the profile itself takes a part of it.
        share: of the time of all ops, in [0, 1].
    """

    __repr__ = short_repr

    name: str
    kind: str
    count: int
    milliseconds: float
    share: float


def op_times(device: Link, artifact: Path, options: Mapping[str, Any], *, num_runs: int = 50) -> tuple[OpTime, ...]:
    """Profile an artifact on a device, in one process of its tool.

    Args:
        device: has the tool; entered already.
        artifact: a ``.tflite`` file of this computer.
        options: keywords of ``edgeseg.runtime.open_backend``.
        num_runs: timed calls, after the tool's own warm-up.

    Returns:
        The ops, the slowest first.

    Raises:
        InputError: the artifact or a setting is wrong, or the tool wrote no profile.
        BackendUnavailable: the tool gives no profile, or the accelerator took nothing.
        DeviceLost: the device went away, or the tool died.
    """
    RuntimeOptions(**options).choose(artifact)
    content = read_tflite(artifact)[1]
    name = "profile.csv"
    request = Request(
        path=device.put(artifact, sha256(content)),
        options=dict(options),
        num_runs=num_runs,
        min_secs=0.0,
        max_secs=_MAX_SECS,
    )
    flags = {
        "enable_op_profiling": "true",
        "op_profiling_output_mode": "csv",
        "op_profiling_output_file": device.folder.path_of(name),
    }
    text, accelerator = device.execute(request, flags)
    try:
        benchmark_model.require_run(text, accelerator, num_runs)
        data = device.folder.read(name, most_bytes=MAX_BYTES, what=f"the profile of '{artifact}'")
        device.folder.remove(name)
        return parse_csv(data.decode(errors="replace"))
    except EdgesegError as error:
        raise type(error)(f"{device.name}: {error}") from error


def parse_csv(text: str) -> tuple[OpTime, ...]:
    """Read the ops of the main graph from a profile, the slowest first.

    What a delegate reports of its inside, in a table of its own, is not among them.

    Args:
        text: what the tool wrote; what calls this bounds its length.

    Raises:
        InputError: it is no such profile; the text has the line.
    """
    _, found, runs = text.partition(_RUNS)
    _, titled, table = runs.partition(_TITLE)
    if not found or not titled:
        raise InputError(f"the profile of benchmark_model is not understood: it has no table of '{_RUNS[:-1]}'.")
    lines = table.splitlines()[1:]
    if not lines or not lines[0].startswith(_COLUMNS):
        raise InputError(f"the profile of benchmark_model is not understood: '{_shown(lines[:1])}' names no columns.")
    numbers = [column.strip() for column in lines[0].split(",")]
    if "%" not in numbers:
        raise InputError(f"the profile of benchmark_model is not understood: '{_shown(lines[:1])}' has no column '%'.")
    rows = []
    for line in lines[1:]:
        if not line.strip():
            break
        rows.append(_row(line, numbers.index("%")))
    if not rows:
        raise InputError("the profile of benchmark_model has no op.")
    total = sum(ms for *_, ms in rows) or 1.0
    times = (
        OpTime(name=name, kind=kind, count=count, milliseconds=ms, share=ms / total) for name, kind, count, ms in rows
    )
    return tuple(sorted(times, key=lambda op: -op.milliseconds))


def _row(line: str, place: int) -> tuple[str, str, int, float]:
    """Return name, kind, count and milliseconds of a line.

    Args:
        line: its columns after the kind are numbers up to the name; the mean is before the two in percent.
        place: of the first column in percent, where the kind has no comma.
    """
    columns = [column.strip() for column in line.split(",")]
    percents = [column.endswith("%") for column in columns]
    at = next((i for i in range(place, len(columns) - 4) if percents[i] and percents[i + 1]), None)
    if at is None:
        raise InputError(f"the profile of benchmark_model is not understood: '{_shown([line])}' is no op.")
    kind, name = ", ".join(columns[: at - place + 1]), ", ".join(columns[at + 4 :]).replace("\t", ",")
    ms, count = _number(columns[at - 1], _MOST_MS, line), _number(columns[at + 3], _MOST_CALLS, line)
    return escaped(name, most=_MOST_IN_NAME), escaped(kind, most=_MOST_IN_NAME), int(count), ms


def _number(text: str, most: float, line: str) -> float:
    try:
        value = float(text) if text.isascii() else math.nan
    except ValueError:
        value = math.nan
    if not 0 <= value <= most:
        raise InputError(
            f"the profile of benchmark_model is not understood: '{_shown([line])}' has '{escaped(text, most=40)}'; "
            f"accepted: 0 to {most:g}."
        )
    return value


def _shown(lines: list[str]) -> str:
    return escaped("".join(lines), most=100)
