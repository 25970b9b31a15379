"""Measure on a fleet: all boards at once, one measurement at a time on each; a board that is down holds up no other.

Two devices of a table that are one board, such as two environments of one host, take turns. This machine drives the
others, so that it measures what is on itself when they are done.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from edgeseg._internal.fields import short_repr
from edgeseg._internal.progress import Progress
from edgeseg.benchmark.measure import Case, Device, measure
from edgeseg.benchmark.plan import Plan
from edgeseg.benchmark.result import LatencyResult, Lost
from edgeseg.errors import EdgesegError, InputError

#: Boards of the largest fleet: each has a thread here, and connections.
MAX_BOARDS = 256

# What runs on this machine: here, and in the browser that opens its page.
_HERE = ("local", "web")


@dataclass(frozen=True)
class FleetResult:
    """What the devices of a fleet gave.

    Attributes:
        results: of all devices, in the order of the devices.
        lost: the devices that gave none, each with the reason.
    """

    __repr__ = short_repr

    results: tuple[LatencyResult, ...]
    lost: tuple[Lost, ...] = ()


def measure_fleet(
    cases: Sequence[Case], devices: Sequence[Device], plan: Plan | None = None, *, progress: Progress | None = None
) -> FleetResult:
    """Measure every case on every device.

    Args:
        cases: what to measure.
        devices: where; each is opened here.
        plan: how long and how often.
        progress: called with processes done and in all, of all devices together.

    Raises:
        InputError: a file is missing, or there are too many devices. What goes wrong on a device is in the result.
    """
    plan = plan or Plan()
    if len(devices) > MAX_BOARDS:
        raise InputError(f"there are {len(devices)} devices; accepted: up to {MAX_BOARDS} at once.")
    for case in cases:
        if not case.artifact.is_file():
            raise InputError(f"model file '{case.artifact}' does not exist.")
    fleet = _Fleet(cases, plan, len(devices), progress)
    boards = _boards(devices)
    here = boards.pop(_HERE[0], [])
    if boards:
        with ThreadPoolExecutor(max_workers=len(boards), thread_name_prefix="board") as threads:
            running = [threads.submit(fleet.measure, board) for board in boards.values()]
            try:
                for each in running:
                    each.result()
            except BaseException:  # Ctrl-C: each board is left after the process that runs there
                fleet.stopped.set()
                raise
    fleet.measure(here)
    return fleet.result()


def _boards(devices: Sequence[Device]) -> dict[str, list[tuple[int, Device]]]:
    """Return the devices by their board, each with its place in the order."""
    boards: dict[str, list[tuple[int, Device]]] = {}
    # 'adb' alone is the one phone that is there, whatever its serial number.
    one_phone = any(device.name == "adb" for device in devices)
    for number, device in enumerate(devices):
        name = device.name
        if name in _HERE:
            name = _HERE[0]
        elif name.startswith("adb") and one_phone:
            name = "adb"
        boards.setdefault(name, []).append((number, device))
    return boards


class _Stopped(Exception):
    """The caller ends."""


class _Fleet:
    """The work of all boards, and what they gave so far."""

    def __init__(self, cases: Sequence[Case], plan: Plan, num_devices: int, progress: Progress | None) -> None:
        self.stopped = threading.Event()
        self._cases, self._plan, self._progress = cases, plan, progress
        self._lock = threading.Lock()
        self._done, self._total = [0] * num_devices, num_devices * plan.rounds * len(cases)
        self._results: dict[int, list[LatencyResult]] = {}
        self._lost: dict[int, Lost] = {}

    def measure(self, board: Sequence[tuple[int, Device]]) -> None:
        """Measure on the devices of one board, one after the other."""
        for number, device in board:
            try:
                results = measure(self._cases, device, self._plan, progress=self._progress_of(number))
            except EdgesegError as error:
                with self._lock:
                    self._lost[number] = Lost(device.name, " ".join(str(error).split())[:1000])
                self._progress_of(number)(self._plan.rounds * len(self._cases), 0)
            except _Stopped:
                return
            else:
                with self._lock:
                    self._results[number] = results

    def result(self) -> FleetResult:
        """Return what all gave, in the order of the devices."""
        return FleetResult(
            tuple(result for _, results in sorted(self._results.items()) for result in results),
            tuple(lost for _, lost in sorted(self._lost.items())),
        )

    def _progress_of(self, number: int) -> Progress:
        def update(done: int, _: int) -> None:
            if self.stopped.is_set():
                raise _Stopped
            with self._lock:
                self._done[number] = done
                if self._progress is not None:
                    self._progress(sum(self._done), self._total)

        return update
