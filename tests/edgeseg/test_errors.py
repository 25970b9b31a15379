from __future__ import annotations

import pytest

from edgeseg import errors
from edgeseg.errors import EdgesegError, InputError, did_you_mean, missing_extra


def test_one_base_is_enough_to_catch_them_all() -> None:
    kinds = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(kinds) > 5
    assert all(issubclass(kind, EdgesegError) for kind in kinds)
    with pytest.raises(ValueError, match="wrong"):  # a wrong argument is what Python calls one
        raise InputError("wrong")


def test_a_mistyped_name_gets_its_nearest() -> None:
    assert did_you_mean("exprot", ["predict", "export"]) == " Did you mean 'export'?"
    assert did_you_mean("zzz", ["predict", "export"]) == ""
    assert did_you_mean("exprot", ["export"], cutoff=0.99) == ""


def test_a_missing_part_comes_with_its_command() -> None:
    error = missing_extra("edgeseg export", "convert")
    assert str(error).startswith("edgeseg export needs packages that are not installed.")
    assert str(error).endswith('pip install "edgeseg[convert]"')
