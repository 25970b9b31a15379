"""Name the images of folders, patterns, lists and object stores: sorted, each once, in little memory."""

from __future__ import annotations

import bisect
import glob
import os
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np

from edgeseg._internal.text import escaped, masked, unprintable
from edgeseg.batch.record import Item, stem_of
from edgeseg.batch.shard import Shard
from edgeseg.batch.storage import is_stored, stored_names
from edgeseg.errors import InputError
from edgeseg.imaging import IMAGE_SUFFIXES
from edgeseg.sources.video import VIDEO_SUFFIXES
from edgeseg.video.address import local_path

#: How a list of images is named: ``@names.txt``.
LIST = "@"

# Characters of a line in a list; a path has 4096 bytes, and addresses may have a few more.
_LONGEST_LINE = 10_000


class Listing(Protocol):
    """Images in the order of their names, as a run takes them."""

    def __len__(self) -> int: ...

    def item(self, index: int) -> Item:
        """Return one of them."""
        ...

    def index(self, name: str) -> int | None:
        """Return where a name is; ``None`` where it is not one of them."""
        ...


class Images:
    """Images by their names, a text each: a million of them take about 100 MB.

    A name is the path from the folder, or from what precedes the first wildcard of a pattern; of a list, from the
    folder that all its lines share. What is in a list but no image by its suffix is kept, as somebody has written it.
    """

    def __init__(self, sources: Sequence[str], shard: Shard | None = None) -> None:
        """List the sources.

        Args:
            sources: image files, folders (their images, not those of the folders in them), patterns (``**`` for all
                folders below), ``@FILE`` for a list of images, a line each, and the same as addresses of a store.
            shard: which of them to keep; all by default.

        Raises:
            InputError: a source does not exist, has no images, or is a video; or two images have one name.
            BackendUnavailable: the package for a kind of address is not installed.
        """
        shard = shard or Shard()
        self._roots: list[str] = []
        found: list[str] = []
        root_of = array("L")
        for source in sources:
            before = len(found)
            for root, names in _listed(source):
                kept = len(found)
                found += names
                root_of.extend(array("L", [len(self._roots)]) * (len(found) - kept))
                self._roots.append(root)
            if len(found) == before:
                raise InputError(f"source '{masked(source)}' does not exist or has no images.")
        self.num_listed = len(found)
        self._names, self._root_of = _in_order(found, root_of, shard)
        self._refuse_names()

    def __len__(self) -> int:
        return len(self._names)

    def item(self, index: int) -> Item:
        """Return one image by its place in the order."""
        name = self._names[index]
        return Item(name, self._roots[self._root_of[index]] + name)

    def index(self, name: str) -> int | None:
        """Return the place of a name; ``None`` where no image has it."""
        place = bisect.bisect_left(self._names, name)
        return place if place < len(self._names) and self._names[place] == name else None

    def _refuse_names(self) -> None:
        """Refuse a name that cannot be told from another where it is read, or is no text, as some bytes are."""
        for name in self._names:
            if not name.isprintable() and unprintable(name):
                raise InputError(f"image '{escaped(name)}' has {unprintable(name)} in its name; rename it.")
        self._refuse_same_names()

    def _refuse_same_names(self) -> None:
        """Refuse two images whose results would have one name: only hashes are kept meanwhile, 8 bytes each."""
        hashes = np.fromiter((hash(stem_of(name)) for name in self._names), np.int64, len(self._names))
        hashes.sort()
        twice = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
        if not twice:
            return
        first: dict[str, int] = {}
        for index, name in enumerate(self._names):
            if hash(stem_of(name)) in twice:
                other = first.setdefault(stem_of(name), index)
                if other != index:
                    raise InputError(
                        f"'{masked(self.item(other).image)}' and '{masked(self.item(index).image)}' would have the "
                        "same name in the results; rename one, or read them in two runs."
                    )


