"""Define ``Shard``: which of several runs an image belongs to."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass

from edgeseg.errors import InputError

#: Parts of the largest division; each has a manifest of its own in the folder of results.
MAX_SHARDS = 100_000


@dataclass(frozen=True)
class Shard:
    """One of several parts of a list of images.

    The part of an image follows from a hash of its name, and from nothing else. By its position in the sorted list, one
    image more would move all that follow into other parts: two machines that list a growing folder at different times
    would take some images twice and others never. The parts are equal up to chance: of a million images in 16 parts
    each has 62,500, give or take some 240.

    Attributes:
        number: of the part, from 1.
        count: how many parts there are.
    """

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count <= MAX_SHARDS:
            raise InputError(
                f"shard {self.number}/{self.count} does not exist; accepted: 1/N to N/N, of up to {MAX_SHARDS} shards."
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``3/16``, the third of sixteen.

        Raises:
            InputError: it is no such text.
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
        if found is None:
            raise InputError(f"'{text}' is no shard; accepted: 3/16, the third of sixteen.")
        return cls(int(found[1]), int(found[2]))

    def has(self, name: str) -> bool:
        """Return whether an image belongs to this part, by its name."""
        if self.count == 1:
            return True
        digest = hashlib.blake2b(os.fsencode(name), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.number - 1

    @property
    def suffix(self) -> str:
        """What the names of this part's files end with: ``-3-of-16``; nothing where there is one part."""
        return "" if self.count == 1 else f"-{self.number}-of-{self.count}"
