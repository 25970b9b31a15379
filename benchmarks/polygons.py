"""Compare polygons of label images at several tolerances: corners, overlap with the mask, seconds.

    python benchmarks/polygons.py camvid/val/labels --images 20

Each class of each image is a mask. Beside edgeseg's polygons are those of OpenCV, ``findContours`` and then Douglas and
Peucker's ``approxPolyDP`` with the same tolerance, as annotation tools simplify. The overlap (IoU) is that of the mask
with the polygons drawn again: by the centers of pixels, and as pycocotools draws COCO polygons; the worst mask counts.
For OpenCV, whose corners are pixels' centers, the half pixel to the continuous coordinates is added. Both sides take
turns, mask by mask.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from edgeseg.polygons.coco import LOSSLESS
from edgeseg.polygons.raster import drawn
from edgeseg.polygons.trace import polygons_of

Mask = NDArray[np.bool_]
Rings = list[NDArray[np.float64]]
#: Polygons, each the exterior and its holes.
Polygons = list[Rings]


@dataclass
class Side:
    """One way to make polygons, and what was measured of it."""

    name: str
    make: Callable[[Mask], Polygons]
    corners: int = 0
    masks: int = 0
    seconds: list[float] = field(default_factory=list)
    by_centers: list[float] = field(default_factory=list)
    by_coco: list[float] = field(default_factory=list)

    def add(self, mask: Mask) -> None:
        """Measure one mask."""
        begun = time.thread_time()  # of the core, so that other work on the machine does not count
        polygons = self.make(mask)
        self.seconds.append(time.thread_time() - begun)
        self.corners += sum(len(ring) for rings in polygons for ring in rings)
        size = (mask.shape[0], mask.shape[1])
        self.by_centers.append(overlap(drawn([ring for rings in polygons for ring in rings], size), mask))
        again = np.zeros(mask.shape, np.uint8)
        for rings in polygons:
            # COCO's polygons have no holes: each ring is drawn, and holes are taken out.
            exterior, *holes = (drawn_by_coco(ring, size) for ring in rings)
            again |= exterior & ~np.bitwise_or.reduce([np.zeros_like(exterior), *holes])
        self.by_coco.append(overlap(again.astype(bool), mask))

    def row(self) -> str:
        """Return the line of the table."""
        median = 1e3 * float(np.median(self.seconds))
        return (
            f"| {self.name} | {self.corners:,} | {min(self.by_centers):.4f} | {min(self.by_coco):.4f} | {median:.1f} |"
        )


def drawn_by_coco(ring: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw a ring as pycocotools does; of fewer than three corners nothing."""
    if len(ring) < 3:
        return np.zeros(size, np.uint8)
    mask: NDArray[np.uint8] = coco.decode(coco.merge(coco.frPyObjects([ring.ravel().tolist()], *size)))
    return mask


def overlap(one: Mask, other: Mask) -> float:
    """Return the intersection over the union."""
    return float((one & other).sum() / max((one | other).sum(), 1))


def ours(tolerance: float) -> Callable[[Mask], Polygons]:
    """Return edgeseg's way at a tolerance."""
    return lambda mask: [list(polygon.rings) for polygon in polygons_of(mask, tolerance=tolerance)]


def opencv(tolerance: float) -> Callable[[Mask], Polygons]:
    """Return OpenCV's way at a tolerance."""

    def make(mask: Mask) -> Polygons:
        contours, tree = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        polygons: dict[int, Rings] = {}
        for index, (contour, (_, _, _, parent)) in enumerate(zip(contours, tree[0], strict=True)):
            ring = cv2.approxPolyDP(contour, tolerance, True)[:, 0] + 0.5
            polygons.setdefault(index if parent < 0 else int(parent), []).append(ring)
        return list(polygons.values())

    return make


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path, help="folder of label images, ids as gray values")
    parser.add_argument("--images", type=int, default=20, help="how many of them, in the order of their names")
    options = parser.parse_args(arguments)
    sides = [
        *(Side(f"edgeseg, {tolerance:g}", ours(tolerance)) for tolerance in (0, LOSSLESS, 0.5, 1, 2)),
        *(Side(f"OpenCV, {tolerance:g}", opencv(tolerance)) for tolerance in (0, 0.5, 1, 2)),
    ]
    count = 0
    for path in sorted(options.labels.glob("*.png"))[: options.images]:
        label = np.asarray(Image.open(path))
        for class_id in np.unique(label):
            count += 1
            for side in sides:
                side.add(label == class_id)
    print(f"{count} masks of {options.labels}\n")
    print("| tolerance | corners | worst IoU, by centers | worst IoU, by pycocotools | ms of the core a mask, median |")
    print("|---|---:|---:|---:|---:|")
    for side in sides:
        print(side.row())


if __name__ == "__main__":
    main()