class Pairs:
    """The images and labels of a split by the names of the images: their paths from the folder that all share."""

    def __init__(self, pairs: Sequence[tuple[str, str]], shard: Shard | None = None) -> None:
        """Take a shard of the pairs of an image and its label, paths or addresses; all by default."""
        shard = shard or Shard()
        root = _shared(image for image, _ in pairs)
        named = ((_inside(image.removeprefix(root)), image, label) for image, label in pairs)
        self._pairs = sorted(pair for pair in named if shard.has(pair[0]))
        self.num_listed = len(pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def item(self, index: int) -> Item:
        """Return one image with its label by its place in the order."""
        name, image, label = self._pairs[index]
        return Item(name, image, label)

    def index(self, name: str) -> int | None:
        """Return the place of a name; ``None`` where no image has it."""
        place = bisect.bisect_left(self._pairs, name, key=lambda pair: pair[0])
        return place if place < len(self._pairs) and self._pairs[place][0] == name else None


def _in_order(names: list[str], root_of: array[int], shard: Shard) -> tuple[list[str], array[int]]:
    """Return the names of a shard in their order, and the root of each."""
    if len(set(root_of)) < 2:
        kept = names if shard.count == 1 else [name for name in names if shard.has(name)]
        kept.sort()
        return kept, array("L", root_of[:1]) * len(kept)
    pairs = sorted((name, root) for name, root in zip(names, root_of, strict=True) if shard.has(name))
    return [name for name, _ in pairs], array("L", (root for _, root in pairs))


def _listed(source: str) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield the folder of a source, with a slash at its end, and the names in it."""
    if source.startswith(LIST):
        yield _list(source.removeprefix(LIST))
        return
    if is_stored(source):
        root, names = stored_names(source)
        yield root, [_inside(name) for name in names if _is_image(name)]
        return
    path = Path(local_path(source))
    if path.is_dir():
        with os.scandir(path) as entries:
            yield f"{path}/", [entry.name for entry in entries if _is_image(entry.name)]
    elif path.exists():
        if path.suffix.lower() in VIDEO_SUFFIXES:
            raise InputError(f"'{source}' is a video, whose frames go in order; omit `jobs`, `shard` and the like.")
        yield f"{path.parent}/", [path.name]
    elif _has_wildcard(source):
        root = _fixed(source)
        matches = glob.iglob(source, recursive=True)  # noqa: PTH207 - the pattern may be absolute
        yield root, (match.removeprefix(root) for match in matches if _is_image(match) and not Path(match).is_dir())


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - a Path each takes ten times as long


def _has_wildcard(text: str) -> bool:
    return any(sign in text for sign in "*?[")


def _fixed(pattern: str) -> str:
    """Return the folder before the first wildcard, with its slash; empty for the current one."""
    before = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    return before[: before.rfind("/") + 1]


def _list(path: str) -> tuple[str, list[str]]:
    """Read a list of images; return the folder that they share, and their names from there."""
    lines: list[str] = []
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            while line := file.readline(_LONGEST_LINE + 1):
                if len(line) > _LONGEST_LINE:
                    raise InputError(f"'{path}': line {len(lines) + 1} has more than {_LONGEST_LINE} characters.")
                if (place := line.strip("\r\n")) and not place.startswith("#"):
                    lines.append(place)
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise InputError(f"'{path}' cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if not lines:
        raise InputError(f"'{path}' names no image; a list has a path or an address a line.")
    stored = is_stored(lines[0])
    for number, line in enumerate(lines):
        if is_stored(line) != stored:
            raise InputError(f"'{path}' has addresses and files of this machine; make two lists of it.")
        if not stored:
            lines[number] = os.path.normpath(local_path(line))
    root = _shared(lines)
    if stored and root.count("/") < 3:
        raise InputError(f"'{path}' has addresses of several stores; make a list for each.")
    return root, [_inside(line.removeprefix(root)) for line in lines]


def _shared(places: Iterable[str]) -> str:
    """Return the folder that all places share, with its slash; empty where there is none."""
    # What the first and the last in order share, all do; commonpath would refuse addresses.
    ordered = sorted(places)
    shared = os.path.commonprefix([ordered[0], ordered[-1]])  # noqa: RUF071 - cut at a slash here
    return shared[: shared.rfind("/") + 1]


def _inside(name: str) -> str:
    """Refuse a name that would lead out of the folder of the results."""
    if name.startswith("/") or ".." in PurePosixPath(name).parts:
        raise InputError(f"'{masked(name)}' is in another folder than the rest, and has no place among the results.")
    return name
