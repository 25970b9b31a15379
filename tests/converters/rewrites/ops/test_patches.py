"""``ops.patches``: ExtractImagePatches as copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf

from edgeseg_converters.rewrites.ops.patches import PatchesToCopies

RULE = PatchesToCopies()


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    ("patch", "stride", "rate", "form"),
    [
        ((2, 2), (2, 2), 1, "Transpose"),
        ((3, 2), (3, 2), 1, "Transpose"),
        ((3, 3), (1, 1), 1, "ConcatV2"),
        ((3, 3), (2, 2), 1, "DepthwiseConv2dNative"),
        ((2, 3), (5, 5), 1, "DepthwiseConv2dNative"),  # pixels between the patches
        ((3, 3), (2, 2), 2, "ConcatV2"),
        ((3, 2), (1, 3), 1, "ConcatV2"),
    ],
)
def test_every_patch_is_copied(
    patch: tuple[int, int],
    stride: tuple[int, int],
    rate: int,
    form: str,
    padding: str,
    replaced: Callable[..., set[str]],
) -> None:
    def code(x: Any) -> Any:
        return tf.image.extract_patches(x, [1, *patch, 1], [1, *stride, 1], [1, rate, rate, 1], padding)

    assert form in replaced(code, RULE, (1, 11, 13, 3))
