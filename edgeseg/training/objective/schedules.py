"""The learning rate over a run, counted in epochs, so that phases of different batch sizes share one curve."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from edgeseg.choices import Schedule, Warmup
from edgeseg.training.config import FINAL_LEARNING_RATES, TrainConfig
from edgeseg.training.objective.phases import Phase

#: Stages of the step schedule, as in the tutorials.
_STAGES = 10


@keras.saving.register_keras_serializable(package="edgeseg")
class EpochSchedule(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """Warm-up, then one of four ways down.

    With ``e`` the epochs that are done, parts of one too, ``w`` those of warm-up, ``E`` all of them, ``f`` the final
    share and ``t = (e - w) / (E - w)``, the peak is multiplied by:

    - warm-up ``linear``: ``e / w``; ``staircase``: ``(floor(e) + 1) / w``, as ``lr_init * i / num`` of the i-th epoch.
    - ``cosine``: ``f + (1 - f) * (1 + cos(pi * t)) / 2`` (Loshchilov and Hutter 2017, "SGDR", without restarts).
    - ``step``: ``f ** (floor(10 t) / 9)``: ten stages, the last at ``f``.
    - ``exponential``: ``decay_rate ** floor(e - w)``: once an epoch.
    - ``constant``: 1.
    """

    def __init__(
        self,
        kind: Schedule,
        peak: float,
        *,
        epochs: int,
        steps_per_epoch: int,
        start_epoch: int = 0,
        warmup_epochs: int = 0,
        warmup: Warmup = "linear",
        final_share: float | None = None,
        decay_rate: float = 0.96,
    ) -> None:
        """Set the curve.

        Args:
            kind: the way down.
            peak: learning rate after the warm-up.
            epochs: of the whole run.
            steps_per_epoch: optimizer steps in an epoch.
            start_epoch: epochs that were done before step 0, by another optimizer.
            warmup_epochs: epochs of warm-up, fewer than ``epochs``.
            warmup: how it rises.
            final_share: where cosine and step end, as a share of the peak; 0 and 0.01 when left out.
            decay_rate: of the exponential.
        """
        super().__init__()
        self._config = {
            "kind": kind,
            "peak": peak,
            "epochs": epochs,
            "steps_per_epoch": steps_per_epoch,
            "start_epoch": start_epoch,
            "warmup_epochs": warmup_epochs,
            "warmup": warmup,
            "final_share": final_share,
            "decay_rate": decay_rate,
        }
        self._kind, self._peak, self._warmup, self._decay_rate = kind, peak, warmup, decay_rate
        self._start, self._steps, self._warmup_epochs = start_epoch, steps_per_epoch, warmup_epochs
        self._down = epochs - warmup_epochs
        self._final = FINAL_LEARNING_RATES.get(kind, 0.0) if final_share is None else final_share

    def __call__(self, step: Any) -> Any:
        """The learning rate of an optimizer step, a float32 scalar."""
        done = self._start + ops.cast(step, "float32") / self._steps
        share = self._after(ops.maximum(done - self._warmup_epochs, 0.0))
        if self._warmup_epochs:
            rising = done if self._warmup == "linear" else ops.floor(done) + 1
            share = ops.where(done < self._warmup_epochs, rising / self._warmup_epochs, share)
        return self._peak * share

    def _after(self, done: Any) -> Any:
        """The factor when ``done`` epochs have passed since the warm-up."""
        t = ops.minimum(done / self._down, 1.0)
        if self._kind == "cosine":
            return self._final + (1 - self._final) * 0.5 * (1 + ops.cos(math.pi * t))
        if self._kind == "step":
            stage = ops.minimum(ops.floor(t * _STAGES), _STAGES - 1)
            return ops.power(ops.cast(self._final, "float32"), stage / (_STAGES - 1))
        if self._kind == "exponential":
            return ops.power(ops.cast(self._decay_rate, "float32"), ops.floor(done))
        return ops.ones_like(t)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this schedule again."""
        return dict(self._config)


def schedule_of(config: TrainConfig, phase: Phase, *, steps_per_epoch: int) -> EpochSchedule:
    """The schedule of a run's config from the start of a phase on.

    Args:
        config: the run.
        phase: its start and its peak.
        steps_per_epoch: with the batch size of the phase.
    """
    return EpochSchedule(
        config.schedule,
        phase.learning_rate,
        epochs=config.epochs,
        steps_per_epoch=steps_per_epoch,
        start_epoch=phase.start,
        warmup_epochs=config.num_warmup_epochs,
        warmup=config.warmup,
        final_share=config.final_learning_rate,
        decay_rate=config.decay_rate,
    )
