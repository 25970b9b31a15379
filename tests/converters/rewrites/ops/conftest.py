"""One tester for every op rewrite: replaced, gone, and the same numbers from the same graph."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from edgeseg_converters.keras_model.tensorflow_internals import with_constants
from edgeseg_converters.rewrites.base import Refused, tied_values
from edgeseg_converters.rewrites.ops.base import OpRewrite, Trace, rewrite_ops, run

#: Names no place: the functions here come from no model.
NO_MODEL = keras.Sequential([keras.Input((1,))])


def traced(code: Callable[..., Any], *shapes: tuple[int, ...]) -> Any:
    """The frozen function of some code, as ``freeze.trace`` makes it of a model."""
    specs = [tf.TensorSpec(shape) for shape in shapes]
    return with_constants(tf.function(code, autograph=False).get_concrete_function(*specs))


@pytest.fixture
def replaced() -> Callable[..., set[str]]:
    """``replaced(code, rule, shape, ...)``: see ``_replaced``."""
    return _replaced


@pytest.fixture
def refused() -> Callable[..., Refused]:
    """``refused(code, rule, shape, ...)``: the one refusal; the graph is as it was."""
    return _refused


def _replaced(
    code: Callable[..., Any], rule: OpRewrite, *shapes: tuple[int, ...], left: Collection[str] = ()
) -> set[str]:
    """Check that one site is replaced and no op of the rule's types but ``left`` remains; return the types of ops."""
    function = traced(code, *shapes)
    given = [tied_values(shape, seed) - 1 for seed, shape in enumerate(shapes)]
    expected = run(function.outputs, function.inputs, given, by_xla=rule.needs_xla)
    applied, refusals = rewrite_ops(function, [rule], NO_MODEL)
    assert refusals == ()
    assert [one.rule for one in applied] == [rule.name]
    types = {op.type for op in Trace(function).ops}
    assert not types & set(rule.types) - set(left)
    for old, new in zip(expected, run(function.outputs, function.inputs, given), strict=True):
        assert old.dtype == new.dtype
        np.testing.assert_allclose(new, old, rtol=0, atol=rule.atol)
    return types


def _refused(code: Callable[..., Any], rule: OpRewrite, *shapes: tuple[int, ...]) -> Refused:
    function = traced(code, *shapes)
    before = [op.name for op in Trace(function).ops]
    applied, refusals = rewrite_ops(function, [rule], NO_MODEL)
    assert applied == ()
    assert [op.name for op in Trace(function).ops] == before
    (refusal,) = refusals
    return refusal
