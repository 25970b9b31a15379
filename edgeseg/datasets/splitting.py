"""Split a data set into train, val and test: lists in a folder of their own."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

from edgeseg._internal.files import write_bytes
from edgeseg.choices import SplitOrder
from edgeseg.datasets.layouts import ALL, list_split, natural_order
from edgeseg.datasets.source import Data, as_source, empty_text, encoding_of, find_data
from edgeseg.errors import InputError

Pair = tuple[Path, Path]


@dataclass(frozen=True)
class SplitResult:
    """The lists that were written.

    Attributes:
        folder: the folder to give as ``--data`` from now on.
        counts: pairs of each split.
    """

    folder: Path
    counts: dict[str, int]


def split_pairs(
    pairs: tuple[Pair, ...], *, val: float, test: float, seed: int = 0, order: SplitOrder = "random"
) -> dict[str, list[Pair]]:
    """Split pairs.

    In random order an image's split follows from ``seed`` and its own name alone: it is the same on every machine,
    and images that are added later move few of the others to another split.

    Args:
        pairs: ``(image, label)`` paths.
        val: share for validation, in [0, 1).
        test: share for the test, in [0, 1).
        seed: of the random order.
        order: ``name`` takes the last images, by number, for the test and those before them for validation: frames of a
            video must not be split at random, as neighbors are nearly equal.

    Returns:
        The pairs of ``train``, ``val`` and ``test``, each sorted by name; a split with share 0 is omitted.

    Raises:
        InputError: the shares leave nothing to train on.
    """
    if not (0 <= val < 1 and 0 <= test < 1 and 0 < val + test < 1):
        raise InputError(f"the shares must be 0 or more and leave some for training, got val {val} and test {test}.")

    def place(pair: Pair) -> tuple[object, ...]:
        if order == "name":
            return natural_order(pair[0])
        return (hashlib.sha256(f"{seed}/{pair[0].stem}".encode()).digest(), pair[0].stem)

    ordered = sorted(pairs, key=place)
    # A share above 0 is at least one image: an empty split would be a mistake found later.
    num_val, num_test = (max(1, round(share * len(pairs))) if share else 0 for share in (val, test))
    num_train = len(pairs) - num_val - num_test
    if num_train < 1:
        raise InputError(f"{len(pairs)} pairs are too few for val {val} and test {test}: none is left for training.")
    end = num_train + num_val
    parts = {"train": ordered[:num_train], "val": ordered[num_train:end], "test": ordered[end:]}
    return {name: sorted(part, key=lambda pair: natural_order(pair[0])) for name, part in parts.items() if part}


def split(
    data: Data,
    output_dir: str | Path,
    *,
    val: float,
    test: float,
    seed: int = 0,
    order: SplitOrder = "random",
    overwrite: bool = False,
) -> SplitResult:
    """Write ``train.txt``, ``val.txt``, ``test.txt`` and ``classes.json``; the data is not moved or changed.

    Args:
        data: a data set without splits.
        output_dir: folder for the lists, which have paths relative to it.
        val: see ``split_pairs``, and so on.
        test: see there.
        seed: see there.
        order: see there.
        overwrite: whether lists of an earlier run may be replaced.

    Raises:
        InputError: the data has splits already, a pair is not complete, or the folder is the data's own.
    """
    dataset, classes = find_data(data)
    folder = Path(output_dir)
    if dataset.splits != (ALL,):
        raise InputError(
            f"'{dataset.base}' has splits already: {', '.join(dataset.splits)}; they are kept as they are. "
            "To share one out, give its own folder, and --classes."
        )
    if folder.absolute() in (Path(as_source(data).root).absolute(), dataset.base.absolute()):
        raise InputError(f"'{folder}' is the data itself; give a new folder for the lists.")
    listing = list_split(dataset, ALL)
    if listing.faults:
        raise listing.faults[0]
    if not listing.pairs:
        raise InputError(empty_text(listing.place))
    parts = split_pairs(listing.pairs, val=val, test=test, seed=seed, order=order)
    table = replace(classes, label_encoding=encoding_of(dataset, classes, {ALL: listing})).to_dict()
    existing = [name for name in ("train", "val", "test") if (folder / f"{name}.txt").exists() and name not in parts]
    if existing:
        raise InputError(f"'{folder}' has a {existing[0]}.txt of another split; give a new folder.")
    write_bytes(folder / "classes.json", (json.dumps(table, indent=2) + "\n").encode(), overwrite=overwrite)
    for name, part in parts.items():
        lines = ["\t".join(_relative(path, folder) for path in pair) for pair in part]
        write_bytes(folder / f"{name}.txt", ("\n".join(lines) + "\n").encode(), overwrite=overwrite)
    return SplitResult(folder, {name: len(part) for name, part in parts.items()})


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
