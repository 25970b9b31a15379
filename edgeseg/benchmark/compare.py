"""Is it slower than it was? Results of two files side by side, with a confidence interval for the ratio.

The samples of one process are alike, and what differs is from process to process (where memory lies, what else runs),
so that a bootstrap over single samples would be far too sure of itself. Whole processes are drawn first, then stretches
of samples within them, as neighbours are alike too (the moving block bootstrap, Kunsch 1989).

Other work on the machine slows the middle of the samples and leaves the fastest; a slower model slows both. So a
difference counts only when the medians and the fastest tenths of the two runs agree on it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edgeseg.benchmark.result import LatencyResult
from edgeseg.errors import InputError

#: What two results must have in common, or their ratio says nothing about the artifact.
Alike = Literal["device", "machine", "threads", "scope", "accelerator", "runtime", "model"]

#: Two runs of one artifact on a machine that others use differ by this much without a cause, as a share.
NOISE = 0.03

_DRAWS = 2000
_CONFIDENCE = 0.99

# Bounds the memory of a bootstrap of a long run: 40 MB an array.
_VALUES_AT_ONCE = 5_000_000


@dataclass(frozen=True)
class Ratio:
    """Later over earlier, above 1 is slower, with its 99 % confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """A result against its baseline.

    Attributes:
        baseline: the earlier one.
        result: the later one.
        median: ratio of the medians.
        fastest: ratio of the 10th percentiles.
    """

    baseline: LatencyResult
    result: LatencyResult
    median: Ratio
    fastest: Ratio

    @property
    def significant(self) -> bool:
        """Whether both intervals lie, on one side, beyond what a machine does by itself (``NOISE``)."""
        both = (self.median, self.fastest)
        return all(r.low > 1 + NOISE for r in both) or all(r.high < 1 - NOISE for r in both)

    def regressed(self, max_regression: float) -> bool:
        """Whether it is slower than allowed, and that is no accident of these runs.

        Args:
            max_regression: allowed slow-down in percent.
        """
        return self.significant and self.median.value > 1 + max_regression / 100


def compare(
    baseline: LatencyResult, result: LatencyResult, *, allow: Collection[Alike] = (), seed: int = 0
) -> Comparison:
    """Compare two results.

    Args:
        baseline: the earlier one.
        result: the later one.
        allow: what may differ.
        seed: of the bootstrap.

    Raises:
        InputError: they are unlike in something that ``allow`` does not name; the text says in what.
    """
    different = unlike(baseline, result)
    forbidden = [f"{name} ({a} and {b})" for name, (a, b) in different.items() if name not in allow]
    if forbidden:
        names = ",".join(name for name in different if name not in allow)
        raise InputError(
            f"'{baseline.artifact}' and '{result.artifact}' were measured unlike: {'; '.join(forbidden)}. "
            f"Their ratio would not be the model's; give --allow {names} to compare all the same."
        )
    rng = np.random.default_rng(seed)
    draws = _draws(result, rng) / _draws(baseline, rng)  # (_DRAWS, 2)
    values = _measured(result) / _measured(baseline)
    tail = 100 * (1 - _CONFIDENCE) / 2
    lows, highs = np.percentile(draws, (tail, 100 - tail), axis=0)
    median, fastest = (Ratio(float(v), float(a), float(b)) for v, a, b in zip(values, lows, highs, strict=True))
    return Comparison(baseline, result, median, fastest)


def unlike(first: LatencyResult, second: LatencyResult) -> dict[Alike, tuple[str, str]]:
    """In what two results differ that must be alike: name to the two values."""
    values: dict[Alike, tuple[object, object]] = {
        "device": (first.environment.device, second.environment.device),
        "machine": (first.environment.machine, second.environment.machine),
        "threads": (first.num_threads, second.num_threads),
        "scope": (first.scope, second.scope),
        "accelerator": (first.accelerator, second.accelerator),
        "runtime": (first.runtime, second.runtime),
        "model": (first.sha256[:12], second.sha256[:12]),
    }
    assert set(values) == set(get_args(Alike))
    return {name: (str(a), str(b)) for name, (a, b) in values.items() if a != b}


def pair(
    baseline: Sequence[LatencyResult], results: Sequence[LatencyResult]
) -> list[tuple[LatencyResult, LatencyResult]]:
    """Results of two files that belong together: by file name, accelerator, threads and scope.

    Where both files have one result it is the pair, whatever it is called: ``compare`` says what differs.

    Raises:
        InputError: no two belong together.
    """
    if len(baseline) == len(results) == 1:
        return [(baseline[0], results[0])]
    known = {_key(result): result for result in baseline}
    pairs = [(known[_key(result)], result) for result in results if _key(result) in known]
    if not pairs:
        raise InputError(
            "the files have no artifact, accelerator, threads and scope in common: "
            f"{_keys(baseline)} against {_keys(results)}."
        )
    return pairs


def _draws(result: LatencyResult, rng: np.random.Generator) -> NDArray[np.float64]:
    """``(_DRAWS, 2)``: median and 10th percentile of samples that this measurement might have given as well."""
    rounds = [np.asarray(taken) for taken in result.by_round()]
    lengths = np.array([len(taken) for taken in rounds])
    table = np.full((len(rounds), lengths.max()), np.inf)  # a row a process; what a short one lacks sorts to the end
    for row, taken in zip(table, rounds, strict=True):
        row[: len(taken)] = taken
    at_once = max(1, _VALUES_AT_ONCE // table.size)
    chunks = [_drawn(table, lengths, min(at_once, _DRAWS - done), rng) for done in range(0, _DRAWS, at_once)]
    return np.concatenate(chunks)


def _drawn(
    table: NDArray[np.float64], lengths: NDArray[np.int64], draws: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """``(draws, 2)``. Within a process, samples come in stretches of the cube root of their number, on a ring."""
    processes, longest = table.shape
    chosen = rng.integers(0, processes, (draws, processes))
    count = lengths[chosen]  # samples of each process of each draw
    stretch = np.maximum(1, np.round(count ** (1 / 3))).astype(np.int64)[..., None]
    position = np.arange(longest)
    starts = (rng.random((draws, processes, longest)) * count[..., None]).astype(np.int64)
    start = np.take_along_axis(starts, np.broadcast_to(position // stretch, starts.shape), axis=2)
    index = (start + position % stretch) % count[..., None]
    samples = np.where(position < count[..., None], table[chosen[..., None], index], np.inf)
    return _quantiles(samples.reshape(draws, -1), count.sum(axis=1))


def _quantiles(samples: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """``(n, 2)``: median and 10th percentile of the first ``counts`` smallest of each row, as numpy's."""
    ordered = np.sort(samples, axis=1)
    found = []
    for share in (0.5, 0.1):
        place = share * (counts - 1)
        below = np.floor(place).astype(np.int64)
        above = np.minimum(below + 1, counts - 1)
        rows = np.arange(len(ordered))
        found.append(ordered[rows, below] + (place - below) * (ordered[rows, above] - ordered[rows, below]))
    return np.stack(found, axis=1)


def _measured(result: LatencyResult) -> NDArray[np.float64]:
    """``(2,)``: median and 10th percentile of what was measured."""
    samples = np.concatenate([np.asarray(taken) for taken in result.by_round()])
    found: NDArray[np.float64] = _quantiles(samples[None], np.array([samples.size]))[0]
    return found


def _key(result: LatencyResult) -> tuple[str, str, int, str]:
    return result.artifact, result.accelerator, result.num_threads, result.scope


def _keys(results: Sequence[LatencyResult]) -> str:
    return ", ".join("/".join(map(str, _key(result))) for result in results)
