from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys

import pytest

import edgeseg
from edgeseg._internal.lazy import lazy_names
from edgeseg.errors import BackendUnavailable


def test_a_name_is_fetched_from_its_module_when_it_is_asked_for() -> None:
    get, _ = lazy_names("here", {"sqrt": "math", "gone": "no_such_module"})
    assert get("sqrt")(4) == 2
    with pytest.raises(ModuleNotFoundError):
        get("gone")
    with pytest.raises(AttributeError, match="module 'here' has no attribute 'other'"):
        get("other")


def test_what_is_not_installed_is_not_listed_and_says_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)  # a finder's answer for what is not there
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "keras" else name)
    assert {"Segmenter", "open_source"} <= set(dir(edgeseg))
    assert not {"train", "load_model"} & set(dir(edgeseg))
    with pytest.raises(BackendUnavailable, match=r'edgeseg\.train needs .* pip install "edgeseg\[train\]"'):
        _ = edgeseg.train
    with pytest.raises(BackendUnavailable, match=r"pip install"):
        from edgeseg import load_model  # noqa: F401


def test_help_begins_with_what_a_user_needs_and_lists_every_name() -> None:
    # from a process of its own, as help() loads what it lists
    done = subprocess.run(
        [sys.executable, "-c", "import edgeseg; help(edgeseg); print(sorted(dir(edgeseg)))"],
        capture_output=True,
        text=True,
        check=True,
    )
    head = done.stdout[: done.stdout.index("PACKAGE CONTENTS")]
    assert "edgeseg.Segmenter(" in head
    assert "edgeseg.export(" in head
    listed = done.stdout.splitlines()[-1]
    installed = importlib.util.find_spec("tf2onnx") is not None
    assert all(f"'{name}'" in listed for name in edgeseg.__all__ if installed or name not in _NEEDS_EXTRAS)


_NEEDS_EXTRAS = {"export", "load_model", "rewrite", "train"}


@pytest.mark.parametrize(
    "package",
    ["edgeseg", "edgeseg.benchmark", "edgeseg.camera", "edgeseg.models", "edgeseg.training", "edgeseg_converters"],
)
def test_every_public_name_of_a_package_is_there(package: str) -> None:
    if package not in ("edgeseg.benchmark", "edgeseg.camera"):
        pytest.importorskip("keras", reason="a device has no keras, which these names need")
    module = importlib.import_module(package)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing_of_that_name'"):
        _ = module.nothing_of_that_name
