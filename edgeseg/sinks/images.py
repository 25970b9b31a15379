"""Write frames as images in a folder, one file each."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.files import require_writable_folder, write_bytes
from edgeseg.errors import InputError, SinkLost
from edgeseg.imaging import IMAGE_SUFFIXES


class ImageFiles:
    """Writes every frame to ``folder/name.suffix``; an image in the folder is always complete.

    Args:
        folder: created when it is missing.
        suffix: chooses the format, one of ``edgeseg.imaging.IMAGE_SUFFIXES``.
        overwrite: whether existing images may be replaced.

    Raises:
        InputError: the suffix is none of these, or the folder cannot be written.
    """

    def __init__(self, folder: str | Path, suffix: str = ".jpg", overwrite: bool = False) -> None:
        if suffix.lower() not in IMAGE_SUFFIXES:
            raise InputError(f"images cannot be written as '{suffix}'; accepted: {', '.join(sorted(IMAGE_SUFFIXES))}.")
        self._folder = Path(folder)
        self._suffix = suffix
        self._overwrite = overwrite
        require_writable_folder(self._folder)

    def write(self, image_bgr: NDArray[np.uint8], name: str) -> None:
        """Write a frame ``(h, w, 3)`` uint8 BGR as the file of its name.

        Raises:
            InputError: the file exists.
            SinkLost: it cannot be written (a full disk); no half-written file remains.
        """
        _, data = cv2.imencode(self._suffix, image_bgr)
        try:
            write_bytes(self._folder / f"{name}{self._suffix}", data.tobytes(), overwrite=self._overwrite)
        except InputError as error:
            if isinstance(error.__cause__, OSError):
                raise SinkLost(str(error)) from error
            raise

    def close(self) -> None:
        """Do nothing: every image is finished when it is written."""
