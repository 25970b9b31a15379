"""Read animated images, GIF, APNG and WebP, with Pillow; and tell whether a file is an image or a video."""

from __future__ import annotations

import stat
import struct
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from edgeseg._internal.limits.images import image_size, max_image_pixels
from edgeseg.errors import InputError
from edgeseg.imaging import IMAGE_SUFFIXES
from edgeseg.medical.dicom import is_dicom
from edgeseg.video.container import MOTION_JPEG

#: Files that may be animated.
ANIMATED_SUFFIXES = frozenset({".gif", ".apng", ".png", ".webp"})

#: How long browsers show a frame that says 0 or next to nothing, in seconds.
_UNSET_S = 0.1
_SHORTEST_S = 0.011

#: Frames whose durations make the frame rate: a file may have any number of them.
_MOST_TIMED = 100

#: Chunks of a PNG that are looked at for the animation's own, which comes before the image.
_MOST_CHUNKS = 256


def kind_of(path: str | Path) -> Literal["image", "video", "dicom", "other"]:
    """Return what a file is: by its suffix, and by its first bytes where that says nothing or it may be animated.

    A pipe, a device and what does not exist are ``other``: opening them may wait for ever.
    """
    suffix = Path(path).suffix.lower()
    if suffix in IMAGE_SUFFIXES - ANIMATED_SUFFIXES:
        return "image"
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            return "other"
        with open(path, "rb") as file:
            if suffix in IMAGE_SUFFIXES:
                return "video" if _is_animated(file) else "image"
            head = file.read(1 << 16)
            if is_dicom(path, head):
                return "dicom"
            known = image_size(head) is not None and suffix not in ANIMATED_SUFFIXES | MOTION_JPEG
            return "image" if known else "video"
    except (struct.error, OverflowError):
        return "video"
    except (OSError, ValueError):
        return "other"


def _is_animated(file: BinaryIO) -> bool:
    """Return whether a PNG or WebP has several frames, as its header says (APNG: ``acTL``; WebP: a bit of ``VP8X``)."""
    start = file.read(21)
    if start[:4] == b"RIFF" and start[8:16] == b"WEBPVP8X":
        return bool(start[20] & 2)
    if start[:8] != b"\x89PNG\r\n\x1a\n":
        return False
    file.seek(8)
    for _ in range(_MOST_CHUNKS):
        head = file.read(8)
        if len(head) < 8 or head[4:] in (b"IDAT", b"IEND"):
            return False
        if head[4:] == b"acTL":
            return True
        file.seek(struct.unpack(">I", head[:4])[0] + 4, 1)
    return False


class AnimationReel:
    """A ``Reel`` of an animated image: each frame as it is shown, transparency dropped."""

    estimated = False

    def __init__(self, path: str, content: bytes | None = None) -> None:
        """Open the file.

        Args:
            path: the file.
            content: what is in it, where it is no file: ``path`` is its name for messages then.

        Raises:
            InputError: it does not decode as an image, or claims too many pixels.
        """
        try:
            self._image = Image.open(path if content is None else BytesIO(content), formats=("GIF", "PNG", "WEBP"))
            width, height = self._image.size
            self.claimed = getattr(self._image, "n_frames", 1)
        except (
            OSError,
            ValueError,
            SyntaxError,
            EOFError,
            UnidentifiedImageError,
            Image.DecompressionBombError,
        ) as error:
            raise InputError(f"'{path}' does not decode as an image or a video.") from error
        if width * height > max_image_pixels():
            self._image.close()
            raise InputError(f"'{path}' claims {width} x {height} pixels, more than {max_image_pixels()}.")
        self.still = self.claimed == 1
        self.damaged = 0
        self.time_s = 0.0
        self.frame_s = 0.0
        self._number = -1
        self._current: Image.Image | None = None
        self.fps = None if self.still else self._average()

    def _average(self) -> float:
        timed = min(self.claimed, _MOST_TIMED)
        return timed / sum(self._duration_s(number) for number in range(timed))

    def _duration_s(self, number: int) -> float:
        try:
            self._image.seek(number)
            self._image.load()  # WebP says it with the frame
        except (OSError, ValueError, SyntaxError, EOFError):
            return _UNSET_S
        duration_s = float(self._image.info.get("duration") or 0) / 1000
        return duration_s if duration_s >= _SHORTEST_S else _UNSET_S

    def grab(self) -> bool:
        """Go to the next frame; False after the last, and where the file is damaged."""
        if self._number + 1 >= self.claimed:
            return False
        self._number += 1
        self.time_s += self.frame_s
        try:
            self.frame_s = self._duration_s(self._number)
            self._current = self._image.convert("RGB")
        except (OSError, ValueError, SyntaxError, EOFError):
            self.damaged += 1
            return False
        return True

    def retrieve(self) -> NDArray[np.uint8] | None:
        """Return the current frame as BGR."""
        return None if self._current is None else np.asarray(self._current)[..., ::-1].copy()

    def close(self) -> None:
        """Close the file."""
        self._image.close()
