"""Compare the results of two files, with a confidence interval for the ratio, to see what got slower.

The samples of one process are alike, and the differences are between processes (where memory lies, what else runs), so
that a bootstrap over single samples would be far too sure of itself: whole processes are drawn.

Other work on the machine only ever makes a process slower, and the quiet moments of many short processes agree within
a percent or two while their medians do not. So the interval of the fastest decides: the fastest tenth of each process,
and of these the fastest tenth again. The medians must lie on the same side, or a run with quiet moments and one without
would differ. On 200 processes recorded on a shared host, whose medians went from 3.7 to 8.5 ms, this found a difference
in 2 % of the equal pairs of 12 processes and in 97 % of those where one was 15 % slower; intervals of the medians as
well as of the fastest found six in ten.

Other work that lasts as long as a whole run is in every one of its processes, where no statistics can see it. So there
is no verdict where a result's own signs say that the machine was not its alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg.benchmark.distrust import undermined
from edgeseg.benchmark.result import LatencyResult
from edgeseg.choices import Alike
from edgeseg.errors import InputError

#: Two runs of one artifact on a machine that others use differ by this share without a cause.
NOISE = 0.03

#: The level of the intervals.
CONFIDENCE = 0.95

#: ``same`` is a difference that the runs cannot tell.
Verdict = Literal["slower", "faster", "same", "untrusted"]

_DRAWS = 1000

# The share of calls, and of processes, that count as the fastest.
_FASTEST = 0.1

# A run of a single process is cut into this many stretches, which take the place of processes.
_STRETCHES = 10


@dataclass(frozen=True)
class Ratio:
    """Later over earlier, above 1 is slower, with its 95 % confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """A result compared with its baseline.

    Attributes:
        baseline: the earlier one.
        result: the later one.
        median: ratio of the medians.
        fastest: ratio of the fastest tenth of the processes, each by its fastest tenth of calls.
    """

    __repr__ = short_repr

    baseline: LatencyResult
    result: LatencyResult
    median: Ratio
    fastest: Ratio

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why there is no verdict, a sentence each; empty where the results can be trusted."""
        sides = (("before", self.baseline), ("after", self.result))
        return tuple(f"{side}, {reason}" for side, result in sides for reason in undermined(result))

    @property
    def verdict(self) -> Verdict:
        """Whether the result is slower or faster than its baseline; ``untrusted`` where there are doubts."""
        if self.doubts:
            return "untrusted"
        if not self.significant:
            return "same"
        return "slower" if self.fastest.value > 1 else "faster"

    @property
    def significant(self) -> bool:
        """Whether the fastest differ by more than a machine does by itself (``NOISE``), and the medians agree.

        The verdict asks for more.
        """
        slower = self.fastest.low > 1 + NOISE and self.median.value > 1 + NOISE
        faster = self.fastest.high < 1 - NOISE and self.median.value < 1 - NOISE
        return slower or faster

    def regressed(self, max_regression: float) -> bool:
        """Return whether the result is slower than allowed, neither by chance nor perhaps by other work.

        Args:
            max_regression: allowed slow-down in percent.
        """
        return self.verdict == "slower" and self.fastest.value > 1 + max_regression / 100


@dataclass(frozen=True)
class Pairing:
    """The paired results of two files.

    Attributes:
        pairs: baseline and result.
        gone: results of the baseline without a partner in the later file.
        new: results of the later file without a partner in the baseline.
    """

    pairs: tuple[tuple[LatencyResult, LatencyResult], ...]
    gone: tuple[LatencyResult, ...]
    new: tuple[LatencyResult, ...]


def compare(
    baseline: LatencyResult, result: LatencyResult, *, allow: Collection[Alike] = (), seed: int = 0
) -> Comparison:
    """Compare two results.

    Args:
        baseline: the earlier one.
        result: the later one.
        allow: differences that are accepted.
        seed: of the bootstrap.

    Raises:
        InputError: they differ in something that ``allow`` does not name; the text says in what.
    """
    different = unlike(baseline, result)
    forbidden = [f"{name} ({a} and {b})" for name, (a, b) in different.items() if name not in allow]
    if forbidden:
        names = tuple(name for name in different if name not in allow)
        raise InputError(
            f"'{baseline.artifact}' and '{result.artifact}' were measured unlike: {'; '.join(forbidden)}. "
            f"Their ratio would not be the model's; give `allow={names}` to compare all the same."
        )
    rng = np.random.default_rng(seed)
    ratios = _measured_and_drawn(result, rng) / _measured_and_drawn(baseline, rng)
    tail = 100 * (1 - CONFIDENCE) / 2
    lows, highs = np.percentile(ratios[1:], (tail, 100 - tail), axis=0)
    median, fastest = (Ratio(float(v), float(a), float(b)) for v, a, b in zip(ratios[0], lows, highs, strict=True))
    return Comparison(baseline, result, median, fastest)


def fastest_s(result: LatencyResult) -> float:
    """Return the fastest of a result in seconds, as ``compare`` takes it: a tenth of the processes' fastest tenths."""
    return float(np.quantile(_quick(_processes(result)), _FASTEST))


