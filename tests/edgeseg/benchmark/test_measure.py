"""``edgeseg.benchmark``, ``plan``, ``devices.local`` and ``worker``: turns, joining and errors on a scripted device;
then this machine with real models.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import pytest

from edgeseg._internal.files import sha256
from edgeseg.benchmark import worker
from edgeseg.benchmark.devices import open_device
from edgeseg.benchmark.devices.local import LocalDevice
from edgeseg.benchmark.measure import Case, measure, measure_on, pooled
from edgeseg.benchmark.plan import Plan
from edgeseg.benchmark.result import Environment
from edgeseg.benchmark.worker import Reply, Request
from edgeseg.errors import BackendUnavailable, DeviceLost, InputError


class Scripted:
    """Answers with its replies in turn, or raises one."""

    name = "ssh:board"

    def __init__(self, *replies: Reply | Exception) -> None:
        self.replies = list(replies)
        self.requests: list[Request] = []
        self.put_there: list[tuple[Path, str]] = []
        self.closed = 0

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.closed += 1

    def put(self, path: Path, digest: str) -> str:
        self.put_there.append((path, digest))
        return f"/there/{path.name}"

    def run(self, request: Request) -> Reply:
        self.requests.append(request)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply


def reply(*latencies_s: float, load: float = 0.0, heat: tuple[float, ...] = (40.0, 45.0), peak: int = 5) -> Reply:
    place = Environment(device="local", machine="Cortex", system="Linux", cpus=4, load=load, temperature_c=heat)
    return Reply(
        runtime="runtime 1", environment=place, init_s=0.1, first_s=0.2, latencies_s=latencies_s, peak_memory_bytes=peak
    )


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    for name in ("a.tflite", "b.tflite", "c.tflite"):
        (tmp_path / name).write_bytes(name.encode())
    return sorted(tmp_path.iterdir())


def test_cases_take_turns_in_every_round(files: list[Path]) -> None:
    device = Scripted(*[reply(0.01)] * 12)
    told: list[tuple[int, int]] = []
    plan = Plan(rounds=4, num_runs=10, min_secs=2.0, max_secs=8.0)
    cases = [Case(path, "cpu", {"num_threads": 2}) for path in files]
    measure(cases, device, plan, progress=lambda done, total: told.append((done, total)))
    orders = [[r.path for r in device.requests[turn : turn + 3]] for turn in range(0, 12, 3)]
    assert all(sorted(order) == [f"/there/{path.name}" for path in files] for order in orders)
    assert len({tuple(order) for order in orders}) > 1  # what comes first is not always the same
    first = device.requests[0]
    # What is asked for is divided among the processes, rounded up.
    assert (first.num_runs, first.min_secs, first.max_secs, first.options) == (3, 0.5, 2.0, {"num_threads": 2})
    assert told == [(done, 12) for done in range(1, 13)]
    assert device.put_there == [(path, sha256(path.read_bytes())) for path in files]
    assert device.closed == 1


def test_the_processes_are_joined(files: list[Path]) -> None:
    device = Scripted(reply(0.010, 0.011, heat=(40, 45)), reply(0.020, load=0.5, heat=(50, 60), peak=9))
    (result,) = measure([Case(files[0], "gpu", {"num_threads": None})], device, Plan(rounds=2))
    assert (result.latencies_s, result.rounds) == ((0.010, 0.011, 0.020), (2, 1))
    assert (result.init_s, result.first_s, result.peak_memory_bytes) == ((0.1, 0.1), (0.2, 0.2), 9)
    assert (result.artifact, result.size_bytes, result.num_threads) == ("a.tflite", 8, 0)
    assert result.environment.device == "ssh:board"  # as the user reaches it, not as it calls itself
    assert (result.environment.load, result.environment.temperature_c) == (0.5, (40, 60))
    assert [text.split(":")[0] for text in result.warnings] == ["wide spread", "the processes disagree", "busy machine"]


def test_measurements_one_after_the_other_are_pooled_to_one_of_all(files: list[Path]) -> None:
    replies = [reply(0.01, 0.011, load=0.0, peak=5), reply(0.02, load=0.2, heat=(50.0, 60.0), peak=7)]
    told = dataclasses.replace(replies[0], warnings=("the device says so",))
    case, plan = Case(files[0], "cpu"), Plan(rounds=1)
    together = measure([case], Scripted(told, replies[1]), Plan(rounds=2))[0]
    device = Scripted(told, replies[1])
    singles = [measure_on([case], device, plan)[0] for _ in replies]
    assert device.closed == 0  # whoever entered it leaves it
    assert dataclasses.replace(pooled(singles), warmup_runs=together.warmup_runs) == together
    # A single process disagrees with no other, and a warning of it alone is none of both.
    assert any(text.startswith("the processes disagree") for text in together.warnings)
    assert "the device says so" in together.warnings
    assert pooled(singles[:1]) == singles[0]


def test_a_sustained_run_says_how_it_ended(files: list[Path]) -> None:
    device = Scripted(reply(*[0.010] * 50, *[0.015] * 50))
    plan = Plan.sustained(0.5)
    (result,) = measure([Case(files[0], "cpu")], device, plan)
    assert (device.requests[0].min_secs, device.requests[0].max_secs, plan.rounds) == (30, 30, 1)
    assert result.warnings[-1].startswith("drift +50.0 %")


@pytest.mark.parametrize("error", [DeviceLost("gone"), BackendUnavailable("no GPU"), InputError("broken")])
def test_the_device_is_closed_after_an_error(files: list[Path], error: Exception) -> None:
    device = Scripted(reply(0.01), error)
    with pytest.raises(type(error), match=str(error)):
        measure([Case(files[0], "cpu")], device, Plan(rounds=3))
    assert device.closed == 1


def test_a_missing_file_is_said_before_the_device_is_opened(tmp_path: Path) -> None:
    device = Scripted()
    with pytest.raises(InputError, match=r"'.*none.tflite' does not exist"):
        measure([Case(tmp_path / "none.tflite", "cpu")], device)
    assert device.closed == 0


def test_this_machine(tmp_path: Path, tflite_model: Callable[..., bytes]) -> None:
    shape = (1, 64, 64, 3)
    for name, ops in {"one": ["ABS"], "many": ["ABS", "NEG"] * 10}.items():
        (tmp_path / f"{name}.tflite").write_bytes(tflite_model(ops, [(shape, "float32")]))
    cases = [Case(tmp_path / f"{name}.tflite", "cpu", {"num_threads": 1}) for name in ("one", "many")]
    plan = Plan(rounds=2, num_runs=20, min_secs=0.0, warmup_min_secs=0.0)
    for result in measure(cases, LocalDevice(), plan):
        assert result.rounds == (10, 10)
        assert len(result.init_s) == len(result.first_s) == 2
        assert min(*result.init_s, *result.first_s) > 0
        assert 0 <= (result.peak_memory_bytes or 0) < 100e6  # of the model alone, without Python and LiteRT
        assert "litert" in result.runtime
        assert (result.environment.device, result.num_threads) == ("local", 1)


def test_a_system_that_does_not_say_the_peak(
    tmp_path: Path, tflite_model: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "status").write_text("Name:\tpython\nVmRSS:\t  1000 kB\n")
    (tmp_path / "one.tflite").write_bytes(tflite_model(["ABS"], [((1, 8, 8, 3), "float32")]))
    monkeypatch.setattr(worker, "_STATUS", tmp_path / "status")
    request = Request(path=str(tmp_path / "one.tflite"), warmup_min_secs=0, num_runs=2, min_secs=0)
    assert worker.measure(request).peak_memory_bytes is None


def test_a_broken_model_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"not a model")
    with pytest.raises(InputError, match=r"broken\.tflite"):
        measure([Case(tmp_path / "broken.tflite", "cpu")], LocalDevice(), Plan(rounds=1))


def test_a_process_that_dies_is_a_lost_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a driver's crash would end it; the signal is named."""
    (tmp_path / "m.tflite").write_bytes(b"")
    (tmp_path / "sitecustomize.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(DeviceLost, match=r"m.tflite' ended early, killed by SIGSEGV"):
        LocalDevice().run(Request(path=str(tmp_path / "m.tflite")))


def test_a_process_that_ends_with_an_error_shows_its_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os; os.write(2, b'first\\nno memory\\n'); os._exit(3)")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(DeviceLost, match=r"exit status 3: no memory\."):
        LocalDevice().run(Request(path=f"{os.sep}m.tflite"))


def test_an_unknown_device() -> None:
    with pytest.raises(InputError, match=r"unknown device 'bluetooth'.*Accepted: .*local"):
        open_device("bluetooth")
