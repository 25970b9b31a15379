"""Name the readers that are fuzzed: one function each, from the seeds to a strategy of inputs."""

from __future__ import annotations

from collections.abc import Mapping

from fuzz.readers import batch, data, devices, media, models, tables
from fuzz.readers.reader import Reader

__all__ = ["READERS", "Reader"]

_ALL: tuple[Mapping[str, Reader], ...] = (
    models.READERS,
    tables.READERS,
    data.READERS,
    media.READERS,
    devices.READERS,
    batch.READERS,
)

#: By the name that ``--reader`` takes.
READERS: dict[str, Reader] = {name: reader for group in _ALL for name, reader in group.items()}
