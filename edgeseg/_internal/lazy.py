"""Give a package names whose modules are imported when they are first asked for, so that start-up pays for none."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Make a package's ``__getattr__``.

    Args:
        package: its ``__name__``.
        modules: the module that has each name.

    Example:
        >>> __getattr__ = lazy_names(__name__, {"train": "edgeseg.training.fit"})
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(importlib.import_module(modules[name]), name)

    return get
