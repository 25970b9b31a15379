from __future__ import annotations

import importlib

import pytest

from edgeseg._internal.lazy import lazy_names


def test_a_name_is_fetched_from_its_module_when_it_is_asked_for() -> None:
    get = lazy_names("here", {"sqrt": "math", "gone": "no_such_module"})
    assert get("sqrt")(4) == 2
    with pytest.raises(ModuleNotFoundError):
        get("gone")
    with pytest.raises(AttributeError, match="module 'here' has no attribute 'other'"):
        get("other")


@pytest.mark.parametrize(
    "package", ["edgeseg", "edgeseg.benchmark", "edgeseg.models", "edgeseg.training", "edgeseg_converters"]
)
def test_every_public_name_of_a_package_is_there(package: str) -> None:
    if package not in ("edgeseg", "edgeseg.benchmark"):
        pytest.importorskip("keras", reason="a device has no keras, which these names need")
    module = importlib.import_module(package)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing_of_that_name'"):
        _ = module.nothing_of_that_name
