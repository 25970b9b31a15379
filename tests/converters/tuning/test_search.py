"""``search``: who goes after a turn, and who is chosen of those that are left, on latencies of known distributions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgeseg.benchmark.result import Environment, LatencyResult
from edgeseg.errors import BackendUnavailable, InputError
from edgeseg_converters.tuning.search import STAGE, Search, choose, halved, how_slow, search, why_not


def result(
    ms: float, *, seed: int = 0, size: int = 1_000_000, threads: int = 1, processes: int = 12, load: float = 0.0
) -> LatencyResult:
    """Processes of ten calls each, whose fastest agree within a percent, as on a quiet machine."""
    calls = ms / 1e3 * (1 + 0.02 * np.random.default_rng(seed).random((processes, 10)))
    return LatencyResult(
        artifact="m.fp16.tflite",
        sha256="0" * 64,
        size_bytes=size,
        accelerator="cpu",
        runtime="runtime 1",
        num_threads=threads,
        scope="inference",
        latencies_s=tuple(calls.ravel().tolist()),
        rounds=(10,) * processes,
        warmup_runs=1,
        environment=Environment(device="local", machine="EPYC", system="Linux", cpus=2, load=load),
    )


def test_the_fastest_is_chosen_whatever_its_size_and_threads() -> None:
    choice = choose([result(5.0), result(4.0, seed=1, size=9_000_000, threads=4), result(4.5, seed=2)])
    assert (choice.chosen, choice.fastest, choice.ties) == (1, 1, (1,))


def test_of_those_as_fast_the_smaller_file_is_chosen() -> None:
    # Within 3 %, the noise of compare.
    choice = choose([result(4.0, size=2_000_000), result(4.08, seed=1, size=1_000_000, threads=4), result(6.0, seed=2)])
    assert (choice.chosen, choice.fastest, choice.ties) == (1, 0, (0, 1))


def test_of_those_of_one_size_the_fewest_threads_are_chosen() -> None:
    # A target changes some bytes of a file: these are no smaller file.
    sizes = (1_000_000, 999_000, 1_000_000)
    found = [result(4.0 + 0.02 * n, seed=n, size=sizes[n], threads=(4, 2, 1)[n]) for n in range(3)]
    assert choose(found).chosen == 2
    assert choose(found[:2]).chosen == 1


def test_an_accelerator_takes_no_threads() -> None:
    assert choose([result(4.0, threads=1), result(4.05, seed=1, threads=0)]).chosen == 1


def test_of_those_alike_in_everything_the_fastest_is_chosen() -> None:
    assert choose([result(4.08), result(4.0, seed=1)]).chosen == 1
    assert choose([result(4.0)]).ties == (0,)


def test_a_busy_machine_does_not_keep_what_is_slower() -> None:
    # compare alone gives no verdict then; here the processes took turns, and had the same other work.
    assert choose([result(4.0, load=0.9, size=2_000_000), result(8.0, seed=1, load=0.9, size=1)]).ties == (0,)


def test_the_slower_half_goes_where_that_is_clear() -> None:
    gone = halved({ms: result(ms, seed=int(ms), processes=STAGE) for ms in (4.0, 5.0, 8.0, 9.0)})
    assert set(gone) == {8.0, 9.0}  # 5.0 is clearly slower too, and in the faster half
    assert gone[8.0].startswith("2.0") and " times the fastest, at least " in gone[8.0]
    assert gone[8.0].endswith(", by 2 processes")


def test_what_is_not_told_apart_stays() -> None:
    assert halved({n: result(4.0 + 0.02 * n, seed=n) for n in range(4)}) == {}
    assert halved({0: result(4.0)}) == {}


def test_reasons_say_what_decided() -> None:
    chosen = result(4.0)
    assert why_not(chosen, result(4.0, size=2_000_000)).endswith("whose file is smaller")
    assert why_not(chosen, result(4.0, threads=4)).endswith("which takes fewer threads")
    assert why_not(chosen, result(4.0, size=1_000_001, threads=1)).endswith("of its size")
    assert how_slow(chosen, result(6.0)).startswith("1.50 times the fastest")


class Machine:
    """Gives each candidate, a latency in milliseconds, the next of its processes, and records who was measured."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.errors: dict[float, Exception] = {}
        self.ended = 0

    def time(self, ms: float) -> LatencyResult:
        self.asked.append(ms)
        if ms in self.errors:
            raise self.errors[ms]
        return result(ms, seed=len(self.asked), processes=1)

    def search(self, candidates: list[float], state: Search[float], *, rounds: int, left: float = 1e9) -> None:
        def end() -> None:
            self.ended += 1

        search(
            candidates,
            state,
            self.time,
            rounds=rounds,
            out_of_time=lambda: len(self.asked) >= left,
            ended=end,
        )


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_survivors_take_turns_and_finalists_have_all_processes(machine: Machine) -> None:
    state: Search[float] = Search()
    latencies = [4.0, 4.02, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0]
    machine.search(latencies, state, rounds=6)
    assert (state.complete, state.turns, machine.ended) == (True, 6, 6)
    assert sorted(machine.asked[:8]) == latencies
    assert machine.asked[:8] != machine.asked[8:16]  # in an order that changes
    counts = {ms: machine.asked.count(ms) for ms in latencies}
    # Eight for two turns, four for two more, then the two that are alike.
    assert counts == {4.0: 6, 4.02: 6, 6.0: 4, 7.0: 4, 8.0: 2, 9.0: 2, 10.0: 2, 11.0: 2}
    assert len(state.results[4.0].rounds) == 6
    assert set(state.lost) == set(latencies[2:])


