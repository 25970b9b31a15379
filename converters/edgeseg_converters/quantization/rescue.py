"""Rescue a quantized model: find the ops that cost its accuracy and keep the fewest in float until it passes.

1. Every op is quantized alone, in a model that is otherwise float, and the logits of a few images are compared with
   the float model's. That is the cost of the op itself; running the whole integer model instead would charge an op for
   the errors of the ops before it.
2. The ops are sorted by that cost, and the first k are kept in float: k grows by doubling until the gate is passed,
   then the smallest k between the last two is searched by bisection. Quantizing again takes no new calibration.

Only the bisection assumes that the accuracy grows with k; the accuracy of the result is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.progress import Progress
from edgeseg_converters.quantization.accuracy import Accuracy

#: Makes an artifact in which the ops of these names are kept in float.
Quantize = Callable[[Sequence[str]], bytes]
#: Measures an artifact against the gate.
Measure = Callable[[bytes], Accuracy]
#: Gives the logits of a few images for an artifact in which only the ops of these names are quantized.
Logits = Callable[[Sequence[str]], Sequence[NDArray[np.float32]]]


@dataclass(frozen=True)
class Cost:
    """The cost of quantizing one op alone.

    Attributes:
        op: the name of its output.
        error: mean squared error of the logits, without each pixel's mean over the classes, over the mean square; 0 is
            no cost.
    """

    op: str
    error: float


@dataclass(frozen=True, kw_only=True)
class Rescue:
    """The result of a rescue.

    Attributes:
        kept: names of the ops that stayed in float, the costliest first.
        num_ops: how many ops could have been quantized.
        costs: every op by its cost, the costliest first.
        tried: the number of ops kept in each measured artifact, and its accuracy.
        data: the artifact.
        accuracy: its accuracy; ``passed`` says whether the rescue succeeded.
    """

    kept: tuple[str, ...]
    num_ops: int
    costs: tuple[Cost, ...]
    tried: tuple[tuple[int, Accuracy], ...]
    data: bytes
    accuracy: Accuracy

    def to_dict(self) -> dict[str, Any]:
        """Return an object for the JSON of ``export`` and of the report."""
        return {
            "kept": list(self.kept),
            "num_ops": self.num_ops,
            "passed": self.accuracy.passed,
            "costs": [{"op": cost.op, "error": cost.error} for cost in self.costs],
            "tried": [
                {"kept": count, "drop_points": accuracy.to_dict()["drop_points"], "passed": accuracy.passed}
                for count, accuracy in self.tried
            ],
        }


def sensitivity(ops: Sequence[str], logits: Logits, progress: Progress | None = None) -> tuple[Cost, ...]:
    """Measure the cost of each op and return the costs, the costliest first.

    Args:
        ops: names of the outputs of the ops that can be quantized.
        logits: see ``Logits``.
        progress: called with (ops done, ops in all).
    """
    expected = [_differences(values) for values in logits([])]
    power = float(np.mean([np.mean(np.square(values)) for values in expected])) or 1.0
    costs = []
    for number, op in enumerate(ops):
        errors = [np.mean(np.square(_differences(new) - old)) for new, old in zip(logits([op]), expected, strict=True)]
        costs.append(Cost(op, float(np.mean(errors)) / power))
        if progress:
            progress(number + 1, len(ops))
    return tuple(sorted(costs, key=lambda cost: -cost.error))


def _differences(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Subtract each pixel's mean over the classes: an error that all classes share changes no class."""
    centered: NDArray[np.float32] = logits - logits.mean(axis=-1, keepdims=True)
    return centered


def rescue(costs: Sequence[Cost], quantize: Quantize, measure: Measure, *, max_share: float = 0.5) -> Rescue:
    """Keep the fewest ops in float that make the artifact pass.

    Args:
        costs: of every op, the costliest first.
        quantize: see ``Quantize``.
        measure: see ``Measure``.
        max_share: of the ops; with more of them in float it is no longer an integer model, and the rescue gives up.

    Returns:
        The artifact with the fewest ops in float among those that passed; where none did, the last one tried.
    """
    ops = [cost.op for cost in costs]
    limit = max(1, int(len(ops) * max_share))
    artifacts: dict[int, tuple[bytes, Accuracy]] = {}

    def passes(count: int) -> bool:
        data = quantize(ops[:count])
        artifacts[count] = data, measure(data)
        return artifacts[count][1].passed

    low, high = 0, 1
    while not passes(high) and high < limit:
        low, high = high, min(2 * high, limit)
    if artifacts[high][1].passed:
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if passes(middle) else (middle, high)
    data, accuracy = artifacts[high]
    tried = tuple((count, accuracy) for count, (_, accuracy) in artifacts.items())
    return Rescue(
        kept=tuple(ops[:high]), num_ops=len(ops), costs=tuple(costs), tried=tried, data=data, accuracy=accuracy
    )
