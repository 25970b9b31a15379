"""Define ``RunOptions``: how a training run is carried out, which does not affect what it learns; without keras."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from edgeseg._internal.fields import short_repr
from edgeseg._internal.progress import StepProgress
from edgeseg.choices import Distribute, WatchedMetric
from edgeseg.errors import InputError, did_you_mean, missing_extra
from edgeseg.training.run.folder import require_place

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run is carried out: two runs that differ only in this give one model.

    Attributes:
        resume: continue from ``last.keras``; the config must be that of the interrupted run.
        overwrite: whether files of an earlier run may be replaced.
        samples: validation images to draw with label and prediction after each epoch, into ``samples``.
        metrics: what to watch beside the losses, of the training batches and of the validation (``NAME`` and
            ``val_NAME`` in the history): names of ``WatchedMetric``, and metrics or functions of labels and logits as
            Keras' ``compile`` takes them. Of the main output; or of several, by their names.
        save_every: after each so many epochs the exported model is kept, in ``checkpoints``; never when ``None``.
        tensorboard: whether to write a log for it, into ``tensorboard`` in the folder.
        distribute: whether to train on several devices, see ``edgeseg.training.distribution``. They share
            ``batch_size``. Each of several workers gets the same arguments and sees the same ``output_dir``; the first
            writes, and callbacks are called in all.
        callbacks: Keras' or the caller's; the logs of an epoch have ``loss``, ``val_loss`` and ``val_mean_iou``.
        log: called with one line for the run, and one for each epoch.
        progress: called with what is done, the steps done and the steps in all: after each step of an epoch, and while
            it is validated.
    """

    __repr__ = short_repr

    resume: bool = False
    overwrite: bool = False
    samples: int = 0
    metrics: Sequence[Any] | Mapping[str, Sequence[Any]] = ()
    save_every: int | None = None
    tensorboard: bool = False
    distribute: Distribute = "none"
    callbacks: Sequence[keras.callbacks.Callback] = ()
    log: Callable[[str], None] = print
    progress: StepProgress | None = None

    def check(self, folder: Path) -> None:
        """Refuse a run that cannot begin or continue in a folder.

        Raises:
            InputError: files of an earlier run are there and may not be replaced; there is nothing to resume; or a
                metric is not known.
            BackendUnavailable: tensorboard is requested and is not installed.
        """
        chosen = self.metrics.values() if isinstance(self.metrics, Mapping) else [self.metrics]
        for name in (metric for metrics in chosen for metric in metrics if isinstance(metric, str)):
            if name not in get_args(WatchedMetric):
                accepted = ", ".join(get_args(WatchedMetric))
                raise InputError(f"metric '{name}' is none of {accepted}.{did_you_mean(name, get_args(WatchedMetric))}")
        if self.save_every is not None and self.save_every < 1:
            raise InputError(f"save_every must be 1 or more epochs, got {self.save_every}.")
        require_place(folder, resume=self.resume, overwrite=self.overwrite)
        if self.tensorboard and importlib.util.find_spec("tensorboard") is None:
            raise missing_extra("`tensorboard`", "train")
