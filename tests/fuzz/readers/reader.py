"""Define a reader: how many of the inputs it gets, and how they are made."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from fuzz.case import Case

Seeds = Mapping[str, bytes]


@dataclass(frozen=True)
class Reader:
    """A kind of input.

    Attributes:
        share: of all inputs, relative to the other readers; small where each takes long.
        inputs: from the seeds to a strategy.
    """

    share: int
    inputs: Callable[[Seeds], st.SearchStrategy[Case]]


def argument(text: str) -> str:
    """Return a text that a process can get as an argument: no NUL, and surrogates only for bytes."""
    kept = (c for c in text if c != "\0" and not ("\ud800" <= c <= "\udfff" and not "\udc80" <= c <= "\udcff"))
    return "".join(kept)


def with_entry(archive: bytes, name: str, content: bytes) -> bytes:
    """Return a zip archive in which one entry has another content."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(out, "w") as new:
        for info in old.infolist():
            if info.filename != name:
                new.writestr(info, old.read(info))
        new.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


def entry(archive: bytes, name: str) -> bytes:
    """Return an entry of a zip archive."""
    with zipfile.ZipFile(io.BytesIO(archive)) as zipped:
        return zipped.read(name)


def data_files(seeds: Seeds, prefix: str = "data/") -> dict[str, Any]:
    """Return the seeds of a folder."""
    return {name: content for name, content in seeds.items() if name.startswith(prefix)}
