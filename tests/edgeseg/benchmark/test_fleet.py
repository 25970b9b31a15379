"""``fleet``: boards at once, devices of one board in turns, and one that is down."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeseg.benchmark import worker
from edgeseg.benchmark.devices.local import LocalDevice
from edgeseg.benchmark.fleet import measure_fleet
from edgeseg.benchmark.measure import Case
from edgeseg.benchmark.plan import Plan
from edgeseg.benchmark.worker import Reply, Request
from edgeseg.errors import DeviceLost, InputError

SHORT = Plan(rounds=2, warmup_runs=1, warmup_min_secs=0, num_runs=1, min_secs=0, verify=False)


class Board(LocalDevice):
    """This machine under another name; says what runs at the same time, and may go down."""

    def __init__(self, name: str, log: list[str], meet: threading.Barrier | None = None, dies: bool = False) -> None:
        super().__init__()
        self.name, self._log, self._meet, self._dies = name, log, meet, dies

    def run(self, request: Request) -> Reply:
        if self._meet is not None:
            self._meet.wait(60)  # reached only if the other board is in its own run
        if self._dies:
            raise DeviceLost("the link was lost.")
        self._log.append(f"+{self.name}")
        reply = worker.measure(request)  # the real runtime, in this process; ``test_ssh_device`` has two boards
        self._log.append(f"-{self.name}")
        return reply


@pytest.fixture
def cases(tflite_model: Callable[..., bytes], tmp_path: Path) -> list[Case]:
    path = tmp_path / "relu.tflite"
    path.write_bytes(tflite_model(["RELU"], [((1, 8, 8, 3), "float32")]))
    return [Case(path, "cpu", {"accelerator": "cpu", "num_threads": 1})]


def test_boards_at_once_and_devices_of_one_board_in_turns(cases: list[Case]) -> None:
    log: list[str] = []
    meet = threading.Barrier(2)  # a timeout is an error, so that boards in turns fail
    boards = [Board("ssh:a", log, meet), Board("ssh:b", log, meet), Board("ssh:c", log, dies=True)]
    twice = [Board("ssh:d", log), Board("ssh:d", log), Board("local", log)]
    seen: list[tuple[int, int]] = []
    fleet = measure_fleet(cases, [*twice[2:], *boards, *twice[:2]], SHORT, progress=lambda *at: seen.append(at))
    assert [result.environment.device for result in fleet.results] == ["local", "ssh:a", "ssh:b", "ssh:d", "ssh:d"]
    assert [(each.device, each.why) for each in fleet.lost] == [("ssh:c", "the link was lost.")]
    of_d = [entry for entry in log if entry.endswith("d")]
    assert of_d == ["+ssh:d", "-ssh:d"] * 4
    assert log[-4:] == ["+local", "-local"] * 2  # this machine, when it drives nobody
    assert seen[-1] == (12, 12)


def test_what_a_fleet_refuses(cases: list[Case]) -> None:
    with pytest.raises(InputError, match="there are 257 devices; accepted: up to 256 at once"):
        measure_fleet(cases, [Board(f"ssh:{n}", []) for n in range(257)], SHORT)
    with pytest.raises(InputError, match=r"model file 'none.tflite' does not exist"):
        measure_fleet([Case(Path("none.tflite"), "cpu", {})], [Board("ssh:a", [])], SHORT)


def test_an_interrupt_ends_every_board(cases: list[Case]) -> None:
    log: list[str] = []

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    many = Plan(rounds=100, warmup_runs=1, warmup_min_secs=0, num_runs=1, min_secs=0, verify=False)
    with pytest.raises(KeyboardInterrupt):
        measure_fleet(cases, [Board("ssh:a", log), Board("ssh:b", log)], many, progress=interrupt)
    assert 1 <= log.count("+ssh:a") <= 2 and log.count("+ssh:b") <= 2
