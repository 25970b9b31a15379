from __future__ import annotations

import pytest

from edgeseg._internal.spread import spread


@pytest.mark.parametrize(
    ("length", "count", "expected"), [(10, 4, [0, 3, 6, 9]), (3, 8, [0, 1, 2]), (5, 1, [0]), (1, 4, [0])]
)
def test_first_and_last_are_among_what_is_chosen(length: int, count: int, expected: list[int]) -> None:
    assert spread(range(length), count) == expected


def test_items_stay_what_they_are() -> None:
    assert spread(["a", "b", "c"], 2) == ["a", "c"]
