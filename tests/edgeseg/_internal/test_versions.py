from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

from edgeseg._internal import versions
from edgeseg._internal.versions import installed_version


def test_a_package_under_its_own_name() -> None:
    assert installed_version("numpy") == metadata.version("numpy")
    assert installed_version("no-such-package") is None


def test_a_package_that_comes_under_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``onnxruntime-gpu`` brings the module ``onnxruntime``."""
    monkeypatch.setattr(versions, "_distributions", lambda: {"a_runtime": ["numpy"]})
    assert installed_version("a-runtime") == metadata.version("numpy")


def test_a_loaded_module_without_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("bare_module")
    monkeypatch.setitem(sys.modules, "bare_module", module)
    assert installed_version("bare-module") == "of unknown version"
    module.__version__ = "1.2"  # type: ignore[attr-defined]
    assert installed_version("bare-module") == "1.2"


def test_the_version_is_in_one_place() -> None:
    root = Path(__file__).parents[3]
    project = (root / "pyproject.toml").read_text()
    assert '\npath = "edgeseg/_internal/versions.py"\n' in project  # where hatchling reads it
    assert "\nversion = " not in project
    assert f"\nversion: {versions.__version__}\n" in (root / "CITATION.cff").read_text()  # its format has no other way
