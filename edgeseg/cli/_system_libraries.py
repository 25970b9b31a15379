"""Say which system libraries a package lacks, and which Debian packages bring them: slim systems have none of X."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from pathlib import Path

from edgeseg._internal.text import escaped

# Packages whose name does not follow from the library's.
_PACKAGES = {
    "libGLESv2.so.2": "libgles2",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgobject-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libz.so.1": "zlib1g",
}
# A library that a wheel brings along has more than one number at its end.
_LIBRARY = re.compile(r"(lib[\w.+-]*\.so\.\d+):")
_NOT_FOUND = re.compile(r"(lib[\w.+-]*\.so\.\d+)(?: => not found|: cannot open|: No such file)")
_LOADER_S = 20


def missing_libraries(error: ImportError) -> list[str]:
    """Return the system libraries that kept a package from being loaded, such as ``libxcb.so.1``.

    Python names the first one alone; the system's own loader is asked for the others.

    Args:
        error: what the import raised.

    Returns:
        Names of files; empty where the reason is another one.
    """
    named = _LIBRARY.search(str(error))
    if named is None or ("cannot open shared object" not in str(error) and "Error loading" not in str(error)):
        return []
    return list(dict.fromkeys([named[1], *(name for path in _native_parts(error) for name in _missing_of(path))]))


def debian_packages(libraries: list[str]) -> list[str]:
    """Return the Debian packages of libraries: a library's name, in lower case, and the number of its version."""
    return list(dict.fromkeys(_PACKAGES.get(name) or _by_rule(name) for name in libraries))


def advice(error: ImportError) -> str:
    """Return one sentence on a package that cannot be loaded, with what to install where libraries are missing."""
    package = (error.name or "a package").partition(".")[0]
    if package.startswith("_") and error.path:  # its compiled part
        package = Path(error.path).parent.name
    libraries = missing_libraries(error)
    if not libraries:
        return f"{package} cannot be loaded: {escaped(str(error))}"
    what = "OpenCV" if package == "cv2" else package
    lacks = f"the system lacks {', '.join(libraries)}"
    headless = ", or: pip uninstall opencv-python && pip install opencv-python-headless, without windows"
    return (
        f"{what} cannot be loaded: {lacks}. On Debian, Ubuntu and Raspberry Pi OS: sudo apt install "
        f"{' '.join(debian_packages(libraries))}{headless if package == 'cv2' else ''}"
    )


def _by_rule(library: str) -> str:
    name, _, version = library.lower().partition(".so.")
    return f"{name}{'-' if name[-1].isdigit() else ''}{version}"


def _native_parts(error: ImportError) -> list[Path]:
    """Return the compiled files of the package that was not loaded."""
    if error.path and ".so" in error.path:
        return [Path(error.path)]
    spec = importlib.util.find_spec((error.name or "").partition(".")[0]) if error.name else None
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    return [path for folder in folders for path in sorted(folder.glob("*.so"))]


def _missing_of(path: Path) -> list[str]:
    """Ask the loader that runs this process which libraries of a file it does not find; nothing where it cannot say."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
        loader = next(line.split()[-1] for line in maps.splitlines() if re.search(r"/ld-[\w.-]+\.so", line))
        done = subprocess.run(
            [loader, *(["--list"] if "musl" in loader else []), str(path)],
            env={**os.environ, "LD_TRACE_LOADED_OBJECTS": "1"},  # as ldd does, which is a script that may not be there
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LOADER_S,
            check=False,
        )
    except (OSError, StopIteration, subprocess.TimeoutExpired):
        return []
    return _NOT_FOUND.findall(done.stdout + done.stderr)
