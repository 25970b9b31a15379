"""One tester for every rewrite: replaced, gone, the same numbers, and the model that was given untouched."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest

from edgeseg_converters.rewrites import Rewrite, RewriteResult, rewrite
from edgeseg_converters.rewrites.base import tied_values


def kinds(model: keras.Model) -> list[str]:
    return [type(operation).__name__ for operation in model.operations]


@pytest.fixture
def assert_replaced() -> Callable[..., RewriteResult]:
    """``assert_replaced(model, rule, count, gone=[...])``: see ``_assert_replaced``."""
    return _assert_replaced


def _assert_replaced(model: keras.Model, rule: Rewrite, count: int, gone: list[str]) -> RewriteResult:
    """Check ``count`` sites, no layer of the classes ``gone``, and outputs within the rule's ``atol``.

    The images are two, so that a replacement that mixes a batch is seen, and full of ties.
    """
    before = kinds(model)
    result = rewrite(model, [rule])
    assert result.refused == ()
    assert result.counts() == ((rule.name, count),)
    assert not set(kinds(result.model)) & set(gone)
    assert kinds(model) == before
    assert {id(v) for v in result.model.variables} == {id(v) for v in model.variables}
    fed = [tied_values((2, *tensor.shape[1:]), seed) for seed, tensor in enumerate(model.inputs)]
    fed = fed if len(fed) > 1 else fed[0]
    for old, new in zip(*(keras.tree.flatten(m(fed, training=False)) for m in (model, result.model)), strict=True):
        np.testing.assert_allclose(new, old, rtol=0, atol=rule.atol)
    return result
