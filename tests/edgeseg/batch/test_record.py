from __future__ import annotations

import pytest

from edgeseg.batch.record import stem_of


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a/shot.jpg", "a/shot"),
        ("v1.2/shot", "v1.2/shot"),  # the dot is the folder's
        ("v1.2/shot.ome.tif", "v1.2/shot.ome"),
        ("v1.2/.hidden", "v1.2/.hidden"),
    ],
)
def test_results_are_named_as_the_image_without_its_own_suffix(name: str, stem: str) -> None:
    assert stem_of(name) == stem
