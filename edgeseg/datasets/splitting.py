"""Split a data set into train, val and test, or take from train what it lacks: lists in a folder of their own."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

from edgeseg._internal.files import write_text, writing_folder
from edgeseg._internal.text import counted
from edgeseg.choices import SplitOrder
from edgeseg.datasets.layouts import ALL, Dataset, Listing, list_split, natural_order
from edgeseg.datasets.source import Data, as_source, empty_text, encoding_of, find_data
from edgeseg.errors import InputError

Pair = tuple[Path, Path]

#: Share of each split that is not given, of data that has none.
DEFAULT_SHARE = 0.1


@dataclass(frozen=True)
class SplitResult:
    """The lists that were written.

    Attributes:
        folder: the folder to give as ``data`` from now on.
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
        return (hashlib.sha256(f"{seed}/{pair[0].stem}".encode(errors="backslashreplace")).digest(), pair[0].stem)

    ordered = sorted(pairs, key=place)
    # A share above 0 is at least one image: an empty split would be a mistake found later.
    num_val, num_test = (max(1, round(share * len(pairs))) if share else 0 for share in (val, test))
    num_train = len(pairs) - num_val - num_test
    if num_train < 1:
        raise InputError(f"val {val} and test {test} of {counted(len(pairs), 'pair')} leave none for training.")
    end = num_train + num_val
    parts = {"train": ordered[:num_train], "val": ordered[num_train:end], "test": ordered[end:]}
    return {name: sorted(part, key=lambda pair: natural_order(pair[0])) for name, part in parts.items() if part}


def source_split(dataset: Dataset) -> str:
    """Return the split that others are taken from: ``train``; or the only one, of data that is not split into it."""
    alone = dataset.splits[0] if len(dataset.splits) == 1 else "train"
    return alone if alone in (ALL, "trainval") else "train"


def split(
    data: Data,
    output_dir: str | Path,
    *,
    val: float | None = None,
    test: float | None = None,
    seed: int = 0,
    order: SplitOrder = "random",
    overwrite: bool = False,
) -> SplitResult:
    """Write ``train.txt``, ``val.txt``, ``test.txt`` and ``classes.json``; the data is not moved or changed.

    Args:
        data: a data set without splits; or one with ``train``, from which the others are taken. Those that it has are
            kept.
        output_dir: folder for the lists, which have paths relative to it.
        val: share for validation, in [0, 1), of the images that are divided; ``DEFAULT_SHARE`` when ``None``, of data
            without ``val``.
        test: share for the test, likewise; ``DEFAULT_SHARE`` when ``None``, of data without splits, else none.
        seed: see ``split_pairs``.
        order: see there.
        overwrite: whether lists of an earlier run may be replaced.

    Raises:
        InputError: the data has a split that a share asks for, a pair is not complete, or the folder is the data's own.
    """
    dataset, classes = find_data(data)
    folder = Path(output_dir)
    divided = source_split(dataset)
    kept = [name for name in ("val", "test") if name in dataset.splits]
    shares = _shares(dataset, divided, {"val": val, "test": test})
    if folder.absolute() in (Path(as_source(data).root).absolute(), dataset.base.absolute()):
        raise InputError(f"'{folder}' is the data itself; give a new folder for the lists.")
    listings = {name: _complete(list_split(dataset, name)) for name in (divided, *kept)}
    parts = split_pairs(listings[divided].pairs, **shares, seed=seed, order=order)
    parts |= {name: list(listings[name].pairs) for name in kept}
    table = replace(classes, label_encoding=encoding_of(dataset, classes, listings)).to_dict()
    existing = [name for name in ("train", "val", "test") if (folder / f"{name}.txt").exists() and name not in parts]
    if existing:
        raise InputError(f"'{folder}' has a {existing[0]}.txt of another split; give a new folder.")
    lists = {name: [_line(pair, folder) for pair in part] for name, part in parts.items()}
    with writing_folder(folder):
        write_text(folder / "classes.json", json.dumps(table, indent=2) + "\n", overwrite=overwrite)
        for name, lines in lists.items():
            write_text(folder / f"{name}.txt", "\n".join(lines) + "\n", overwrite=overwrite)
    return SplitResult(folder, {name: len(part) for name, part in parts.items()})


def _shares(dataset: Dataset, divided: str, asked: dict[str, float | None]) -> dict[str, float]:
    """Return the share of each split that is made.

    Raises:
        InputError: the data has one that is asked for, or all that can be made.
    """
    has = [name for name in asked if name in dataset.splits]
    by_default = {"val": DEFAULT_SHARE, "test": DEFAULT_SHARE if divided != "train" else 0.0}
    shares = {name: by_default[name] if share is None else share for name, share in asked.items()}
    made = {name: 0.0 if name in has else share for name, share in shares.items()}
    if any(asked[name] for name in has) or (has and not any(made.values())) or divided not in dataset.splits:
        raise InputError(
            f"'{dataset.base}' has splits already: {', '.join(dataset.splits)}; they are kept as they are. "
            "To share one out, give its own folder, and `classes`."
        )
    return made


def _complete(listing: Listing) -> Listing:
    if listing.faults:
        raise listing.faults[0]
    if not listing.pairs:
        raise InputError(empty_text(listing.place))
    return listing


def _line(pair: tuple[Path, Path], folder: Path) -> str:
    """Return the line of a list for a pair.

    Raises:
        InputError: a name has what separates names in a list, or bytes that are no UTF-8.
    """
    names = [_relative(path, folder) for path in pair]
    line = "\t".join(names)
    try:
        line.encode()
        fits = line.splitlines() == [line] == [line.strip()] and line.count("\t") == 1 and not line.startswith("#")
    except UnicodeEncodeError:
        fits = False
    if not fits:
        raise InputError(
            f"'{pair[0]}' or '{pair[1]}' cannot be in a list: its name has a tab, a line end or bytes that are no "
            "UTF-8, or begins with # or a space; rename it."
        )
    return line


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
