"""Keep the ranges that a quantization-aware training learned, beside the float model whose activations they are of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from edgeseg._internal.fields import short_repr
from edgeseg._internal.json import FEW, AnyText, Finite, Meta, WrongValue, decode
from edgeseg.choices import TrainedPrecision
from edgeseg.errors import InputError

_Limits = Annotated[tuple[Finite, Finite], Meta()]


@dataclass(frozen=True, kw_only=True)
class LearnedRanges:
    """The ranges of a model's activations.

    Attributes:
        precision: that was trained for.
        limits: the smallest and the largest value that the integers of an activation reach, by the name of the layer
            that makes it.

    Raises:
        InputError: a range does not hold zero.
    """

    __repr__ = short_repr

    precision: TrainedPrecision
    limits: Annotated[Mapping[AnyText, _Limits], Meta(max_length=FEW)]

    def __post_init__(self) -> None:
        for name, (low, high) in self.limits.items():
            if not low <= 0 <= high or low == high:
                raise WrongValue(f"the range of '{name}' is {low} to {high}, and must hold zero")

    def to_json(self) -> str:
        """Return the text of ``from_json``."""
        limits = {name: list(pair) for name, pair in self.limits.items()}
        return json.dumps({"format_version": 1, "precision": self.precision, "limits": limits})

    @classmethod
    def from_json(cls, data: bytes | str) -> LearnedRanges:
        """Read ``to_json``.

        Raises:
            InputError: it is not of that form.
        """
        try:
            return decode(data, cls)
        except WrongValue as error:
            raise InputError(f"the learned ranges cannot be read: {error}.") from error
