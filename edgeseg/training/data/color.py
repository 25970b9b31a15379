"""Change the colors of a training image: brightness and contrast, then hue, saturation and value."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg.choices import HueChange


@dataclass(frozen=True, kw_only=True)
class ColorChange:
    """How the colors of one image change.

    Attributes:
        added: to every pixel, in gray levels.
        contrast: relative change of the distance from middle gray.
        hue: its change, see ``HueChange``: a share of the color circle, or of the hue itself.
        saturation: its factor.
        value: its factor.
    """

    added: float = 0.0
    contrast: float = 0.0
    hue: float = 0.0
    saturation: float = 1.0
    value: float = 1.0


def change_colors(image_rgb: NDArray[np.uint8], change: ColorChange, hue_change: HueChange) -> NDArray[np.uint8]:
    """Return an image with other colors, ``(H, W, 3)`` uint8 RGB.

    Args:
        image_rgb: ``(H, W, 3)`` uint8 RGB.
        change: what changes.
        hue_change: how its hue is applied.
    """
    levels = np.arange(256, dtype=np.float64)
    if change.added or change.contrast:
        table = np.clip((levels - 127.5) * (1 + change.contrast) + 127.5 + change.added, 0, 255)
        image_rgb = cv2.LUT(image_rgb, table.round().astype(np.uint8))  # type: ignore[assignment]
    if change.hue == 0 and change.saturation == change.value == 1:
        return image_rgb
    if hue_change == "cut":
        return _cut_at_red(image_rgb, change)
    # OpenCV's 8-bit hue is 0..179.
    hue = (levels * (1 + change.hue) if hue_change == "times" else levels + 180 * change.hue) % 180
    saturation, value = (np.clip(levels * factor, 0, 255) for factor in (change.saturation, change.value))
    table = np.stack([hue, saturation, value], axis=-1).astype(np.uint8)
    hsv = cv2.LUT(cv2.cvtColor(image_rgb, cv2.COLOR_RGB2HSV), table[None])
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)  # type: ignore[return-value]


def _cut_at_red(image_rgb: NDArray[np.uint8], change: ColorChange) -> NDArray[np.uint8]:
    """Change the colors as the U-Net tutorial does: what leaves the scale of the hue, 0 to 360 degrees, is cut.

    Its code wraps a hue as if it were 0 to 1; of degrees it takes 1 above 1, and adds 1 below 0.
    """
    hsv = cv2.cvtColor(image_rgb.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hue = hsv[..., 0] + np.float32(360 * change.hue)
    hsv[..., 0] = np.clip(hue - (hue > 1) + (hue < 0), 0, 360)
    hsv[..., 1:] = np.minimum(hsv[..., 1:] * np.array([change.saturation, change.value], np.float32), 1)
    return (cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).round().astype(np.uint8)
