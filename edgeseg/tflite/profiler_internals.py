"""Reach the profiler of LiteRT's library, which its Python package does not offer: the one door to it.

``libLiteRt.so`` exports the C functions of ``litert/c`` in google-ai-edge/LiteRT, and promises no ABI across versions.
The names below, their arguments and the layout of an event were seen in ai-edge-litert 2.2.0 and 2.3.0 on x86-64 and
aarch64; 2.1 has other arguments. So this is used in a process of its own, refuses versions before ``MIN_VERSION``, and
checks what comes back: the events fill exactly the memory that their layout says, are of known kinds, and take about
as long as the run that they are of. ``tests/edgeseg/tflite/test_profiler_internals.py`` says where to look when one of
these is gone.
"""

from __future__ import annotations

import ctypes
import re
import sys
import time
from collections.abc import Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_size_t, c_uint64, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeseg._internal.versions import installed_version
from edgeseg.errors import BackendUnavailable, missing_extra
from edgeseg.tflite.cpu import NO_LSE, Cpu

#: The first version with these arguments.
MIN_VERSION = (2, 2)

_LIBRARIES = {"win32": "libLiteRt.dll", "darwin": "libLiteRt.dylib"}
_CPU = 1  # kLiteRtHwAcceleratorCpu
_WRITE = 1  # kLiteRtTensorBufferLockModeWrite

# Options are no functions of the library but TOML, under these identifiers.
_RUNTIME_OPTIONS, _CPU_OPTIONS = b"runtime_options_string", b"xnnpack"

# Kinds of events (tflite::Profiler::EventType): an op of TFLite's own, and one inside a delegate. Other kinds are whole
# runs, which have these inside, and reports of settings, whose durations are no durations.
_OWN_OP, _DELEGATED_OP = 2, 8
_KINDS = {1 << bit for bit in range(9)}

# LiteRtRankedTensorType has 72 bytes; it is only passed on.
_TYPE_BYTES = 256
_SENTINEL = 0xA5

# What the ops of a run may take together, as a share of its time: 0.994 to 0.998 was seen. A clock of whole
# microseconds adds one for each event, and a run's own work, of buffers, is up to half a millisecond on a busy machine.
_LEAST, _MOST, _RUN_US = 0.5, 1.1, 500


class _Event(ctypes.Structure):
    """``ProfiledEventData`` of litert/c/litert_profiler_event.h: 104 bytes, with the memory before and after."""

    _fields_ = (
        ("tag", c_char_p),
        ("kind", c_int),
        ("start_us", c_uint64),
        ("elapsed_us", c_uint64),
        ("memory", c_int64 * 6),
        ("node", c_uint64),
        ("graph", c_uint64),
        ("source", c_int),
    )


@dataclass(frozen=True, kw_only=True)
class OpEvent:
    """An op that was run.

    Attributes:
        name: TFLite's own op (``ARG_MAX``), or the delegate's with its kernel (``Fully Connected (NC, F32) GEMM``).
        delegated: whether the delegate ran it.
        index: of the node in the file; of a delegated op, its place in its partition, from 0 in each.
        graph: the number of the graph in the file that an op of TFLite's own is in.
        us: how long it took, in microseconds.
    """

    name: str
    delegated: bool
    index: int
    graph: int
    us: int


@dataclass(frozen=True)
class ProfiledRun:
    """A run of a model: its ops in the order in which they ran, and the time of the whole call in microseconds."""

    ops: tuple[OpEvent, ...]
    wall_us: float


