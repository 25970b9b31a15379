"""Report each training step while an epoch runs: the loss, and the milliseconds of a step."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import keras

from edgeseg._internal.progress import StepProgress

# Steps whose mean is reported: of many, as one may have waited for an image.
_STEPS = 20


class StepReport(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no type information
    """Calls a function after each step.

    Args:
        progress: called with what is done, the steps done and the steps of the epoch.
        epochs: of the whole run.
    """

    def __init__(self, progress: StepProgress, epochs: int) -> None:
        super().__init__()
        self._progress, self._epochs = progress, epochs
        self._epoch, self._ends = 0, deque[float](maxlen=_STEPS + 1)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Report the epoch: its first step takes longest, as the backend compiles the model."""
        self._epoch = epoch + 1
        self._ends.clear()
        self._progress(f"epoch {self._epoch}/{self._epochs}", 0, self._steps)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Report a step."""
        self._ends.append(time.perf_counter())
        text = f"epoch {self._epoch}/{self._epochs}"
        if logs and "loss" in logs:
            text += f"  loss {float(keras.ops.convert_to_numpy(logs['loss'])):.4f}"
        if len(self._ends) > 1:
            ms = 1e3 * (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1)
            text += f"  {ms:.0f} ms a step"
        self._progress(text, batch + 1, self._steps)

    @property
    def _steps(self) -> int:
        return int(self.params.get("steps") or 0)
