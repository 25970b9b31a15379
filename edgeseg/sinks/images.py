"""Write frames as images: one file each in a folder, or a single frame as one file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.files import refuse_existing, require_writable_folder, write_bytes
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
        _write(self._folder / f"{name}{self._suffix}", image_bgr, overwrite=self._overwrite)

    def close(self) -> None:
        """Do nothing: every image is finished when it is written."""


class ImageFile:
    """Writes the only frame of a source to one image file.

    Args:
        path: the file; its suffix, one of ``edgeseg.imaging.IMAGE_SUFFIXES``, chooses the format.
        overwrite: whether an existing file may be replaced.

    Raises:
        InputError: the file exists, or its folder cannot be written.
    """

    def __init__(self, path: str | Path, overwrite: bool = False) -> None:
        self._path = Path(path)
        self._overwrite = overwrite
        self._written = False
        refuse_existing(self._path, overwrite=overwrite)
        require_writable_folder(self._path.parent)

    def write(self, image_bgr: NDArray[np.uint8], name: str) -> None:
        """Write a frame ``(h, w, 3)`` uint8 BGR; a file ignores its ``name``.

        Raises:
            InputError: a frame has been written.
            SinkLost: it cannot be written (a full disk); no half-written file remains.
        """
        if self._written:
            raise InputError(f"'{self._path}' is one image, and there are several frames: name a video or a folder.")
        _write(self._path, image_bgr, overwrite=self._overwrite)
        self._written = True

    def close(self) -> None:
        """Do nothing: the image is finished when it is written."""


def _write(path: Path, image_bgr: NDArray[np.uint8], *, overwrite: bool) -> None:
    _, data = cv2.imencode(path.suffix, image_bgr)
    try:
        write_bytes(path, data.tobytes(), overwrite=overwrite)
    except InputError as error:
        if isinstance(error.__cause__, OSError):
            raise SinkLost(str(error)) from error
        raise
