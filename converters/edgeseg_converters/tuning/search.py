"""Find the fastest candidate by successive halving: all take turns, and the slower half goes where it is clear.

Each turn measures every survivor once, in a process of its own and in an order that changes, so that what else runs on
the machine comes to all of them. After every second turn those of the slower half go that ``compare`` calls slower than
the fastest. The others are measured on: what is not told apart is not thrown away. Halving by rank alone would lose the
best one where several are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar, get_args

import numpy as np

from edgeseg._internal.text import counted
from edgeseg.benchmark.compare import NOISE, clearly_slower, compare, fastest_s
from edgeseg.benchmark.measure import pooled
from edgeseg.benchmark.result import LatencyResult
from edgeseg.choices import Alike
from edgeseg.errors import BackendUnavailable, InputError

K = TypeVar("K")

#: Turns between two halvings. A process has its fastest calls in any case, so two show what is twice as slow.
STAGE = 2

# Finalists that are neither clearly slower than the fastest nor within NOISE of it are measured on, at most so many
# times as long as was planned.
_LONGEST = 2

# Files whose sizes differ by less are of one size: the targets of a recipe differ by some bytes.
_SAME_SIZE = 0.01


@dataclass(kw_only=True)
class Search(Generic[K]):
    """How far a search is.

    Attributes:
        results: of all processes of each candidate so far.
        lost: candidates that were given up, and why.
        turns: how many turns ended.
        unmeasured: candidates that the time did not suffice for.
        complete: whether nothing is left to do.
    """

    results: dict[K, LatencyResult] = field(default_factory=dict)
    lost: dict[K, str] = field(default_factory=dict)
    turns: int = 0
    unmeasured: tuple[K, ...] = ()
    complete: bool = False


def search(
    candidates: Sequence[K],
    state: Search[K],
    time: Callable[[K], LatencyResult],
    *,
    rounds: int,
    out_of_time: Callable[[], bool],
    ended: Callable[[], None],
    seed: int = 0,
) -> None:
    """Measure candidates in turns until one can be chosen, or until the time is over.

    Args:
        candidates: what to measure.
        state: how far an earlier search came; changed in place.
        time: measures a candidate in one process; an ``InputError`` or ``BackendUnavailable`` gives it up.
        rounds: processes of a finalist.
        out_of_time: asked before each process.
        ended: called at the end of each turn.
        seed: of the order in each turn.
    """
    if not state.turns:
        state.results.clear()  # of a turn that did not end
    while True:
        alive = [candidate for candidate in candidates if candidate not in state.lost]
        if not alive or _is_decided([state.results.get(one) for one in alive], state.turns, rounds):
            state.complete = True
            return
        turn: dict[K, LatencyResult] = {}
        for index in np.random.default_rng([seed, state.turns]).permutation(len(alive)):
            if out_of_time():
                # The rest of a later turn would have more samples of some than of others.
                if not state.turns:
                    state.results.update(turn)
                    state.unmeasured = tuple(one for one in alive if one not in {*turn, *state.lost})
                return
            try:
                turn[alive[index]] = time(alive[index])
            except (InputError, BackendUnavailable) as error:
                state.lost[alive[index]] = f"it ended while it was measured: {str(error).rstrip('.')}"
        for candidate, result in turn.items():
            earlier = state.results.get(candidate)
            state.results[candidate] = result if earlier is None else pooled([earlier, result])
        state.turns += 1
        if state.turns % STAGE == 0 and state.turns < rounds:
            state.lost.update(halved({one: state.results[one] for one in turn}))
        ended()


def halved(results: Mapping[K, LatencyResult]) -> dict[K, str]:
    """Return those of the slower half that are clearly slower than the fastest, and how much.

    Args:
        results: of all survivors, from the same turns.
    """
    if len(results) < 2:
        return {}
    ranked = sorted(results, key=lambda one: fastest_s(results[one]))
    best, slower_half = results[ranked[0]], ranked[(len(ranked) + 1) // 2 :]
    return {one: how_slow(best, results[one]) for one in slower_half if clearly_slower(best, results[one])}


def how_slow(best: LatencyResult, result: LatencyResult) -> str:
    """Say how much slower a result is than the fastest, without a full stop."""
    ratio = compare(best, result, allow=get_args(Alike)).fastest
    processes = counted(len(result.rounds) or len(result.reported), "process")
    return f"{ratio.value:.2f} times the fastest, at least {ratio.low:.2f}, by {processes}"


@dataclass(frozen=True)
class Choice:
    """What is chosen of some results.

    Attributes:
        chosen: its place among them.
        fastest: the place of the fastest.
        ties: the places of all that are not told from the fastest, the chosen and the fastest among them.
    """

    chosen: int
    fastest: int
    ties: tuple[int, ...]


def choose(results: Sequence[LatencyResult]) -> Choice:
    """Choose the fastest; of those that are not told from it the smallest file, and then that with fewest threads.

    Two are told apart by the rule of ``compare``: the interval of the fastest calls and the medians both differ by more
    than 3 %.

    Args:
        results: from the same turns; at least one.
    """
    places = range(len(results))
    fastest = min(places, key=lambda place: fastest_s(results[place]))
    ties = [place for place in places if not clearly_slower(results[fastest], results[place])]
    smallest = min(results[place].size_bytes for place in ties)
    small = [place for place in ties if results[place].size_bytes <= smallest * (1 + _SAME_SIZE)]
    chosen = min(small, key=lambda place: (results[place].num_threads, fastest_s(results[place])))
    return Choice(chosen, fastest, tuple(ties))


def why_not(chosen: LatencyResult, other: LatencyResult) -> str:
    """Say why a result that is not told from the fastest is not chosen, without a full stop."""
    if other.size_bytes > chosen.size_bytes * (1 + _SAME_SIZE):
        return "a tie with the chosen one, whose file is smaller"
    if other.num_threads > chosen.num_threads:
        return "a tie with the chosen one, which takes fewer threads"
    return "a tie with the chosen one, of its size"


def _is_decided(results: Sequence[LatencyResult | None], turns: int, rounds: int) -> bool:
    """Return whether enough turns ended, and each result is clearly slower than the fastest or within noise of it."""
    known = [result for result in results if result is not None]
    if turns < rounds or turns >= _LONGEST * rounds:
        return turns >= rounds
    best = min(known, key=fastest_s)
    return not any(fastest_s(one) > (1 + NOISE) * fastest_s(best) and not clearly_slower(best, one) for one in known)
