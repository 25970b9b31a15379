"""Define ``Plan``: how long and how often artifacts are timed; light, as the command line reads its defaults here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg._internal.fields import short_repr
from edgeseg.choices import Scope

if TYPE_CHECKING:
    from edgeseg.opening import InputDescription


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long and how often; names and, except for ``min_secs``, defaults are those of LiteRT's ``benchmark_model``.

    Attributes:
        rounds: processes of each case; they take turns with those of the other cases. ``compare`` needs 12 on a machine
            that others use as well.
        warmup_runs: untimed calls of each process, at least.
        warmup_min_secs: how long each process warms up at least, in seconds.
        num_runs: timed calls of each case at least, over all its processes.
        min_secs: how long they take at least, in seconds, over all its processes.
        max_secs: how long at most, in seconds, over all its processes.
        scope: ``inference`` or ``end-to-end``.
        image: an image for ``end-to-end``.
        description: how to feed models without ModelSpec, for ``end-to-end``.
        seed: of the order in which cases take turns.
        drift: report how the end compares with the beginning.
        verify: ask each case the proof beside its artifact, where there is one.
    """

    __repr__ = short_repr

    rounds: int = 12
    warmup_runs: int = 5
    warmup_min_secs: float = 0.5
    num_runs: int = 50
    min_secs: float = 2.0
    max_secs: float = 150.0
    scope: Scope = "inference"
    image: Path | None = None
    description: InputDescription | None = None
    seed: int = 0
    drift: bool = False
    verify: bool = True

    @classmethod
    def sustained(cls, minutes: float, *, scope: Scope = "inference", image: Path | None = None) -> Plan:
        """Plan one process that runs without a pause, to see how heat affects a device.

        Args:
            minutes: how long.
            scope: ``inference`` or ``end-to-end``.
            image: an image for ``end-to-end``.
        """
        seconds = 60 * minutes
        return cls(rounds=1, num_runs=1, min_secs=seconds, max_secs=seconds, scope=scope, image=image, drift=True)