def clearly_slower(baseline: LatencyResult, result: LatencyResult) -> bool:
    """Return whether a result is slower than another of the same turns, in whatever else the two differ.

    Processes that take turns share what else runs on the machine, so that it is no reason to conclude nothing.
    """
    comparison = compare(baseline, result, allow=get_args(Alike))
    return comparison.significant and comparison.fastest.value > 1


def unlike(first: LatencyResult, second: LatencyResult) -> dict[Alike, tuple[str, str]]:
    """Return the properties in which two results differ and must not: name to the two values."""
    values: dict[Alike, tuple[object, object]] = {
        "device": (first.environment.device, second.environment.device),
        "machine": (first.environment.machine, second.environment.machine),
        "threads": (first.num_threads, second.num_threads),
        "scope": (first.scope, second.scope),
        "accelerator": (first.accelerator, second.accelerator),
        "runtime": (first.runtime, second.runtime),
        "model": (_model(first), _model(second)),
    }
    assert set(values) == set(get_args(Alike))
    return {name: (str(a), str(b)) for name, (a, b) in values.items() if a != b}


def _model(result: LatencyResult) -> str:
    """Return the file's hash, and the size where the user chose it."""
    return f"{result.sha256[:12]}{result.name.removeprefix(result.artifact)}"


def pair(baseline: Sequence[LatencyResult], results: Sequence[LatencyResult]) -> Pairing:
    """Pair the results of two files by file name and chosen size, accelerator, threads and scope.

    The device is part of the key where a file has results of several. Two files of one device each are paired without
    it, and where both have one result it is the pair, whatever its name: ``compare`` says what differs.

    Raises:
        InputError: no two results belong together, or a file has two results that cannot be told apart.
    """
    if len(baseline) == len(results) == 1:
        return Pairing(((baseline[0], results[0]),), (), ())
    by_device = any(len({result.environment.device for result in file}) > 1 for file in (baseline, results))
    before, after = _keyed(baseline, by_device), _keyed(results, by_device)
    pairs = tuple((before[key], result) for key, result in after.items() if key in before)
    if not pairs:
        raise InputError(
            f"the files have no artifact, accelerator, threads{',' if by_device else ' and'} scope"
            f"{' and device' if by_device else ''} in common: {_names(before)} against {_names(after)}."
        )
    gone = tuple(result for key, result in before.items() if key not in after)
    return Pairing(pairs, gone, tuple(result for key, result in after.items() if key not in before))


def _measured_and_drawn(result: LatencyResult, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the median of all calls and the fastest, measured and of drawn processes: ``(1 + _DRAWS, 2)``."""
    processes = _processes(result)
    quick = _quick(processes)
    measured = np.arange(len(processes))
    chosen = np.vstack([measured, rng.integers(0, len(processes), (_DRAWS, len(processes)))])
    medians = [np.median(np.concatenate([processes[index] for index in draw])) for draw in chosen]
    return np.stack([medians, np.quantile(quick[chosen], _FASTEST, axis=1)], axis=1)


def _quick(processes: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.array([np.quantile(calls, _FASTEST) for calls in processes])


def _processes(result: LatencyResult) -> list[NDArray[np.float64]]:
    """Return the calls of each process in seconds; stretches of a single process, where there is only one."""
    processes = [np.asarray(calls) for calls in result.by_round()]
    return processes if len(processes) > 1 else [*np.array_split(processes[0], min(_STRETCHES, len(processes[0])))]


def _keyed(results: Sequence[LatencyResult], by_device: bool) -> dict[tuple[str, ...], LatencyResult]:
    keyed: dict[tuple[str, ...], LatencyResult] = {}
    for result in results:
        device = (result.environment.device,) if by_device else ()
        key = (result.name, result.accelerator, str(result.num_threads), result.scope, *device)
        if key in keyed:
            raise InputError(
                f"a file has two results of {'/'.join(key)}, which cannot be told apart; "
                "give the artifacts names of their own and measure again."
            )
        keyed[key] = result
    return keyed


def _names(keyed: Mapping[tuple[str, ...], LatencyResult]) -> str:
    return ", ".join("/".join(key) for key in keyed)
