"""Make an image look as a cheap camera takes it: hard light, a wrong white, noise, blur and JPEG."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg.errors import InputError


@dataclass(frozen=True, kw_only=True)
class CameraFaults:
    """The faults of a camera and its light, each drawn by itself; the defaults change nothing.

    They come in this order: gamma and tint, light, noise, softness, JPEG.

    Attributes:
        gamma: largest exponent, 1 or more; as often its inverse. 2 makes the middle gray 64 or 180.
        light: probability of a hard light from one side, which falls off across the image.
        light_stops: largest difference of that light between two opposite borders, in factors of two.
        tint: largest relative change of red and of blue, as of a lamp's white.
        noise: probability of sensor noise.
        noise_sigma: its largest standard deviation, in gray levels.
        soft: probability of a soft image: blurred, or scaled up from fewer pixels, one as often as the other.
        soft_sigma: largest standard deviation of the blur, in pixels.
        jpeg: probability of JPEG.
        jpeg_quality: lowest and highest quality.
    """

    __repr__ = short_repr

    gamma: float = 1.0
    light: float = 0.0
    light_stops: float = 2.0
    tint: float = 0.0
    noise: float = 0.0
    noise_sigma: float = 12.0
    soft: float = 0.0
    soft_sigma: float = 1.5
    jpeg: float = 0.0
    jpeg_quality: tuple[int, int] = (20, 80)

    def __post_init__(self) -> None:
        for name in ("light", "noise", "soft", "jpeg"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"CameraFaults.{name} must be 0 to 1, got {getattr(self, name)}.")
        if not 1 <= self.gamma < math.inf:
            raise InputError(f"CameraFaults.gamma must be 1 or more, got {self.gamma}.")
        for name in ("light_stops", "noise_sigma", "soft_sigma"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"CameraFaults.{name} must be above 0, got {getattr(self, name)}.")
        if not 0 <= self.tint < 1:
            raise InputError(f"CameraFaults.tint must be 0 to below 1, got {self.tint}.")
        if not 1 <= self.jpeg_quality[0] <= self.jpeg_quality[1] <= 100:
            raise InputError(
                f"CameraFaults.jpeg_quality must be (lowest, highest) of 1 to 100, got {self.jpeg_quality}."
            )

    def __call__(self, image_rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return an image with faults, ``(H, W, 3)`` uint8 RGB.

        Args:
            image_rgb: ``(H, W, 3)`` uint8 RGB; not changed.
            rng: the only source of randomness.
        """
        chances = (self.light, self.noise, self.soft, self.jpeg)
        light, noise, soft, jpeg = (rng.random() < chance for chance in chances)
        image = _toned(image_rgb, rng.uniform(-1, 1) * math.log(self.gamma), rng.uniform(-1, 1, 2) * self.tint)
        if light:
            image = _lit(image, rng.uniform(0, 2 * math.pi), rng.uniform(0, self.light_stops))
        if noise:
            image = _noisy(image, rng.uniform(0, self.noise_sigma), rng)
        if soft:
            image = self._soft(image, rng)
        if jpeg:
            image = _compressed(image, int(rng.integers(self.jpeg_quality[0], self.jpeg_quality[1] + 1)))
        return image

    def _soft(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        sigma = rng.uniform(0.3, 1.0) * self.soft_sigma
        if rng.random() < 0.5:
            return cv2.GaussianBlur(image, (0, 0), sigma)  # type: ignore[return-value]
        height, width = image.shape[:2]
        # A pixel spread over 2 sigma pixels is about as soft as that blur.
        few = max(1, round(width / (1 + sigma))), max(1, round(height / (1 + sigma)))
        fewer = cv2.resize(image, few, interpolation=cv2.INTER_AREA)
        return cv2.resize(fewer, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def _toned(image: NDArray[np.uint8], log_gamma: float, tint: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Apply an exponent to all channels, and a factor to red and blue."""
    levels = 255 * (np.arange(256) / 255) ** math.exp(log_gamma)
    table = np.stack([levels * (1 + tint[0]), levels, levels * (1 + tint[1])], axis=-1)
    return cv2.LUT(image, np.clip(table, 0, 255).round().astype(np.uint8)[None])  # type: ignore[return-value]


def _lit(image: NDArray[np.uint8], angle: float, stops: float) -> NDArray[np.uint8]:
    """Light an image from one side: brighter there by half the stops, darker opposite by as much."""
    height, width = image.shape[:2]
    rows, columns = np.linspace(-1, 1, height), np.linspace(-1, 1, width)
    along = (np.cos(angle) * columns + np.sin(angle) * rows[:, None]) / (abs(np.cos(angle)) + abs(np.sin(angle)))
    return np.clip(image * np.exp2(along * stops / 2)[..., None], 0, 255).round().astype(np.uint8)  # type: ignore[no-any-return]


def _noisy(image: NDArray[np.uint8], sigma: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(sigma)
    return np.clip(image + noise, 0, 255).round().astype(np.uint8)


def _compressed(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded = cast("NDArray[np.uint8]", cv2.imdecode(data, cv2.IMREAD_COLOR))
    return np.ascontiguousarray(decoded[..., ::-1])
