"""Find reasons to distrust a measurement: wide spread, a busy machine, a governor that saves power, throttling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeseg.benchmark.result import HUGE_PAGES, Environment, LatencyResult

#: 10th to 90th percentile over the median; a quiet laptop stays under 0.1, a shared machine seldom does.
WIDE_SPREAD = 0.2

#: Slowest median of a process over the fastest.
ROUNDS_APART = 1.1

#: Share of the CPUs that other work had.
BUSY = 0.15

#: Median of the last tenth of a sustained run over that of the first.
DRIFT = 1.05


def warnings(rounds: Sequence[Sequence[float]], environment: Environment) -> list[str]:
    """Return the reasons to distrust a result, a sentence each.

    Args:
        rounds: seconds of every call, by process; each process's median alone where there are no samples.
        environment: where it was measured.
    """
    everything = np.concatenate([np.asarray(latencies) for latencies in rounds])
    median = float(np.median(everything))
    low, high = np.percentile(everything, (10, 90))
    reasons = []
    if max(map(len, rounds)) > 1 and (high - low) / median > WIDE_SPREAD:
        reasons.append(
            f"wide spread: 80 % of the runs lie within {low * 1e3:.2f} to {high * 1e3:.2f} ms, "
            f"{100 * (high - low) / median:.0f} % of the median"
        )
    reasons += _disagreement(rounds, environment) + _other_work(environment)
    if environment.governor not in ("", "performance"):
        reasons.append(
            f"the CPU governor is '{environment.governor}', not 'performance': the clock moves with the load"
        )
    return reasons


def undermined(result: LatencyResult) -> list[str]:
    """Return why nothing can be concluded from a result, a sentence each: what else ran may have made the difference.

    The other reasons of ``warnings`` make a result coarse; ``compare`` takes that into account.
    """
    return _disagreement(result.by_round(), result.environment) + _other_work(result.environment)


def _disagreement(rounds: Sequence[Sequence[float]], environment: Environment) -> list[str]:
    medians = [float(np.median(latencies)) for latencies in rounds]
    if max(medians) / min(medians) <= ROUNDS_APART:
        return []
    text = f"the processes disagree: their medians go from {min(medians) * 1e3:.2f} to {max(medians) * 1e3:.2f} ms"
    if environment.extra.get(HUGE_PAGES, "always") != "always":  # where small pages lie is chance, in each process anew
        text += f"; {HUGE_PAGES} are '{environment.extra[HUGE_PAGES]}', and with 'always' processes agree better"
    return [text]


def _other_work(environment: Environment) -> list[str]:
    if environment.load is None or environment.load <= BUSY:
        return []
    return [f"busy machine: other work had {100 * environment.load:.0f} % of the CPUs just before"]


def drift(latencies_s: Sequence[float]) -> tuple[float, str]:
    """Compare the end of a sustained run with its beginning.

    Args:
        latencies_s: seconds of every call, in order.

    Returns:
        Median of the last tenth over that of the first, and a sentence about it.
    """
    tenth = max(1, len(latencies_s) // 10)
    ratio = float(np.median(latencies_s[-tenth:]) / np.median(latencies_s[:tenth]))
    change = f"{100 * (ratio - 1):+.1f} % from the first tenth of the run to the last"
    if ratio > DRIFT:
        return ratio, f"drift {change}: the device throttles, or it got busy"
    return ratio, f"drift {change}"
