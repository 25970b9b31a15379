"""Load PyAV, which brings FFmpeg's libraries, and say which they are."""

from __future__ import annotations

import functools
from importlib.util import find_spec
from types import ModuleType

from edgeseg.errors import BackendUnavailable, missing_extra

#: The extra that brings PyAV.
EXTRA = "video"


def has_av() -> bool:
    """Return whether PyAV is installed; it is not loaded."""
    return find_spec("av") is not None


@functools.cache
def available() -> bool:
    """Return whether PyAV is installed and its libraries load here; it is loaded then."""
    try:
        load("this question")
    except BackendUnavailable:
        return False
    return True


def load(what: str) -> ModuleType:
    """Return the module ``av``.

    Args:
        what: what needs it, as the start of a sentence.

    Raises:
        BackendUnavailable: it is not installed, or its libraries do not load here.
    """
    try:
        import av
    except ImportError as error:
        raise missing_extra(what, EXTRA) from error
    return av


def description() -> str:
    """Return one line on what is installed: ``PyAV 18.1.0 with FFmpeg 8.1.2``; empty without PyAV."""
    if not available():
        return ""
    av = load("this line")
    return f"PyAV {av.__version__} with FFmpeg {av.ffmpeg_version_info}"
