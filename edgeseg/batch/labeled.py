"""Find the images and labels of a split, in a folder of this machine or in an object store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from edgeseg._internal.fields import short_repr
from edgeseg._internal.files import scratch_folder
from edgeseg._internal.spread import spread
from edgeseg._internal.text import masked
from edgeseg.batch.storage import is_stored, read_stored, stored_names
from edgeseg.choices import LabelEncoding
from edgeseg.datasets import Classes, DataSource, open_split
from edgeseg.datasets.labels import recognize_encoding
from edgeseg.datasets.layouts import ALL
from edgeseg.datasets.source import classes_of
from edgeseg.errors import InputError
from edgeseg.imaging import IMAGE_SUFFIXES

# Labels that are read to recognize their encoding, as of a folder.
_NUM_LOOKED_AT = 16


@dataclass(frozen=True)
class Labeled:
    """One split of a labeled data set, by paths or addresses.

    Attributes:
        classes: names, colors and the ignored id.
        pairs: of an image and its label.
        label_encoding: how the labels encode the classes.
    """

    __repr__ = short_repr

    classes: Classes
    pairs: tuple[tuple[str, str], ...]
    label_encoding: LabelEncoding


def open_labeled(source: DataSource, split: str) -> Labeled:
    """Find the pairs of one split.

    Args:
        source: a data set as ``open_split`` takes it; or an address of a store with ``SPLIT/images`` and
            ``SPLIT/labels``, or ``images`` and ``labels`` alone for the split ``all``, and a ``classes.json``.
        split: its name.

    Raises:
        InputError: see ``open_split``.
        BackendUnavailable: the package for this kind of address is not installed.
    """
    if not is_stored(source.root):
        found = open_split(source, split)
        pairs = tuple((str(image), str(label)) for image, label in found.pairs)
        return Labeled(found.classes, pairs, found.label_encoding)
    if source.layout not in (None, "folders", "flat"):
        raise InputError(
            f"'{masked(source.root)}' is read as SPLIT/images and SPLIT/labels alone; omit `layout='{source.layout}'`."
        )
    base = source.root.rstrip("/")
    folder = base if split == ALL else f"{base}/{split}"
    images, labels = (_by_stem(f"{folder}/{name}/") for name in ("images", "labels"))
    if not images:
        raise InputError(f"'{masked(folder)}/images' has no images ({', '.join(sorted(IMAGE_SUFFIXES))}).")
    lacking = next((stem for stem in images if stem not in labels), None)
    if lacking is not None:
        raise InputError(f"'{masked(images[lacking])}' has no label in '{masked(folder)}/labels'.")
    pairs = tuple((image, labels[stem]) for stem, image in images.items())
    with scratch_folder() as scratch:  # what reads classes and encodings reads files
        table = scratch / "classes.json"
        if source.classes is None:
            table.write_bytes(read_stored(f"{base}/classes.json"))
        classes = classes_of(source, [table])
        looked_at = []
        for _, label in spread(pairs, _NUM_LOOKED_AT) if classes.label_encoding is None else ():
            looked_at.append(scratch / PurePosixPath(label).name)
            looked_at[-1].write_bytes(read_stored(label))
        return Labeled(classes, pairs, recognize_encoding(looked_at, classes))


def _by_stem(url: str) -> dict[str, str]:
    """Return the images in a folder of a store by their names without suffix."""
    root, names = stored_names(url)
    found: dict[str, str] = {}
    for name in sorted(names):
        path = PurePosixPath(name)
        if path.suffix.lower() in IMAGE_SUFFIXES and found.setdefault(path.stem, root + name) != root + name:
            raise InputError(f"'{masked(found[path.stem])}' and '{masked(root + name)}' have one name; rename one.")
    return found
