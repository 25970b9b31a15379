"""Derive the colors of a drawing from a palette: each class is seen on any scene and told from the other classes.

The palette of a data set is made for label files: CamVid's pedestrian, (64, 64, 0), is not seen on dark clothes, its
sky, (128, 128, 128), not on asphalt, and VOC's chair and aeroplane differ by 64 of red. A color keeps its hue and gets
lighter, darker or more saturated, and gray gets a hue, until

- blended into a gray of any scene at the overlay's default weight it is ``SCENE_CONTRAST`` from that gray;
- it is as far from the colors of all earlier classes as so many classes allow.

Distances are Euclidean in OKLab (Ottosson 2020), where 0.02 is about what an eye tells apart side by side.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edgeseg.drawing.look import Look
from edgeseg.spec import Color

#: Grays of scenes, in 0..255: night, asphalt and microscope images, an overexposed sky.
SCENES = (32, 80, 128, 176, 224)

#: What a color differs from either at least.
SCENE_CONTRAST = 0.08

#: Distances between classes: the largest that leaves room for all is taken, 0.12 for 21 classes and 0.06 for 150.
_DISTANCES = (0.12, 0.10, 0.09, 0.08, 0.07, 0.06, 0.05, 0.045, 0.04, 0.035, 0.03, 0.025, 0.02, 0.015, 0.0)

#: Lightness of the colors in [0, 1] of OKLab: what is wanted, and what is taken where others are near.
_LIGHTNESS, _WIDER_LIGHTNESS = (0.6, 0.85), (0.5, 0.9)

#: What a change of lightness and of the axes of color costs: a class is known by its hue more than by its lightness.
_CHANGE_COST = np.array([1.0, 4.0, 4.0])

_TO_CONE = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def to_oklab(rgb: NDArray[np.generic]) -> NDArray[np.float64]:
    """Convert sRGB colors to OKLab.

    Args:
        rgb: ``(..., 3)`` in 0..255.

    Returns:
        ``(..., 3)`` float64: lightness in [0, 1], and two axes of color in about [-0.4, 0.4].
    """
    value = np.asarray(rgb, np.float64) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    lab: NDArray[np.float64] = np.cbrt(linear @ _TO_CONE.T) @ _TO_LAB.T
    return lab


def from_oklab(lab: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Convert OKLab colors to sRGB, ``(..., 3)`` uint8; what sRGB does not have is cut off."""
    linear = (lab @ np.linalg.inv(_TO_LAB).T) ** 3 @ np.linalg.inv(_TO_CONE).T
    linear = linear.clip(0, 1)
    value = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    rgb: NDArray[np.uint8] = (255 * value).round().astype(np.uint8)
    return rgb


@lru_cache(maxsize=16)
def drawing_palette(palette: tuple[Color, ...]) -> tuple[Color, ...]:
    """Return the color of each class in a drawing, RGB in 0..255.

    Args:
        palette: the colors in label files, 1 to 256; colors may be equal.
    """
    wanted = _wanted(np.array(palette))
    colors = next(found for distance in _DISTANCES if (found := _apart(wanted, distance)) is not None)
    return tuple((int(red), int(green), int(blue)) for red, green, blue in colors)


def scene_contrast(rgb: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return how far colors are from a dark and a light gray that they are blended into; the smaller of the two.

    Args:
        rgb: ``(..., 3)`` in 0..255.

    Returns:
        ``(...)`` float64, distances in OKLab.
    """
    contrasts = []
    for gray in SCENES:
        seen = to_oklab(Look.alpha * np.asarray(rgb, np.float64) + (1 - Look.alpha) * gray)
        contrasts.append(np.linalg.norm(seen - to_oklab(np.full(3, gray)), axis=-1))
    smaller: NDArray[np.float64] = np.min(contrasts, axis=0)
    return smaller


def _wanted(rgb: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return colors of the same hue and saturation at a lightness between dark and light, ``(n, 3)``."""
    lab = to_oklab(rgb)
    lightness = lab[:, :1]
    target = lightness.clip(*_LIGHTNESS)
    # Lightness and color by the same factor, as a brighter light does; black gets gray.
    lab[:, 1:] *= target / np.maximum(lightness, 1e-6)
    lab[:, :1] = target
    return from_oklab(lab)


def _apart(wanted: NDArray[np.uint8], distance: float) -> NDArray[np.uint8] | None:
    """Give each class in turn the free color that is nearest to the wanted one; None where none is free."""
    grid, grid_lab = _grid()
    # What is wanted comes first among the choices; the rest of the grid is ordered by how little the hue changes.
    choices, lab = np.vstack([wanted, grid]), np.vstack([to_oklab(wanted), grid_lab])
    free = np.concatenate([scene_contrast(wanted) >= SCENE_CONTRAST, np.ones(len(grid), bool)])
    taken = []
    for index in range(len(wanted)):
        change = lab - lab[index]
        cost = np.where(free, (change**2) @ _CHANGE_COST, np.inf)
        best = int(cost.argmin())
        if not free[best]:
            return None
        taken.append(best)
        free &= ((lab - lab[best]) ** 2).sum(axis=1) >= distance**2
    return choices[taken]


@lru_cache(maxsize=1)
def _grid() -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return the colors to choose from, ``(n, 3)`` RGB and OKLab: 18 values a channel that are seen on every scene."""
    values = np.arange(0, 256, 15, dtype=np.uint8)
    grid = np.stack(np.meshgrid(values, values, values, indexing="ij"), -1).reshape(-1, 3)
    darkest, lightest = _WIDER_LIGHTNESS
    lightness = to_oklab(grid)[:, 0]
    grid = grid[(lightness >= darkest) & (lightness <= lightest) & (scene_contrast(grid) >= SCENE_CONTRAST)]
    return grid, to_oklab(grid)
