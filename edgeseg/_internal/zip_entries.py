"""Read entries of untrusted zip archives: no entry is unpacked that claims more bytes than its reader can use."""

from __future__ import annotations

import zipfile

#: Most bytes of a JSON entry. A layer's config is about a thousand.
MAX_JSON = 1 << 26


def read_entry(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Read an entry, and no more bytes of it than it claims, whatever it holds.

    Args:
        archive: open for reading.
        name: of the entry.
        limit: most bytes that it may have when unpacked.

    Raises:
        ValueError: the entry claims more.
        KeyError: the archive has no such entry.
    """
    claimed = archive.getinfo(name).file_size
    if claimed > limit:
        raise ValueError(f"its entry '{name}' claims {claimed} bytes, at most {limit} are read")
    with archive.open(name) as entry:
        return entry.read(claimed)  # without a number it unpacks everything before it checks
