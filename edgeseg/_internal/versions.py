"""Versions of installed packages, also of those that come under another name: onnxruntime-gpu, a nightly."""

from __future__ import annotations

import sys
from importlib import metadata


def installed_version(package: str) -> str | None:
    """The version of a package, without importing it; ``None`` when it is not there.

    Args:
        package: as it is called where it has its usual name (``ai-edge-litert``). Else the distribution is asked that
            brings its module (``ai_edge_litert``), or the module itself where it is loaded and came without metadata.
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        module = package.replace("-", "_")
        for distribution in metadata.packages_distributions().get(module, ()):
            return metadata.version(distribution)
        loaded = sys.modules.get(module)
        return None if loaded is None else str(getattr(loaded, "__version__", "of unknown version"))
