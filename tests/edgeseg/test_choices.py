from __future__ import annotations

import re
from typing import Literal, get_args, get_origin

from edgeseg import choices

SETS = {name: get_args(value) for name, value in vars(choices).items() if get_origin(value) is Literal}


def test_every_name_can_be_typed_in_a_shell_and_means_one_thing() -> None:
    assert {"Format", "Precision", "Accelerator", "LossKind"} <= SETS.keys()
    for kind, names in SETS.items():
        assert len(set(names)) == len(names), kind
        separators = "_" if kind == "StoppingColumn" else "-+"  # the columns of history.csv have their own names
        for name in names:
            assert re.fullmatch(rf"[a-z0-9]+([{separators}][a-z0-9]+)*", name), (kind, name)


def test_the_integer_precisions_are_precisions() -> None:
    assert set(SETS["Precision"]) > choices.INTEGERS
    assert choices.INTEGERS.isdisjoint({"fp32", "fp16"})
