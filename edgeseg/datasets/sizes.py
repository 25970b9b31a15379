"""Summarize the sizes of the images of a data set, from which the size of a model's input follows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Size = tuple[int, int]

#: A model's input shows images at less than their size by more than this where small objects vanish: what is three
#: pixels wide in an image has less than two in the input.
SHRINKS = 1.5

# Sizes that every model of the zoo takes are its multiples.
_STRIDE = 32
# The encoders see a 32nd of each side: two pixels are the least that convolutions find a neighbor in.
_SMALLEST = 64


@dataclass(frozen=True)
class ImageSizes:
    """How many images have which size.

    Attributes:
        counts: number of images of each size ``(H, W)``, in pixels.
    """

    counts: Mapping[Size, int]

    @classmethod
    def of(cls, sizes: Iterable[Size]) -> ImageSizes:
        """Count sizes ``(H, W)``."""
        return cls(dict(Counter(sizes)))

    @property
    def smallest(self) -> Size:
        """The size with the fewest pixels."""
        return self._by_area()[0]

    @property
    def median(self) -> Size:
        """The size of the image in the middle, by pixels: half of the images have no more than it."""
        sizes = self._by_area()
        return sizes[(len(sizes) - 1) // 2]

    @property
    def largest(self) -> Size:
        """The size with the most pixels."""
        return self._by_area()[-1]

    @property
    def aspect(self) -> tuple[float, float]:
        """The least and the greatest ratio of width to height."""
        ratios = [width / height for height, width in self.counts]
        return min(ratios), max(ratios)

    def line(self) -> str:
        """Return one line for people: how many sizes, the smallest, the median and the largest, and the aspect."""
        if not self.counts:
            return "image sizes (HxW): none"
        low, high = (f"{ratio:.2f}" for ratio in self.aspect)
        aspect = f"width to height {low}" + (f" to {high}" if high != low else "")
        if len(self.counts) == 1:
            return f"image sizes (HxW): all {as_text(self.median)}; {aspect}"
        of_three = ((name, as_text(getattr(self, name))) for name in ("smallest", "median", "largest"))
        return f"image sizes (HxW): {len(self.counts)}; {', '.join(map(' '.join, of_three))}; {aspect}"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object: sizes as ``[H, W]`` in pixels, null where there is no image."""
        known = bool(self.counts)
        return {
            "num_sizes": len(self.counts),
            **{name: list(getattr(self, name)) if known else None for name in ("smallest", "median", "largest")},
            "aspect": list(self.aspect) if known else None,
        }

    def _by_area(self) -> list[Size]:
        """Return the size of each image, by pixels."""
        ordered = sorted(self.counts, key=lambda size: (size[0] * size[1], size))
        return [size for size in ordered for _ in range(self.counts[size])]


def input_size_near(size: Size, scale: float = 1.0) -> Size:
    """Return the size ``(H, W)`` that every model of the zoo takes and that is nearest to a scaled one."""
    height, width = (max(_SMALLEST, round(side * scale / _STRIDE) * _STRIDE) for side in size)
    return height, width


def as_text(size: Size) -> str:
    """Return a size ``(H, W)`` as people read it: ``480x640``."""
    return f"{size[0]}x{size[1]}"


def as_option(size: Size) -> str:
    """Return a size ``(H, W)`` as ``--imgsz`` takes it: ``480,640``, or ``512`` for a square."""
    return str(size[0]) if size[0] == size[1] else f"{size[0]},{size[1]}"
