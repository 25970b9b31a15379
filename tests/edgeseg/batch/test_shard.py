"""``shard``: which images of many a run takes."""

from __future__ import annotations

import pytest

from edgeseg.batch.shard import Shard
from edgeseg.errors import InputError

NAMES = [f"street/{number:05d}.jpg" for number in range(4000)]


def test_each_image_is_in_one_shard_and_stays_there_when_others_come() -> None:
    shards = [Shard(number, 16) for number in range(1, 17)]
    of = {name: [shard.number for shard in shards if shard.has(name)] for name in NAMES}
    assert all(len(numbers) == 1 for numbers in of.values())
    sizes = [sum(numbers == [shard.number] for numbers in of.values()) for shard in shards]
    # 250 each; the deviation of a binomial with p = 1/16 is 15.3, and these names are always the same
    assert all(abs(size - 250) < 4 * 15.3 for size in sizes)
    # What another Python, another machine and a later version must give as well.
    assert [of[name] for name in NAMES[:4]] == EXPECTED
    assert all(Shard().has(name) for name in NAMES)


EXPECTED = [[16], [10], [8], [12]]


def test_a_shard_by_its_text() -> None:
    assert Shard.parse("3/16") == Shard(3, 16)
    assert (Shard.parse("3/16").suffix, Shard().suffix) == ("-3-of-16", "")
    for text in ("3", "0/16", "17/16", "1/0", "1/2/3", "-1/2", "1/200000", "٣/16", ""):
        with pytest.raises(InputError, match="accepted: "):
            Shard.parse(text)
