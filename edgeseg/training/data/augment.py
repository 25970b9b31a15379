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

from edgeseg._internal.fields import short_repr
from edgeseg.choices import AugmentationPreset, Border, HueChange, Resize
from edgeseg.errors import InputError
from edgeseg.training.data.color import ColorChange, change_colors
from edgeseg.training.data.geometry import Placement, Window, displacements

#: Label id that no loss and no metric counts, whatever the data set's own ignored id is.
IGNORED = 255

_PRESETS: Mapping[AugmentationPreset, Mapping[str, Any]] = MappingProxyType(
    {
        "crop": {},
        "jitter": {
            "scale": (0.25, 2.0),
            "scale_of": "fitted",
            "aspect": 0.3,
            "hsv": (0.1, 0.7, 0.3),
            "rotate": 0.25,
            "blur": 0.25,
        },
        # The U-Net tutorial: get_random_data of its data loader. HRNet's had the same when that tutorial was written.
        "unet": {
            "scale": (0.25, 2.0),
            "scale_of": "longer-side",
            "aspect": 0.3,
            "aspect_of": "input",
            "hsv": (0.1, 0.5, 0.5),
            "hue_change": "cut",
            "inverse_factors": True,
        },
        # The repository that the HRNet tutorial names, github.com/bubbliiiing/hrnet-keras at 26f8b617.
        "hrnet": {
            "scale": (0.5, 2.0),
            "scale_of": "longer-side",
            "aspect": 0.3,
            "rotate": 0.25,
            "whole_degrees": True,
            "blur": 0.25,
            "hsv": (0.1, 0.7, 0.3),
            "hue_change": "times",
        },
        # Keras' ImageDataGenerator with the arguments of the notes, which stretches each image to the input first.
        "notes": {
            "scale": (1.0, 1.0),
            "scale_of": "fitted",
            "aspect_of": "input",
            "rotate": 1.0,
            "rotate_degrees": 90.0,
            "zoom": 0.2,
            "shift": 0.1,
            "border": "repeat",
            "flip": 0.0,
            "hsv": (0.0, 0.0, 0.0),
        },
    }
)


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What was drawn for one image.

    Attributes:
        placement: which of its pixels the result shows.
        flip: whether it is flipped left to right.
        flip_vertical: whether it is flipped upside down.
        blur: whether it is blurred.
        color: how its colors change.
    """

    placement: Placement
    flip: bool
    flip_vertical: bool
    blur: bool
    color: ColorChange


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The steps applied to a training image, in the order of the fields, each draw from the given generator.

    The scaled image lies at a random place in the result: a piece of it where it is larger, all of it where it is
    smaller. ``rotate``, ``flip``, ``flip_vertical`` and ``blur`` are probabilities in [0, 1].

    Attributes:
        size: ``(H, W)`` of the result, in pixels.
        resize: how the image is scaled; ``None`` for ``area`` where it shrinks and ``bilinear`` where it grows.
        aspect: ``j`` for a change of width to height by ``U(1 - j, 1 + j) / U(1 - j, 1 + j)``, keeping the area.
        aspect_of: width to height before that change: the ``image``'s own, or the ``input``'s, to which the image is
            stretched.
        scale: smallest and largest factor of the image's size.
        scale_of: ``image`` for a factor of its own size, drawn log-uniformly: as often halved as doubled; ``fitted``
            for a factor of the largest size with which all of it is inside ``size``, drawn uniformly; ``longer-side``
            for a factor, drawn uniformly, of the side of ``size`` along which the image is longer, as in the tutorials.
        rotate: probability of a rotation about the middle of the result.
        rotate_degrees: largest angle, to either side.
        whole_degrees: whether the angle is a whole number.
        zoom: largest change of the part of the image that the result shows, of its height and of its width.
        shift: largest shift, as a share of the result's height and width, whatever the scale.
        elastic: standard deviation, in pixels of the result, of the random displacements of a 3x3 grid with cubic
            interpolation between (Ronneberger et al. 2015, "U-Net", section 3.1, where it is 10).
        border: what is where there is no image: ``pad`` for ``pad_value``, where the label is ``IGNORED``; ``repeat``
            for the image's last pixel and its label.
        pad_value: RGB color of that padding, before the colors change.
        flip: probability of a left-right flip.
        flip_vertical: probability of an upside-down flip, for images that have no top.
        blur: probability of a Gaussian blur.
        blur_size: side of its kernel, odd, in pixels; 5 is a sigma of 1.1 pixels.
        brightness: largest change, as a share of 255 that is added.
        contrast: largest relative change of the distance from middle gray.
        hsv: largest change of the hue, as a share of the color circle or, with ``times``, of the hue itself, and
            largest relative changes of saturation and value.
        hue_change: ``around`` adds around the color circle; ``cut`` adds and cuts at its ends, both of which are red;
            ``times`` multiplies the hue.
        inverse_factors: whether saturation and value are as often divided as multiplied, by up to 1 + the change;
            else their factors are drawn evenly around 1.
    """

    __repr__ = short_repr

    size: tuple[int, int]
    resize: Resize | None = None
    aspect: float = 0.0
    aspect_of: Literal["image", "input"] = "image"
    scale: tuple[float, float] = (0.6, 1.6)
    scale_of: Literal["image", "fitted", "longer-side"] = "image"
    rotate: float = 0.0
    rotate_degrees: float = 10.0
    whole_degrees: bool = False
    zoom: float = 0.0
    shift: float = 0.0
    elastic: float = 0.0
    border: Border = "pad"
    pad_value: tuple[int, int, int] = (128, 128, 128)
    flip: float = 0.5
    flip_vertical: float = 0.0
    blur: float = 0.0
    blur_size: int = 5
    brightness: float = 0.0
    contrast: float = 0.0
    hsv: tuple[float, float, float] = (0.02, 0.4, 0.3)
    hue_change: HueChange = "around"
    inverse_factors: bool = False

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise InputError(f"Augmentation.size must be (H, W) in pixels, got {self.size}.")
        if not 0 < self.scale[0] <= self.scale[1] < math.inf:
            raise InputError(f"scale must be (smallest, largest), both above 0, got {self.scale}.")
        for name, accepted in (
            ("scale_of", ("image", "fitted", "longer-side")),
            ("aspect_of", ("image", "input")),
            ("resize", (None, *get_args(Resize))),
            ("border", get_args(Border)),
            ("hue_change", get_args(HueChange)),
        ):
            value = getattr(self, name)
            if value not in accepted:
                raise InputError(f"Augmentation.{name} must be one of {', '.join(map(str, accepted))}, got {value!r}.")
        if self.aspect_of == "input" and self.scale_of == "image":
            raise InputError("Augmentation.aspect_of 'input' goes with scale_of 'fitted' or 'longer-side'.")
        for name in ("aspect", "zoom"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"Augmentation.{name} must be 0 to below 1, got {getattr(self, name)}.")
        for name in ("rotate", "shift", "flip", "flip_vertical", "blur", "brightness", "contrast"):
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
            name: of ``AugmentationPreset``.
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
        draw = self.draw(label.shape, rng)
        window = Window(draw.placement, self.size, label.shape, self.border, self.resize)
        image, ids = window.image(image_rgb, self.pad_value), window.label(label, IGNORED)
        for flipped, axis in ((draw.flip, 1), (draw.flip_vertical, 0)):
            if flipped:
                image, ids = cv2.flip(image, axis), cv2.flip(ids, axis)  # type: ignore[assignment]
        if draw.blur:
            image = cv2.GaussianBlur(image, (self.blur_size, self.blur_size), 0)  # type: ignore[assignment]
        return change_colors(image, draw.color, self.hue_change), ids

    def draw(self, image_hw: tuple[int, ...], rng: np.random.Generator) -> Draw:
        """Draw what is done to an image of a size.

        Args:
            image_hw: ``(h, w)`` of the image.
            rng: the only source of randomness. The order of the draws is part of what a seed means.
        """
        placement = self._placement(image_hw, rng)
        flip, flip_vertical, blur = (rng.random() < chance for chance in (self.flip, self.flip_vertical, self.blur))
        return Draw(
            placement=placement, flip=flip, flip_vertical=flip_vertical, blur=blur, color=self._color_change(rng)
        )

    def _placement(self, image_hw: tuple[int, ...], rng: np.random.Generator) -> Placement:
        scaled = self._scaled_size(image_hw, rng)
        degrees = self._degrees(rng) if rng.random() < self.rotate else 0.0
        zoom, shift = np.ones(2), np.zeros(2)
        if self.zoom:
            zoom = rng.uniform(1 - self.zoom, 1 + self.zoom, 2)
        if self.shift:
            shift = rng.uniform(-self.shift, self.shift, 2) * self.size
        moved = displacements(self.size, self.elastic, rng) if self.elastic else None
        start = []
        for side, whole in zip(self.size, scaled, strict=True):
            first, last = sorted((0, whole - side))
            start.append(int(rng.integers(first, last + 1)))
        return Placement(
            scaled=scaled,
            start=(start[0], start[1]),
            degrees=degrees,
            zoom=(float(zoom[0]), float(zoom[1])),
            shift=(float(shift[0]), float(shift[1])),
            displacements=moved,
        )

    def _degrees(self, rng: np.random.Generator) -> float:
        if self.whole_degrees:
            most = int(self.rotate_degrees)
            return float(rng.integers(-most, most + 1))
        return rng.uniform(-1, 1) * self.rotate_degrees

    def _scaled_size(self, image_hw: tuple[int, ...], rng: np.random.Generator) -> tuple[int, int]:
        narrow, wide = rng.uniform(1 - self.aspect, 1 + self.aspect, 2)
        stretch = math.sqrt(wide / narrow)
        whole = self.size if self.aspect_of == "input" else image_hw
        height, width = whole[0] / stretch, whole[1] * stretch
        if self.scale_of == "image":
            factor = math.exp(rng.uniform(*np.log(self.scale)))
            return max(1, round(height * factor)), max(1, round(width * factor))
        factor = rng.uniform(*self.scale)
        if self.scale_of == "longer-side":
            # Truncated twice, as the tutorials do.
            longer = int(factor * self.size[width >= height])
            sides = (longer, int(longer * width / height)) if width < height else (int(longer * height / width), longer)
            return max(1, sides[0]), max(1, sides[1])
        factor *= min(self.size[0] / height, self.size[1] / width)
        return max(1, round(height * factor)), max(1, round(width * factor))

    def _color_change(self, rng: np.random.Generator) -> ColorChange:
        added, contrast = rng.uniform(-1, 1, 2) * (255 * self.brightness, self.contrast)
        hue, saturation, value = rng.uniform(-1, 1, 3) * self.hsv
        if self.inverse_factors:
            saturation, value = (change if change >= 0 else change / (1 - change) for change in (saturation, value))
        return ColorChange(added=added, contrast=contrast, hue=hue, saturation=1 + saturation, value=1 + value)
