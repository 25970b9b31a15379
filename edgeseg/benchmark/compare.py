"""Is it slower than it was? Results of two files side by side, with a confidence interval for the ratio.

The samples of one process are alike, and what differs is from process to process (where memory lies, what else runs),
so that a bootstrap over single samples would be far too sure of itself. Whole processes are drawn first, then stretches
of samples within them, as neighbours are alike too (the moving block bootstrap, Kunsch 1989).
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


@dataclass(frozen=True)
class Comparison:
    """A result against its baseline.

    Attributes:
        baseline: the earlier one.
        result: the later one.
        ratio: later median over earlier median; above 1 is slower.
        low: lower end of the 99 % confidence interval of the ratio.
        high: upper end of it.
    """

    baseline: LatencyResult
    result: LatencyResult
    ratio: float
    low: float
    high: float

    @property
    def significant(self) -> bool:
        """Whether the whole interval lies beyond what a machine does by itself (``NOISE``)."""
        return self.low > 1 + NOISE or self.high < 1 - NOISE

    def regressed(self, max_regression: float) -> bool:
        """Whether it is surely slower than allowed.

        Args:
            max_regression: allowed slow-down in percent.
        """
        return self.ratio > 1 + max_regression / 100 and self.low > 1 + min(NOISE, max_regression / 100)


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
    draws = _medians(result, rng) / _medians(baseline, rng)
    tail = 100 * (1 - _CONFIDENCE) / 2
    low, high = np.percentile(draws, (tail, 100 - tail))
    return Comparison(baseline, result, result.median_s / baseline.median_s, float(low), float(high))


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


def _medians(result: LatencyResult, rng: np.random.Generator) -> NDArray[np.float64]:
    """``(_DRAWS,)`` medians of samples that this measurement might have given as well."""
    rounds = [np.asarray(taken) for taken in result.by_round()]
    drawn = np.empty(_DRAWS)
    for draw in range(_DRAWS):
        chosen = rng.integers(0, len(rounds), len(rounds))
        drawn[draw] = np.median(np.concatenate([_stretches(rounds[index], rng) for index in chosen]))
    return drawn


def _stretches(samples: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """As many samples, in stretches of the cube root of their number, from random places on a ring."""
    length = max(1, round(len(samples) ** (1 / 3)))
    starts = rng.integers(0, len(samples), -(-len(samples) // length))
    drawn: NDArray[np.float64] = samples[((starts[:, None] + np.arange(length)) % len(samples)).ravel()[: len(samples)]]
    return drawn


def _key(result: LatencyResult) -> tuple[str, str, int, str]:
    return result.artifact, result.accelerator, result.num_threads, result.scope


def _keys(results: Sequence[LatencyResult]) -> str:
    return ", ".join("/".join(map(str, _key(result))) for result in results)
