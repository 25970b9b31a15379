from __future__ import annotations

import pytest

from edgeseg.errors import InputError
from edgeseg.models.learned_ranges import LearnedRanges


def test_ranges_are_read_as_they_were_written() -> None:
    ranges = LearnedRanges(precision="w8a16", limits={"relu": (0.0, 0.1), "logits": (-3.25, 1e-7)})
    assert LearnedRanges.from_json(ranges.to_json()) == ranges


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"precision": "int4", "limits": {}}', "precision"),
        ('{"precision": "int8", "limits": {"x": [0.5, 1.0]}}', "the range of 'x' is 0.5 to 1.0, and must hold zero"),
        ('{"precision": "int8", "limits": {"x": [0.0]}}', "limits"),
        ("[", "cannot be read"),
    ],
)
def test_ranges_that_cannot_be_right_are_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        LearnedRanges.from_json(text)
