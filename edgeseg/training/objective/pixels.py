"""Read labels and logits pixel by pixel, the same for every loss and metric: one channel tells two classes apart."""

from __future__ import annotations

from typing import Any

from keras import ops


def num_classes_of(channels: int) -> int:
    """Return how many classes so many channels of scores tell apart."""
    return max(channels, 2)


def class_scores(logits: Any) -> Any:
    """Return a logit for each class.

    Args:
        logits: ``(B, ..., C)``; of one channel it is that of class 1, against class 0.

    Returns:
        ``(B, ..., C)``; for one channel ``x`` it is ``[0, x]``, as an export has it: its softmax is
        ``[1 - sigmoid(x), sigmoid(x)]``, and class 1 is where the sigmoid is above 0.5.
    """
    if logits.shape[-1] != 1:
        return logits
    return ops.concatenate([ops.zeros_like(logits), logits], axis=-1)


def class_ids(labels: Any, logits: Any) -> Any:
    """Return class ids as int32 ``(B, ...)``, from labels with or without an axis of one channel, as logits have it."""
    ids = ops.cast(labels, "int32")
    return ops.squeeze(ids, axis=-1) if len(ids.shape) == len(logits.shape) and ids.shape[-1] == 1 else ids
