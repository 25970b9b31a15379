"""Tell what the text of ``--save`` names: a video file, images, a server, or a target of ffmpeg."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Literal

from edgeseg._internal.files import refuse_existing, require_writable_folder
from edgeseg.errors import InputError, did_you_mean
from edgeseg.imaging import IMAGE_SUFFIXES
from edgeseg.sinks.ffmpeg_pipe import STREAM_FORMATS
from edgeseg.sinks.images import NUMBER
from edgeseg.sinks.stream import is_stream
from edgeseg.sinks.video_file import SUFFIXES

TargetKind = Literal["video", "image", "folder", "named", "numbered", "stream", "camera", "ffmpeg"]

#: Those that take every frame, whatever it is called, through one sink.
FILMS = ("video", "named", "numbered", "stream", "camera", "ffmpeg")


def target_kind(text: str) -> TargetKind:
    """Return what a text names; a name without a suffix is a folder, and so is one that exists or ends in a slash.

    ``"named"`` is ``folder/*.png``, images under the frames' names, ``"numbered"`` is ``folder/name_%04d.png``.

    Raises:
        InputError: its suffix is that of no video and no image.
    """
    if text.startswith("ffmpeg:"):
        return "ffmpeg"
    if text.startswith("camera:"):
        return "camera"
    if is_stream(text):
        return "stream"
    path = Path(text)
    suffix = path.suffix.lower()
    if text and (text.endswith(("/", os.sep)) or path.is_dir() or not suffix):
        return "folder"
    if suffix in SUFFIXES:
        return "video"
    if suffix in IMAGE_SUFFIXES:
        return "named" if path.stem == "*" else "numbered" if NUMBER.search(path.name) else "image"
    raise InputError(
        f"nothing can be saved as '{text}'; accepted: a video file ({', '.join(SUFFIXES)}), an image file "
        f"({', '.join(sorted(IMAGE_SUFFIXES))}), a folder ('{text}/', 'folder/*.png'), numbered images "
        f"(name_%04d.png), a URL ({', '.join(f'{scheme}://' for scheme in STREAM_FORMATS)}), "
        f"a virtual camera (camera:), or 'ffmpeg:' and a file or device."
        f"{did_you_mean(suffix, SUFFIXES)}"
    )


def require_place(text: str, *, still: bool, one_frame: bool, overwrite: bool) -> TargetKind:
    """Refuse what ``--save`` names where it does not fit the frames to come or cannot be written; nothing is created.

    Args:
        text: of ``--save``.
        still: the only source is one image, shown once.
        one_frame: there will be one frame, as ``still`` or by ``--max-frames 1``.
        overwrite: whether existing files may be replaced.

    Returns:
        What it names.

    Raises:
        InputError: as said; the text has what to type.
    """
    kind = target_kind(text)
    path = Path(text)
    if kind == "image" and not one_frame:
        raise several_frames(path)
    if kind == "video" and still:
        raise InputError(f"'{text}' is a film, and the source is one image: give {_typed(path, '.png')}.")
    if kind in ("image", "video"):
        refuse_existing(path, overwrite=overwrite)
        require_writable_folder(path.parent)
    elif kind == "folder":
        require_writable_folder(path)
    elif kind in ("named", "numbered"):
        require_writable_folder(path.parent)
    return kind


def several_frames(path: Path) -> InputError:
    """Return the error of one image for several frames; it has what to type."""
    return InputError(
        f"'{path}' is one image, and there are several frames: give {_typed(path, '.mp4')} for a film, or "
        f"{_typed(path, '')}/ for a folder of images, or take one frame alone."
    )


def _typed(path: Path, suffix: str) -> str:
    return shlex.quote(str(path.with_suffix(suffix)))
