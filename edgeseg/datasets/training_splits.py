"""Decide which images a training learns from and which it is validated on."""

from __future__ import annotations

from dataclasses import replace

from edgeseg.datasets.source import Data, LabeledSplit, find_data, open_split
from edgeseg.datasets.splitting import source_split, split_pairs
from edgeseg.errors import InputError


def splits_of_training(data: Data, *, val_fraction: float | None = None, validate: bool = True) -> tuple[str, ...]:
    """Return the splits that a training reads: ``train`` and ``val``, or the one that has all the images it uses.

    Args:
        data: the data set, in any of the layouts.
        val_fraction: share of the training split to validate on; ``None`` for ``val``.
        validate: whether anything is validated.

    Raises:
        InputError: the data has no such splits, or has ``val`` beside a share for it; the text says what to type.
    """
    dataset, _ = find_data(data)
    if val_fraction is not None and "val" in dataset.splits:
        raise InputError(f"'{dataset.base}' has a val split; `val_fraction` is for data without one. Omit it.")
    if not validate or val_fraction is not None:
        return (source_split(dataset),)
    if "train" in dataset.splits and "val" not in dataset.splits:
        raise InputError(
            f"'{dataset.base}' has train and no val: give `val_fraction=0.1` to validate on a tenth of train, "
            "`validate=False` to validate on nothing, or write lists with "
            f"edgeseg data split {dataset.typed} --val 0.1."
        )
    return "train", "val"


def training_splits(
    data: Data, *, val_fraction: float | None = None, validate: bool = True
) -> tuple[LabeledSplit, LabeledSplit | None]:
    """Open what a training learns from and what it is validated on; ``None`` for nothing.

    Args:
        data: see ``splits_of_training``, and so on.
        val_fraction: see there; the images are those of ``edgeseg data split --val`` with its own seed.
        validate: see there.

    Raises:
        InputError: see there; or the share leaves nothing to learn from.
    """
    names = splits_of_training(data, val_fraction=val_fraction, validate=validate)
    train = open_split(data, names[0])
    if len(names) > 1:
        return train, open_split(data, names[1])
    if val_fraction is None:
        return train, None
    parts = split_pairs(train.pairs, val=val_fraction, test=0)
    return replace(train, pairs=tuple(parts["train"])), replace(train, pairs=tuple(parts["val"]))
