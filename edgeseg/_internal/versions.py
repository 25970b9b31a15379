"""Find the versions of installed packages, also under other distribution names: onnxruntime-gpu, a nightly."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata

#: Of edgeseg, the one place: the build reads it here.
__version__ = "0.1.0"

# Packages whose module has another name.
_MODULES = {"mnn": "MNN", "opencv-python": "cv2", "openslide-python": "openslide", "pillow": "PIL"}


def module_of(package: str) -> str:
    """Return the name under which the package of a distribution is imported."""
    return _MODULES.get(package, package.replace("-", "_"))


def installed_version(package: str) -> str | None:
    """Return the version of a package without importing it; ``None`` when it is not installed.

    Args:
        package: see ``installed_distribution``.
    """
    installed = installed_distribution(package)
    return None if installed is None else installed[1]


def installed_distribution(package: str) -> tuple[str, str] | None:
    """Return the name and version of the distribution of a package, without importing it; ``None`` when there is none.

    Args:
        package: its usual distribution name (``ai-edge-litert``). Where no distribution has it, the one that provides
            its module (``ai_edge_litert``) is used, or the module itself where it is loaded and came without metadata.
    """
    try:
        return package, metadata.version(package)
    except metadata.PackageNotFoundError:
        module = module_of(package)
        for distribution in _distributions().get(module, ()):
            return distribution, metadata.version(distribution)
        loaded = sys.modules.get(module)
        return None if loaded is None else (package, str(getattr(loaded, "__version__", "of unknown version")))


@cache  # reads the files of every distribution, 0.11 s with 170 of them
def _distributions() -> Mapping[str, Sequence[str]]:
    """Return the names of the distributions that bring a top-level module, by the module's name."""
    return metadata.packages_distributions()
