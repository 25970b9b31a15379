from __future__ import annotations

from typing import Any

import click
import pytest

from edgeseg.cli._by_output import LossType, OutputWeightsType


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (LossType(), "focal+dice", "focal+dice"),
        (LossType(), "a=dice, b=binary_crossentropy", {"a": "dice", "b": "binary_crossentropy"}),
        (LossType(), {"a": "dice"}, {"a": "dice"}),
        (OutputWeightsType(), "1,0.4", (1.0, 0.4)),
        (OutputWeightsType(), "a=0.4", {"a": 0.4}),
        (OutputWeightsType(), (1.0,), (1.0,)),
    ],
)
def test_one_value_or_one_for_each_output(kind: click.ParamType[Any], text: Any, value: Any) -> None:
    assert kind.convert(text, None, None) == value


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (LossType(), "dise", "got dise. Did you mean 'dice'?"),
        (LossType(), "a=dice,focal", "'focal' is not OUTPUT=VALUE, of 'a=dice,focal'"),
        (LossType(), "a=dice,a=focal", "the output 'a' is given twice"),
        (LossType(), "a=hinge", "loss must be one of cross-entropy"),
        (OutputWeightsType(), "a=much", "'a=much' is not accepted; give numbers with commas between, or OUTPUT=X"),
        (OutputWeightsType(), "1,", "'1,' is not accepted"),
    ],
)
def test_anything_else_is_a_usage_error(kind: click.ParamType[Any], text: str, message: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        kind.convert(text, None, None)
    assert message in str(caught.value)
