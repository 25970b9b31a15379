"""Remember which models ran, in the user's cache folder, so that a model is tried once and not at every start."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from edgeseg._internal.files import cache_folder, write_text
from edgeseg._internal.limits.text import read_text
from edgeseg.errors import InputError

#: Models that are remembered; the oldest is forgotten first.
MOST = 1000
_NAME = "models-that-ran"
_KEY = re.compile(r"[0-9a-f]{64}")
_LINE = 65


def path() -> Path:
    """Return the file."""
    return cache_folder() / _NAME


def has(key: str) -> bool:
    """Return whether a key was added; ``False`` where the file cannot be read."""
    return key in _keys()


def add(key: str) -> None:
    """Add the SHA-256 of a model and of how it ran; do nothing where the file cannot be written.

    Two processes that add at the same time may lose one of the keys: that model is tried once more.
    """
    with suppress(InputError, OSError):
        write_text(path(), "".join(f"{one}\n" for one in [*_keys(), key][-MOST:]), overwrite=True)


def _keys() -> list[str]:
    with suppress(InputError, OSError, UnicodeDecodeError):
        if path().is_file():
            return [line for line in read_text(path(), MOST * _LINE).splitlines() if _KEY.fullmatch(line)]
    return []
