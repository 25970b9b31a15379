"""Match the names of labels with those of images, where all labels have the same addition: ``x_mask`` for ``x``."""

from __future__ import annotations

from collections.abc import Collection

#: What an addition to a name begins with, and one before a name ends with.
SEPARATORS = "_-. "


def matched(images: Collection[str], labels: Collection[str]) -> dict[str, str] | None:
    """Return the name of its image for every label.

    The images may have an addition of their own: ``x_leftImg8bit`` and ``x_gtFine_labelIds``. Nothing is guessed where
    any label has the name of an image, or where a label would be left over.

    Args:
        images: names of images, without suffix.
        labels: names of labels, without suffix.

    Returns:
        Label to image; ``None`` where the names are those of images, or do not match.
    """
    if not images or not labels or not set(images).isdisjoint(labels):
        return None
    at_end = _by_ends(images, labels)
    if at_end is not None:
        return at_end
    at_start = _by_ends([name[::-1] for name in images], [name[::-1] for name in labels])
    return None if at_start is None else {label[::-1]: image[::-1] for label, image in at_start.items()}


def _by_ends(images: Collection[str], labels: Collection[str]) -> dict[str, str] | None:
    for of_images in ("", *_additions(images)):
        image_of = {name.removesuffix(of_images): name for name in images}
        for of_labels in _additions(labels):
            cores = {name: name.removesuffix(of_labels) for name in labels}
            if set(cores.values()) <= set(image_of):
                return {name: image_of[core] for name, core in cores.items()}
    return None


def _additions(names: Collection[str]) -> list[str]:
    """Return the ends that all names have in common and that begin with a separator, the shortest first."""
    one = min(names, key=len)
    ends = [one[index:] for index in range(len(one) - 1, 0, -1) if one[index] in SEPARATORS]
    return [end for end in ends if all(name.endswith(end) for name in names)]