class ProfiledModel:
    """A TFLite model that LiteRT runs on the CPU with its profiler."""

    def __init__(self, content: bytes, *, num_threads: int) -> None:
        """Open a model.

        Args:
            content: a whole ``.tflite`` file, whose sizes are fixed.
            num_threads: of XNNPACK.

        Raises:
            BackendUnavailable: LiteRT is not installed, too old, without these functions, or does not run here.
        """
        self._library = _library()
        self._kept: list[Any] = [content]  # what LiteRT only points to
        environment = self._made("LiteRtCreateEnvironment", 0, None)
        self._environment = environment
        self._file = self._made("LiteRtCreateModelFromBuffer", environment, content, c_size_t(len(content)))
        options = self._made("LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
        self._add(options, _RUNTIME_OPTIONS, b"enable_profiling = true\n")
        self._add(options, _CPU_OPTIONS, f"num_threads = {num_threads}\n".encode())
        self._model = self._made("LiteRtCreateCompiledModel", environment, self._file, options)
        # Not LiteRtCreateProfiler, which makes one that no model writes to.
        self._profiler = self._made("LiteRtCompiledModelGetProfiler", self._model)
        self._signature = self._made("LiteRtGetModelSignature", self._file, c_size_t(0))
        self._taken, self._given = self._buffers("Input"), self._buffers("Output")

    def write(self, number: int, data: bytes) -> None:
        """Write an input, as many bytes as it has."""
        buffer = c_void_p(self._taken[number])
        size = c_size_t()
        self._call("LiteRtGetTensorBufferPackedSize", buffer, byref(size))
        if size.value != len(data):
            raise _changed(f"an input of {len(data)} bytes has {size.value}")
        address = c_void_p()
        self._call("LiteRtLockTensorBuffer", buffer, byref(address), _WRITE)
        ctypes.memmove(address, data, len(data))
        self._call("LiteRtUnlockTensorBuffer", buffer)

    def run(self) -> ProfiledRun:
        """Run once, and return the ops that ran.

        Raises:
            BackendUnavailable: what the profiler says is not what this module knows.
        """
        places = [_array(buffers) for buffers in (self._taken, self._given)]
        sized = [value for buffers in places for value in (c_size_t(len(buffers)), buffers)]
        self._call("LiteRtResetProfiler", self._profiler)
        self._call("LiteRtStartProfiler", self._profiler)
        start = time.perf_counter()
        self._call("LiteRtRunCompiledModel", self._model, c_size_t(0), *sized)
        wall_us = (time.perf_counter() - start) * 1e6
        self._call("LiteRtStopProfiler", self._profiler)
        count = c_int()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, byref(count))
        if not 0 < count.value < 1 << 20:
            raise _changed(f"it counts {count.value} events")
        size = count.value * ctypes.sizeof(_Event)
        memory = (ctypes.c_ubyte * (2 * size))(*[_SENTINEL] * (2 * size))
        self._call("LiteRtGetProfilerEvents", self._profiler, count, memory)
        # The last four bytes of an event are padding, which need not be written.
        if bytes(memory[size:]).strip(bytes([_SENTINEL])) or all(byte == _SENTINEL for byte in memory[size - 8 : size]):
            raise _changed(f"its events are not of {ctypes.sizeof(_Event)} bytes")
        return ProfiledRun(_ops(ctypes.cast(memory, POINTER(_Event))[: count.value]), wall_us)

    def close(self) -> None:
        """Release the model."""
        for buffer in (*self._taken, *self._given):
            self._library.LiteRtDestroyTensorBuffer(c_void_p(buffer))
        self._library.LiteRtDestroyCompiledModel(self._model)
        self._library.LiteRtDestroyModel(self._file)
        self._library.LiteRtDestroyEnvironment(self._environment)

    def _call(self, name: str, *arguments: Any) -> None:
        status = _function(self._library, name)(*arguments)
        if status:
            raise BackendUnavailable(f"LiteRT's {name} fails with status {status}: it does not run this model so.")

    def _made(self, name: str, *arguments: Any) -> c_void_p:
        """Call a function whose last argument is where it writes the handle of what it made."""
        handle = c_void_p()
        self._call(name, *arguments, byref(handle))
        if not handle:
            raise _changed(f"{name} makes nothing")
        return handle

    def _add(self, options: c_void_p, identifier: bytes, text: bytes) -> None:
        """Add options as a text that LiteRT parses when it compiles; it frees the text by what it is given."""
        payload = ctypes.create_string_buffer(text)
        destructor = ctypes.CFUNCTYPE(None, c_void_p)(lambda _: None)
        self._kept += [payload, destructor]
        self._call(
            "LiteRtAddOpaqueOptions", options, self._made("LiteRtCreateOpaqueOptions", identifier, payload, destructor)
        )

    def _buffers(self, side: str) -> list[int]:
        """Make a buffer for each input or output."""
        count = c_size_t()
        self._call(f"LiteRtGetNumSignature{side}s", self._signature, byref(count))
        buffers = []
        for number in range(count.value):
            place = c_size_t(number)
            kind = ctypes.create_string_buffer(_TYPE_BYTES)
            tensor = self._made(f"LiteRtGetSignature{side}TensorByIndex", self._signature, place)
            self._call("LiteRtGetRankedTensorType", tensor, kind)
            needs = self._made(f"LiteRtGetCompiledModel{side}BufferRequirements", self._model, c_size_t(0), place)
            made = self._made("LiteRtCreateManagedTensorBufferFromRequirements", self._environment, kind, needs)
            buffers.append(made.value or 0)
        return buffers


