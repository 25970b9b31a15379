"""Write frames as images: one file each, under the frames' names or numbered, or a single frame as one file."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.files import refuse_existing, require_writable_folder, write_bytes
from edgeseg.errors import InputError, SinkLost
from edgeseg.imaging import IMAGE_SUFFIXES

#: The place of the number in a name: ``%d``, ``%4d``, ``%04d``.
NUMBER = re.compile(r"%0?[1-9]?d")


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


class NumberedImages:
    """Writes frames as numbered images, from 1 as ffmpeg does: ``out/name_%04d.png``.

    Args:
        pattern: the files, with one ``%d``, ``%4d`` or ``%04d`` in the name; its suffix, one of
            ``edgeseg.imaging.IMAGE_SUFFIXES``, chooses the format.
        overwrite: whether existing images may be replaced.

    Raises:
        InputError: there is not one number in the name, the first image exists, or the folder cannot be written.
    """

    def __init__(self, pattern: str | Path, overwrite: bool = False) -> None:
        self._pattern = Path(pattern)
        self._overwrite = overwrite
        self._count = 0
        if len(NUMBER.findall(self._pattern.name)) != 1:
            raise InputError(f"'{pattern}' needs one number in its name, such as name_%04d{self._pattern.suffix}.")
        refuse_existing(self._path(1), overwrite=overwrite)
        require_writable_folder(self._pattern.parent)

    def write(self, image_bgr: NDArray[np.uint8], name: str) -> None:
        """Write a frame ``(h, w, 3)`` uint8 BGR as the file of the next number; its ``name`` is ignored.

        Raises:
            InputError: the file exists.
            SinkLost: it cannot be written (a full disk); no half-written file remains.
        """
        self._count += 1
        _write(self._path(self._count), image_bgr, overwrite=self._overwrite)

    def close(self) -> None:
        """Do nothing: every image is finished when it is written."""

    def _path(self, number: int) -> Path:
        return self._pattern.with_name(NUMBER.sub(lambda found: found[0] % number, self._pattern.name))


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
