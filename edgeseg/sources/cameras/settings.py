"""Hold what is asked of a camera: its size, frame rate and format."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

from edgeseg._internal.fields import short_repr
from edgeseg._internal.limits.images import max_image_pixels
from edgeseg.choices import CameraFormat
from edgeseg.errors import InputError

#: What the programs of Raspberry Pi's camera and most webcams deliver where nothing is asked of them.
DEFAULT_SIZE_WH = (640, 480)
DEFAULT_FPS = 30.0

#: The difference of two frame rates that are meant to be the same, of the rate: 29.97 and 30. Sensors count whole rows,
#: and their time stamps are those of an interrupt, 0.1 ms late on a busy board, which is 1 % of 8.3 ms.
_SAME_SHARE = 0.05


@dataclass(frozen=True, kw_only=True)
class CameraSettings:
    """What a camera is to deliver; None where it decides.

    Attributes:
        size_wh: width and height of its frames, in pixels, as cameras name them.
        fps: frames per second.
        format: how they come from the camera.
    """

    __repr__ = short_repr

    size_wh: tuple[int, int] | None = None
    fps: float | None = None
    format: CameraFormat | None = None

    def check(self) -> None:
        """Check the values.

        Raises:
            InputError: no camera can have them.
        """
        if self.size_wh is not None:
            width, height = self.size_wh
            if width < 1 or height < 1 or width * height > max_image_pixels():
                raise InputError(
                    f"`CameraSettings(size_wh=...)` is {width}x{height}; accepted: 1 to {max_image_pixels()} pixels."
                )
        if self.fps is not None and not (math.isfinite(self.fps) and 0 < self.fps <= 1000):
            raise InputError(f"`CameraSettings(fps=...)` is {self.fps:g}; accepted: above 0, at most 1000.")
        if self.format is not None and self.format not in get_args(CameraFormat):
            raise InputError(
                f"unknown `CameraSettings(format=...)` '{self.format}'; accepted: {', '.join(get_args(CameraFormat))}."
            )

    def given(self) -> list[str]:
        """Return how what is asked for is given."""
        values = {
            "`CameraSettings(size_wh=...)`": self.size_wh,
            "`CameraSettings(fps=...)`": self.fps,
            "`CameraSettings(format=...)`": self.format,
        }
        return [name for name, value in values.items() if value is not None]

    def refuse_format(self, camera: str) -> None:
        """Refuse a format where the camera has none to choose.

        Raises:
            InputError: one is asked for.
        """
        if self.format is not None:
            raise InputError(
                f"`CameraSettings(format=...)` is for webcams, by their number or path; {camera} delivers raw frames."
            )

    def agreed_fps(self, camera: str, delivered: float | None) -> float | None:
        """Return the frame rate of a camera of Raspberry Pi, which was asked for ``DEFAULT_FPS`` where none is set.

        Args:
            camera: its name.
            delivered: frames per second by its sensor; None where that does not say it.

        Returns:
            The rate that was asked for, or what the sensor delivers in place of the default; None as ``delivered``.

        Raises:
            InputError: it delivers another rate than was set.
        """
        asked = self.fps or DEFAULT_FPS
        if delivered is None:
            return None
        if abs(delivered - asked) <= _SAME_SHARE * asked:
            return asked
        if self.fps is not None:
            raise InputError(
                f"'{camera}' gives {delivered:.4g} frames a second in place of the {self.fps:g} of "
                "`CameraSettings(fps=...)`; list what it has with: edgeseg doctor --cameras"
            )
        return delivered