def _array(handles: Sequence[int]) -> Any:
    return (c_void_p * len(handles))(*handles)


def _function(library: ctypes.CDLL, name: str) -> Any:
    try:
        return getattr(library, name)
    except AttributeError as error:
        raise _changed(f"it has no {name}") from error


def _library() -> ctypes.CDLL:
    """Load the library of the installed package.

    Raises:
        BackendUnavailable: see ``ProfiledModel``.
    """
    version = installed_version("ai-edge-litert")
    if version is None:
        raise missing_extra("a profile of a .tflite", "tflite")
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if numbers < MIN_VERSION:
        needed = ".".join(map(str, MIN_VERSION))
        raise BackendUnavailable(
            f"ai-edge-litert {version} has no profiler that can be reached; needed: {needed} or newer. Install it "
            'with: pip install --upgrade "edgeseg[tflite]"'
        )
    if Cpu.here().lse is False:
        raise BackendUnavailable(
            f"{NO_LSE}, and the profile is that of its profiler; a board with a newer CPU has one."
        )
    import ai_edge_litert

    name = _LIBRARIES.get(sys.platform, "libLiteRt.so")
    try:
        return ctypes.CDLL(str(Path(ai_edge_litert.__file__).with_name(name)))
    except OSError as error:
        raise _changed(f"{name} is not there or does not load") from error


def _changed(what: str) -> BackendUnavailable:
    return BackendUnavailable(
        f"ai-edge-litert {installed_version('ai-edge-litert')} has another profiler than edgeseg knows: {what}. "
        'Install a version that it knows: pip install "ai-edge-litert==2.3.0"'
    )


def require_sums(runs: Sequence[ProfiledRun]) -> None:
    """Refuse runs whose ops do not take about as long as the whole run does: what was read are no durations.

    Args:
        runs: after the first, in which LiteRT also prepares the weights.

    Raises:
        BackendUnavailable: they do not.
    """
    odd = sorted(runs, key=_share)[len(runs) // 2]  # the median: one run may be interrupted between two ops
    sum_us = sum(op.us for op in odd.ops)
    if not _LEAST <= _share(odd) <= _MOST:
        raise _changed(f"the ops of a run of {odd.wall_us:.0f} us take {sum_us} us")


def _share(run: ProfiledRun) -> float:
    """Return the ops' share of a run, in which the clock's whole microseconds and the run's own work count for them."""
    sum_us = sum(op.us for op in run.ops)
    slack_us = len(run.ops) + _RUN_US
    return min(max(1.0, (sum_us - slack_us) / run.wall_us), (sum_us + slack_us) / run.wall_us)


def _ops(events: Sequence[_Event]) -> tuple[OpEvent, ...]:
    """Return the ops among the events of a run.

    Raises:
        BackendUnavailable: an event is not what it is taken for.
    """
    odd = next((event for event in events if event.kind not in _KINDS), None)
    if odd is not None:
        raise _changed(f"an event is of kind {odd.kind}")
    return tuple(
        OpEvent(
            name=(event.tag or b"").decode("utf-8", "replace"),
            delegated=event.kind == _DELEGATED_OP,
            index=event.node,
            graph=event.graph,
            us=event.elapsed_us,
        )
        for event in events
        if event.kind in (_OWN_OP, _DELEGATED_OP)
    )
