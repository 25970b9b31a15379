"""Divide a run into phases: with the encoder frozen, then with the whole model; or all of it in one of the two."""

from __future__ import annotations

from dataclasses import dataclass

from edgeseg.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Epochs that share an optimizer.

    Attributes:
        start: number of epochs before it.
        end: number of epochs when it is over.
        batch_size: images in a step.
        learning_rate: peak.
        frozen: whether the encoder is frozen.
    """

    start: int
    end: int
    batch_size: int
    learning_rate: float
    frozen: bool


def phases_of(config: TrainConfig) -> tuple[Phase, ...]:
    """Return the phases of a run, in order."""
    usual = config.peak_learning_rate

    def phase(start: int, end: int, batch_size: int, learning_rate: float, *, frozen: bool) -> Phase:
        scale = batch_size / config.nominal_batch_size if config.nominal_batch_size else 1.0
        return Phase(start=start, end=end, batch_size=batch_size, learning_rate=learning_rate * scale, frozen=frozen)

    end = config.num_freeze_epochs
    batch_size, rate = config.freeze_batch_size or config.batch_size, config.freeze_learning_rate or usual
    phases = (
        phase(0, end, batch_size, rate, frozen=True),
        phase(end, config.epochs, config.batch_size, usual, frozen=False),
    )
    return tuple(phase for phase in phases if phase.start < phase.end)