def test_what_fails_is_given_up_and_the_others_go_on(machine: Machine) -> None:
    machine.errors = {5.0: InputError("it does not run."), 6.0: BackendUnavailable("it is gone.")}
    state: Search[float] = Search()
    machine.search([4.0, 5.0, 6.0], state, rounds=2)
    assert state.complete
    assert state.lost == {
        5.0: "it ended while it was measured: it does not run",
        6.0: "it ended while it was measured: it is gone",
    }
    machine.errors[4.0] = machine.errors[5.0]
    nothing: Search[float] = Search()
    machine.search([4.0, 5.0], nothing, rounds=2)
    assert (nothing.complete, nothing.results) == (True, {})


def test_a_budget_ends_it_and_more_continues_it(machine: Machine) -> None:
    state: Search[float] = Search()
    machine.search([4.0, 8.0, 9.0], state, rounds=4, left=2)
    assert (state.complete, state.turns, len(state.results)) == (False, 0, 2)
    assert len(state.unmeasured) == 1
    again: Search[float] = Search(results=dict(state.results), lost=dict(state.lost), turns=state.turns)
    # The first turn begins anew, the second is cut off: its calls do not count, or some would have more than others.
    machine.search([4.0, 8.0, 9.0], again, rounds=4, left=2 + 3 + 1)
    assert (again.complete, again.turns) == (False, 1)
    assert [len(one.rounds) for one in again.results.values()] == [1, 1, 1]
    machine.search([4.0, 8.0, 9.0], again, rounds=4)
    assert (again.complete, again.turns, len(again.results[4.0].rounds)) == (True, 4, 4)


def test_what_is_not_decided_is_measured_on_but_not_for_ever() -> None:
    # 4 % apart at the fastest, and every other process of both is slowed: no interval tells them apart.
    turns = {"a": 0, "b": 0}

    def time(name: str) -> LatencyResult:
        turns[name] += 1
        noisy = 1.0 if turns[name] % 2 else 1.5
        return result((4.0 if name == "a" else 4.16) * noisy, seed=turns[name], processes=1)

    state: Search[str] = Search()
    search(["a", "b"], state, time, rounds=4, out_of_time=lambda: False, ended=lambda: None)
    assert state.complete
    assert 4 < turns["a"] == turns["b"] <= 8


def test_the_order_of_turns_is_of_the_seed() -> None:
    def asked(seed: int) -> list[str]:
        names: list[str] = []
        time: Callable[[str], LatencyResult] = lambda name: names.append(name) or result(4.0, processes=1)  # type: ignore[func-returns-value]  # noqa: E731
        search(list("abcd"), Search(), time, rounds=1, out_of_time=lambda: False, ended=lambda: None, seed=seed)
        return names

    assert asked(0) == asked(0) != asked(1)
