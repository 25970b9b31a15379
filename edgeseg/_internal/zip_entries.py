"""Entries of zip archives that come from anywhere: none is unpacked that claims more than its reader has a use for."""

from __future__ import annotations

import zipfile

#: Bytes of an entry that is JSON. A layer's config is about a thousand.
MAX_JSON = 1 << 26


def read_entry(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Read an entry, and no more of it than it claims, whatever is in there.

    Args:
        archive: open for reading.
        name: of the entry.
        limit: bytes that it may have when unpacked.

    Raises:
        ValueError: it claims more.
        KeyError: there is no such entry.
    """
    claimed = archive.getinfo(name).file_size
    if claimed > limit:
        raise ValueError(f"its entry '{name}' claims {claimed} bytes, at most {limit} are read")
    with archive.open(name) as entry:
        return entry.read(claimed)  # without a number it unpacks all that is there before it looks
