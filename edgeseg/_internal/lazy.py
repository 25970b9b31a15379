"""Give a package names whose modules are imported when they are first asked for, so that start-up pays for none."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from typing import Any

from edgeseg.errors import missing_extra

#: Extra to a package that it brings and the extras before it do not.
_PACKAGES = {"train": "keras", "convert": "tf2onnx"}


def lazy_names(
    package: str, modules: Mapping[str, str], *, extras: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make a package's ``__getattr__`` and ``__dir__``.

    Where an extra is not installed, its names raise ``BackendUnavailable`` and ``__dir__`` does not list them, as
    ``help()`` and completion ask for everything that is listed.

    Args:
        package: its ``__name__``.
        modules: the module that has each name.
        extras: the extra that brings what the module of a name imports, where a device may lack it.

    Examples:
        >>> __getattr__, __dir__ = lazy_names(__name__, {"train": "edgeseg.training.fit"})
    """
    extras = extras or {}

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        if not _is_installed(extras.get(name)):
            raise missing_extra(f"{package}.{name}", extras[name])
        return getattr(importlib.import_module(modules[name]), name)

    def names() -> list[str]:
        own = (name for name in vars(sys.modules[package]) if not name.startswith("_") or name.startswith("__"))
        return sorted({*own, *(name for name in modules if _is_installed(extras.get(name)))})

    return get, names


def _is_installed(extra: str | None) -> bool:
    return extra is None or importlib.util.find_spec(_PACKAGES[extra]) is not None
