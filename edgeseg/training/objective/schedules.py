"""Schedule the learning rate over a run, counted in epochs, so that phases of different batch sizes share one curve."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from edgeseg._internal.fields import short_repr
from edgeseg.choices import Schedule, Warmup
from edgeseg.training.config import FINAL_LEARNING_RATES, TrainConfig
from edgeseg.training.objective.phases import Phase

#: Stages of the step schedule, as in the tutorials.
_STAGES = 10


@dataclass(frozen=True, kw_only=True)
class LearningRateCurve:
    """The shape of the learning rate over a run, see ``EpochSchedule``.

    Attributes:
        kind: the way down.
        warmup_epochs: epochs of warm-up, fewer than the run has.
        warmup: how it rises.
        final_share: where cosine and step end, as a share of the peak; 0 and 0.01 when ``None``.
        decay_rate: of the exponential.
    """

    __repr__ = short_repr

    kind: Schedule
    warmup_epochs: int = 0
    warmup: Warmup = "linear"
    final_share: float | None = None
    decay_rate: float = 0.96


@keras.saving.register_keras_serializable(package="edgeseg")
class EpochSchedule(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """Gives each step of a run its learning rate: warm-up, then one of four ways down.

    With ``e`` the epochs that are done, including fractions, ``w`` those of warm-up, ``E`` all of them, ``f`` the final
    share and ``t = (e - w) / (E - w)``, the peak is multiplied by:

    - warm-up ``linear``: ``e / w``; ``staircase``: ``(floor(e) + 1) / w``, as ``lr_init * i / num`` of the i-th epoch.
    - ``cosine``: ``f + (1 - f) * (1 + cos(pi * t)) / 2`` (Loshchilov and Hutter 2017, "SGDR", without restarts).
    - ``step``: ``f ** (floor(10 t) / 9)``: ten stages, the last at ``f``.
    - ``exponential``: ``decay_rate ** floor(e - w)``: once an epoch.
    - ``constant``: 1.
    """

    def __init__(
        self,
        curve: LearningRateCurve,
        peak: float,
        *,
        epochs: int,
        steps_per_epoch: int,
        start_epoch: int = 0,
    ) -> None:
        """Set the curve.

        Args:
            curve: its shape.
            peak: learning rate after the warm-up.
            epochs: of the whole run.
            steps_per_epoch: optimizer steps in an epoch.
            start_epoch: epochs that were done before step 0, by another optimizer.
        """
        super().__init__()
        self._curve, self._peak, self._epochs = curve, peak, epochs
        self._steps, self._start = steps_per_epoch, start_epoch
        self._down = epochs - curve.warmup_epochs
        self._final = FINAL_LEARNING_RATES.get(curve.kind, 0.0) if curve.final_share is None else curve.final_share

    def __call__(self, step: Any) -> Any:
        """Return the learning rate of an optimizer step, a float32 scalar."""
        done = self._start + ops.cast(step, "float32") / self._steps
        share = self._after(ops.maximum(done - self._curve.warmup_epochs, 0.0))
        if self._curve.warmup_epochs:
            rising = done if self._curve.warmup == "linear" else ops.floor(done) + 1
            share = ops.where(done < self._curve.warmup_epochs, rising / self._curve.warmup_epochs, share)
        return self._peak * share

    def _after(self, done: Any) -> Any:
        """Return the factor when ``done`` epochs have passed since the warm-up."""
        t = ops.minimum(done / self._down, 1.0)
        if self._curve.kind == "cosine":
            return self._final + (1 - self._final) * 0.5 * (1 + ops.cos(math.pi * t))
        if self._curve.kind == "step":
            stage = ops.minimum(ops.floor(t * _STAGES), _STAGES - 1)
            return ops.power(ops.cast(self._final, "float32"), stage / (_STAGES - 1))
        if self._curve.kind == "exponential":
            return ops.power(ops.cast(self._curve.decay_rate, "float32"), ops.floor(done))
        return ops.ones_like(t)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments from which ``from_config`` makes the same schedule.

        The shape of the curve is flat in it, under the names that it has in every ``.keras`` file so far.
        """
        return {
            **dataclasses.asdict(self._curve),
            "peak": self._peak,
            "epochs": self._epochs,
            "steps_per_epoch": self._steps,
            "start_epoch": self._start,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> EpochSchedule:
        """Make a schedule from the result of ``get_config``."""
        settings = dict(config)
        curve = LearningRateCurve(
            **{field.name: settings.pop(field.name) for field in dataclasses.fields(LearningRateCurve)}
        )
        return cls(curve, **settings)


def schedule_of(config: TrainConfig, phase: Phase, *, steps_per_epoch: int) -> EpochSchedule:
    """Return the schedule of a run's config from the start of a phase on.

    Args:
        config: the run.
        phase: its start and its peak.
        steps_per_epoch: with the batch size of the phase.
    """
    curve = LearningRateCurve(
        kind=config.schedule,
        warmup_epochs=config.num_warmup_epochs,
        warmup=config.warmup,
        final_share=config.final_learning_rate,
        decay_rate=config.decay_rate,
    )
    return EpochSchedule(
        curve, phase.learning_rate, epochs=config.epochs, steps_per_epoch=steps_per_epoch, start_epoch=phase.start
    )
