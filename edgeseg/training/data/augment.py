"""Augment training images with random geometry and color; image and label always go through the same steps.

It uses OpenCV: albumentations is no longer maintained (since June 2025) and its successor AlbumentationsX is AGPL-3.0;
Keras' preprocessing layers run in the training backend and would delay the model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg.choices import AugmentationPreset
from edgeseg.errors import InputError

#: Label id that no loss and no metric counts, whatever the data set's own ignored id is.
IGNORED = 255

_PRESETS: Mapping[AugmentationPreset, Mapping[str, Any]] = MappingProxyType(
    {
        "crop": {},
        "tutorial": {
            "scale": (0.25, 2.0),
            "scale_of": "fitted",
            "aspect": 0.3,
            "hsv": (0.1, 0.7, 0.3),
            "rotate": 0.25,
            "blur": 0.25,
        },
    }
)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The steps applied to a training image, in the order of the fields, each draw from the given generator.

    The scaled image lies at a random place in the result: a piece of it where it is larger, all of it where it is
    smaller. ``rotate``, ``flip``, ``flip_vertical`` and ``blur`` are probabilities in [0, 1].

    Attributes:
        size: ``(H, W)`` of the result, in pixels.
        aspect: ``j`` for a change of width to height by ``U(1 - j, 1 + j) / U(1 - j, 1 + j)``, keeping the area.
        scale: smallest and largest factor of the image's size.
        scale_of: ``image`` for a factor of its own size, drawn log-uniformly: as often halved as doubled; ``fitted``
            for a factor of the largest size with which all of it is inside ``size``, drawn uniformly.
        rotate: probability of a rotation about the middle of the result.
        rotate_degrees: largest angle, to either side.
        elastic: standard deviation, in pixels of the result, of the random displacements of a 3x3 grid with cubic
            interpolation between (Ronneberger et al. 2015, "U-Net", section 3.1, where it is 10).
        pad_value: RGB color where there is no image, before the colors change; the label is ``IGNORED`` there.
        flip: probability of a left-right flip.
        flip_vertical: probability of an upside-down flip, for images that have no top.
        blur: probability of a Gaussian blur.
        blur_size: side of its kernel, odd, in pixels; 5 is a sigma of 1.1 pixels.
        brightness: largest change, as a share of 255 that is added.
        contrast: largest relative change of the distance from middle gray.
        hsv: largest change of the hue, as a share of the color circle, and largest relative changes of saturation
            and value.
    """

    size: tuple[int, int]
    aspect: float = 0.0
    scale: tuple[float, float] = (0.6, 1.6)
    scale_of: Literal["image", "fitted"] = "image"
    rotate: float = 0.0
    rotate_degrees: float = 10.0
    elastic: float = 0.0
    pad_value: tuple[int, int, int] = (128, 128, 128)
    flip: float = 0.5
    flip_vertical: float = 0.0
    blur: float = 0.0
    blur_size: int = 5
    brightness: float = 0.0
    contrast: float = 0.0
    hsv: tuple[float, float, float] = (0.02, 0.4, 0.3)

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise InputError(f"Augmentation.size must be (H, W) in pixels, got {self.size}.")
        if not 0 < self.scale[0] <= self.scale[1] < math.inf:
            raise InputError(f"scale must be (smallest, largest), both above 0, got {self.scale}.")
        if self.scale_of not in ("image", "fitted"):
            raise InputError(f"Augmentation.scale_of must be 'image' or 'fitted', got {self.scale_of!r}.")
        if not 0 <= self.aspect < 1:
            raise InputError(f"Augmentation.aspect must be 0 to below 1, got {self.aspect}.")
        for name in ("rotate", "flip", "flip_vertical", "blur", "brightness", "contrast"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"Augmentation.{name} must be 0 to 1, got {getattr(self, name)}.")
        if len(self.hsv) != 3 or not all(0 <= share <= 1 for share in self.hsv):
            raise InputError(f"Augmentation.hsv must be three numbers from 0 to 1, got {self.hsv}.")
        if not 0 <= self.rotate_degrees <= 180:
            raise InputError(f"Augmentation.rotate_degrees must be 0 to 180, got {self.rotate_degrees}.")
        if not 0 <= self.elastic < math.inf:
            raise InputError(f"Augmentation.elastic must be 0 or more pixels, got {self.elastic}.")
        if self.blur_size < 1 or self.blur_size % 2 == 0:
            raise InputError(f"Augmentation.blur_size must be odd, got {self.blur_size}.")

    @classmethod
    def preset(cls, name: AugmentationPreset, size: tuple[int, int], **changes: Any) -> Augmentation:
        """Return one of the named presets.

        Args:
            name: ``crop`` or ``tutorial``.
            size: ``(H, W)`` of the result.
            changes: fields that differ from the preset.

        Raises:
            InputError: there is no such preset, or a field is out of its range.
        """
        if name not in _PRESETS:
            raise InputError(f"augmentation must be one of {', '.join(get_args(AugmentationPreset))}, got {name!r}.")
        return cls(size=size, **{**_PRESETS[name], **changes})

    def __call__(
        self, image_rgb: NDArray[np.uint8], label: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Augment one pair.

        Args:
            image_rgb: ``(h, w, 3)`` uint8 RGB; not changed.
            label: ``(h, w)`` uint8 class ids, ``IGNORED`` where there is no class; not changed.
            rng: the only source of randomness.

        Returns:
            ``(H, W, 3)`` uint8 RGB and ``(H, W)`` uint8, at ``size``.
        """
        image, ids = self._place(image_rgb, label, rng)
        if rng.random() < self.flip:
            image, ids = cv2.flip(image, 1), cv2.flip(ids, 1)  # type: ignore[assignment]
        if rng.random() < self.flip_vertical:
            image, ids = cv2.flip(image, 0), cv2.flip(ids, 0)  # type: ignore[assignment]
        if rng.random() < self.blur:
            image = cv2.GaussianBlur(image, (self.blur_size, self.blur_size), 0)  # type: ignore[assignment]
        return self._color(image, rng), ids

    def _place(
        self, image: NDArray[np.uint8], label: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Scale, cut or pad, rotate and bend; return new arrays, never views of the given ones."""
        scaled = self._scaled_size(label.shape, rng)
        degrees = rng.uniform(-1, 1) * self.rotate_degrees if rng.random() < self.rotate else 0.0
        moved = _displacements(self.size, self.elastic, rng) if self.elastic else None
        # The result is a window in the scaled image; one that is rotated or bent needs a larger one around it.
        window = _around(self.size, degrees, 0.0 if moved is None else float(np.abs(moved).max()))
        spans = []
        for side, turned, whole, pixels in zip(self.size, window, scaled, label.shape, strict=True):
            first, last = sorted((0, whole - side))
            start = int(rng.integers(first, last + 1)) - (turned - side) // 2
            spans.append(_Span(start, turned, whole, pixels))
        rows, columns = spans
        image, ids = _cut(image, rows, columns, self.pad_value), _cut(label, rows, columns, None)
        if degrees or moved is not None:
            sources = _sources(self.size, image.shape, degrees, moved)
            image, ids = _sample(image, sources, self.pad_value), _sample(ids, sources, None)
        return image, ids

    def _scaled_size(self, image_hw: tuple[int, ...], rng: np.random.Generator) -> tuple[int, int]:
        narrow, wide = rng.uniform(1 - self.aspect, 1 + self.aspect, 2)
        stretch = math.sqrt(wide / narrow)
        height, width = image_hw[0] / stretch, image_hw[1] * stretch
        if self.scale_of == "fitted":
            factor = rng.uniform(*self.scale) * min(self.size[0] / height, self.size[1] / width)
        else:
            factor = math.exp(rng.uniform(*np.log(self.scale)))
        return max(1, round(height * factor)), max(1, round(width * factor))

    def _color(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        added, contrast = rng.uniform(-1, 1, 2) * (255 * self.brightness, self.contrast)
        hue, saturation, value = rng.uniform(-1, 1, 3) * self.hsv
        levels = np.arange(256, dtype=np.float64)
        if added or contrast:
            table = np.clip((levels - 127.5) * (1 + contrast) + 127.5 + added, 0, 255).round().astype(np.uint8)
            image = cv2.LUT(image, table)  # type: ignore[assignment]
        if not any(self.hsv):
            return image
        table = np.stack(
            [
                (levels + 180 * hue) % 180,  # OpenCV's 8-bit hue is 0..179
                np.clip(levels * (1 + saturation), 0, 255),
                np.clip(levels * (1 + value), 0, 255),
            ],
            axis=-1,
        ).astype(np.uint8)
        hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), table[None])
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)  # type: ignore[return-value]


