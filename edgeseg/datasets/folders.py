"""A labelled folder data set: ``{train,val,test}/{images,labels}`` and ``classes.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import InputError
from edgeseg.imaging import IMAGE_SUFFIXES, read_image, read_label
from edgeseg.spec import Colour, check_classes, default_palette


@dataclass(frozen=True)
class Classes:
    """The classes of a data set, as ``classes.json`` has them.

    Attributes:
        names: one name for each class, in the order of the ids.
        palette: one RGB colour in 0..255 for each class.
        ignore_index: label id that is no class; ``None`` where there is none.
    """

    names: tuple[str, ...]
    palette: tuple[Colour, ...]
    ignore_index: int | None


@dataclass(frozen=True)
class FolderDataset:
    """One split of a labelled folder data set.

    Attributes:
        classes: names, colours and the ignored id.
        pairs: ``(image, label)`` paths, sorted by name.
    """

    classes: Classes
    pairs: tuple[tuple[Path, Path], ...]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Read one pair: ``(H, W, 3)`` uint8 RGB, and ``(H, W)`` uint8 class ids.

        Raises:
            InputError: a picture does not decode, the two sizes differ, or a label has an id that is no class.
        """
        image_path, label_path = self.pairs[index]
        image, label = read_image(image_path), read_label(label_path)
        if image.shape[:2] != label.shape:
            raise InputError(f"'{image_path}' is {image.shape[:2]} but its label '{label_path}' is {label.shape}.")
        unknown = label >= len(self.classes.names)
        if self.classes.ignore_index is not None:
            unknown &= label != self.classes.ignore_index
        if unknown.any():
            raise InputError(
                f"'{label_path}' has the id {label[unknown][0]}, but classes.json has {len(self.classes.names)} "
                f"classes and ignore_index {self.classes.ignore_index}."
            )
        return image, label


def read_classes(path: Path) -> Classes:
    """Read ``classes.json``: ``{"names": [...], "palette": [[r, g, b], ...], "ignore_index": id or null}``.

    Only ``names`` is required; the palette defaults to PASCAL VOC's.

    Raises:
        InputError: the file is missing or not of that form.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data["names"], list):
            raise TypeError("names is not a list")
        names = tuple(str(name) for name in data["names"])
        given = data.get("palette")
        palette = tuple((int(r), int(g), int(b)) for r, g, b in given) if given else default_palette(len(names))
        ignore = data.get("ignore_index")
        classes = Classes(names, palette, None if ignore is None else int(ignore))
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}; a data folder needs a classes.json.") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"'{path}' is not of the form "
            f'{{"names": [...], "palette": [[r, g, b], ...], "ignore_index": id}}: {error!r}.'
        ) from error
    check_classes(f"'{path}'", names, palette, classes.ignore_index)
    return classes


def open_folder(root: str | Path, split: str) -> FolderDataset:
    """Find the pairs of one split.

    Args:
        root: folder with ``classes.json`` and one folder for each split.
        split: name of the split's folder, ``train``, ``val`` or ``test``.

    Raises:
        InputError: a folder or a label is missing; the text names it.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"data folder '{root}' does not exist.")
    classes = read_classes(root / "classes.json")
    images, labels = root / split / "images", root / split / "labels"
    for folder in (images, labels):
        if not folder.is_dir():
            found = sorted(p.name for p in root.iterdir() if (p / "images").is_dir())
            raise InputError(f"'{folder}' does not exist; splits found in '{root}': {', '.join(found) or 'none'}.")
    by_stem = {path.stem: path for path in labels.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES}
    pairs = []
    for image in sorted(images.iterdir()):
        if image.suffix.lower() in IMAGE_SUFFIXES:
            if image.stem not in by_stem:
                raise InputError(f"'{image}' has no label in '{labels}'.")
            pairs.append((image, by_stem[image.stem]))
    if not pairs:
        raise InputError(f"'{images}' has no pictures ({', '.join(sorted(IMAGE_SUFFIXES))}).")
    return FolderDataset(classes, tuple(pairs))
