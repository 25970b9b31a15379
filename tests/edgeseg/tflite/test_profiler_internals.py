"""What LiteRT's library does not promise to keep and the profile reaches: each test says where to look when it is gone.

Every run is in a process of its own, as the profile's is: a wrong argument of a C function ends it.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import edgeseg
from edgeseg.errors import BackendUnavailable
from edgeseg.models.packaged_files import find_file
from edgeseg.tflite import profiler_internals
from edgeseg.tflite.cpu import Cpu
from edgeseg.tflite.profiler_internals import OpEvent, ProfiledRun, _Event, _ops, require_sums

LOOK = "look at litert/c of the release in google-ai-edge/LiteRT, and at what the library exports (nm -D libLiteRt.so)"

RUN = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from edgeseg.tflite.profiler_internals import ProfiledModel
model = ProfiledModel(Path(sys.argv[1]).read_bytes(), num_threads=1)
model.write(0, bytes(int(sys.argv[2])))
runs = [model.run() for _ in range(int(sys.argv[3]))]
model.close()
print(json.dumps([asdict(run) for run in runs]))
"""


def run(path: Path, num_bytes: int, count: int) -> list[dict[str, Any]]:
    command = [sys.executable, "-c", RUN, str(path), str(num_bytes), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"the profiler is another one; {LOOK}:\n{done.stderr[-2000:]}"
    runs: list[dict[str, Any]] = json.loads(done.stdout)
    return runs


def test_every_op_of_the_packaged_model_is_timed_and_they_are_the_run() -> None:
    runs = run(find_file("efficientnet_lite0_unet.int8"), 384 * 480 * 3, 12)[3:]
    for one in runs:
        own = [(op["name"], op["index"], op["graph"]) for op in one["ops"] if not op["delegated"]]
        assert own == [("QUANTIZE", 0, 0), ("ARG_MAX", 90, 0), ("CAST", 91, 0)], f"indices are no nodes; {LOOK}"
        inside = [op["index"] for op in one["ops"] if op["delegated"]]
        assert inside == list(range(89)), f"XNNPACK's operators do not come in order; {LOOK}"
    # 0.99 was seen; on a machine with ten other jobs 0.88 in the median, as they interrupt a run between two ops, too.
    # So the least interrupted run counts for the lower end, and each run for the upper.
    shares = [sum(op["us"] for op in one["ops"]) / one["wall_us"] for one in runs]
    assert 0.9 < max(shares) < 1.1, f"durations are no microseconds; {LOOK}"


def test_a_model_without_a_signature(tflite_model: Callable[..., bytes], tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(tflite_model(["ABS", "NEG"], [((1, 4, 4, 3), "float32")]))
    (one,) = run(path, 4 * 4 * 3 * 4, 1)
    assert len(one["ops"]) == 2


def test_an_event_has_the_layout_of_the_header() -> None:
    # A pointer, an enum, two times, six numbers of memory, two of metadata, an enum; 8 bytes each, with padding.
    assert ctypes.sizeof(_Event) == 104


def test_an_unknown_kind_of_event_is_refused() -> None:
    with pytest.raises(
        BackendUnavailable, match=r"another profiler than edgeseg knows: an event is of kind 3\. Install"
    ):
        _ops([_Event(tag=b"ADD", kind=2), _Event(tag=b"ADD", kind=3)])


def test_an_event_that_is_no_op_is_none() -> None:
    events = [
        _Event(tag=b"Invoke", kind=1, elapsed_us=9),
        _Event(tag=b"ADD", kind=2, elapsed_us=5, node=4),
        _Event(tag=b"Clamp (NC)", kind=8, elapsed_us=3),
        _Event(tag=b"Invoke", kind=32, elapsed_us=1 << 32),
    ]
    own, inside = _ops(events)
    assert own == OpEvent(name="ADD", delegated=False, index=4, graph=0, us=5)
    assert inside == OpEvent(name="Clamp (NC)", delegated=True, index=0, graph=0, us=3)


def _run(us: int, wall_us: float) -> ProfiledRun:
    return ProfiledRun((OpEvent(name="ADD", delegated=False, index=0, graph=0, us=us),), wall_us)


@pytest.mark.parametrize("us", [4_000, 1_000_000])
def test_times_that_are_none_are_refused(us: int) -> None:
    with pytest.raises(BackendUnavailable, match=rf"the ops of a run of 10000 us take {us} us"):
        require_sums([_run(9_900, 10_000), _run(us, 10_000), _run(us, 10_000)])


def test_one_interrupted_run_and_runs_of_microseconds_pass() -> None:
    require_sums([_run(9_900, 10_000), _run(9_900, 40_000), _run(9_900, 10_000)])
    require_sums([_run(3, 200.0)])  # what LiteRT does beside the ops counts for more than the ops
    require_sums([_run(60, 40.0)])


def test_an_older_version_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiler_internals, "installed_version", lambda package: "2.1.4")
    with pytest.raises(BackendUnavailable, match=r"^ai-edge-litert 2\.1\.4 has no profiler .*needed: 2\.2 or newer"):
        profiler_internals._library()


def test_a_device_without_litert(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiler_internals, "installed_version", lambda package: None)
    with pytest.raises(BackendUnavailable, match=r"pip install \"edgeseg\[tflite\]\""):
        profiler_internals._library()


def test_a_library_without_the_function_is_refused_in_one_line() -> None:
    with pytest.raises(BackendUnavailable, match=r"it has no LiteRtNothing\. Install a version that it knows"):
        profiler_internals._function(ctypes.CDLL(None), "LiteRtNothing")


def test_a_cpu_on_which_litert_dies_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cpu, "here", lambda: Cpu("aarch64", False, False))
    with pytest.raises(BackendUnavailable, match=r"no atomic instructions \(LSE, .*; a board with a newer CPU has one"):
        profiler_internals._library()
    for lse in (True, None):
        monkeypatch.setattr(Cpu, "here", lambda lse=lse: Cpu("aarch64", False, lse))
        assert profiler_internals._library()


def test_the_door_is_the_only_one() -> None:
    folder = Path(edgeseg.__file__).parent
    reaching = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        if "LiteRtCompiledModelGetProfiler" in path.read_text(encoding="utf-8")
    }
    assert reaching == {"tflite/profiler_internals.py"}