class _Span:
    """A window along one axis: which pixels of the image it shows, at which size, and what is beside them."""

    def __init__(self, start: int, length: int, scaled: int, pixels: int) -> None:
        """Show ``length`` pixels from ``start`` of a side of ``pixels`` that was scaled to ``scaled``."""
        end = start + length
        visible = max(start, 0), min(end, scaled)
        first, last = (round(position * pixels / scaled) for position in visible)
        first = min(first, pixels - 1)
        self.source = slice(first, max(last, first + 1))
        self.size = visible[1] - visible[0]
        self.before, self.after = visible[0] - start, end - visible[1]


def _cut(
    array: NDArray[np.uint8], rows: _Span, columns: _Span, pad_value: tuple[int, int, int] | None
) -> NDArray[np.uint8]:
    """Cut a window out, scaling only what it shows; a label, which has no ``pad_value``, by the nearest neighbor."""
    part = array[rows.source, columns.source]
    interpolation = cv2.INTER_NEAREST_EXACT
    if pad_value is not None:
        # Area interpolation when shrinking: linear skips pixels and turns thin poles into dots.
        shrinks = rows.size * columns.size < part.shape[0] * part.shape[1]
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    if part.shape[:2] == (rows.size, columns.size):
        part = part.copy()
    else:
        part = cv2.resize(part, (columns.size, rows.size), interpolation=interpolation)  # type: ignore[assignment]
    borders = (rows.before, rows.after, columns.before, columns.after)
    if not any(borders):
        return part
    return cv2.copyMakeBorder(part, *borders, cv2.BORDER_CONSTANT, value=pad_value or (IGNORED,))  # type: ignore[return-value]


def _around(size_hw: tuple[int, int], degrees: float, margin: float) -> tuple[int, int]:
    """Return the upright box around a rotated one with a margin and the same middle: an even number of pixels more."""
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    height, width = size_hw
    turned = height * cos + width * sin, width * cos + height * sin
    by_half = [max(0, math.ceil((around - side) / 2 + margin)) for around, side in zip(turned, size_hw, strict=True)]
    return height + 2 * by_half[0], width + 2 * by_half[1]


def _displacements(size_hw: tuple[int, int], deviation: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw ``(H, W, 2)`` pixels in x and y: normal at the points of a 3x3 grid, cubic between them."""
    grid = rng.normal(0.0, deviation, (3, 3, 2)).astype(np.float32)
    return cv2.resize(grid, size_hw[::-1], interpolation=cv2.INTER_CUBIC)  # type: ignore[return-value]


def _sources(
    size_hw: tuple[int, int], window: tuple[int, ...], degrees: float, moved: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Return where in the window each pixel comes from, ``(H, W, 2)``, x and y: rotated, then displaced."""
    rows, columns = (np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2) for side in size_hw)
    cos, sin = np.float32(math.cos(math.radians(degrees))), np.float32(math.sin(math.radians(degrees)))
    middle = (window[1] - 1) / 2, (window[0] - 1) / 2
    x = cos * columns - sin * rows[:, None] + np.float32(middle[0])
    y = sin * columns + cos * rows[:, None] + np.float32(middle[1])
    sources = np.stack([x, y], axis=-1)
    return sources if moved is None else sources + moved


def _sample(
    array: NDArray[np.uint8], sources: NDArray[np.float32], pad_value: tuple[int, int, int] | None
) -> NDArray[np.uint8]:
    """Sample an image; a label, which has no ``pad_value``, by the nearest neighbor."""
    interpolation = cv2.INTER_NEAREST if pad_value is None else cv2.INTER_LINEAR
    return cv2.remap(  # type: ignore[call-overload,no-any-return]  # its stub has no None
        array,
        sources,
        None,
        interpolation,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=pad_value or (IGNORED,),
    )
