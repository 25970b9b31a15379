"""What of edgeseg's optional parts is installed, read from the package's own metadata."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata

from edgeseg._internal.versions import installed_version

_REQUIREMENT = re.compile(r"""^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?\s*([^;]*)(?:;\s*extra == ["']([^"']+)["'])?$""")
_AT_LEAST = re.compile(r">=\s*([0-9.]+)")

# In the order a user meets them; a package is shown for the first that asks for it (train is part of convert).
_EXTRAS = ("edgeseg", "tflite", "onnx", "charts", "train", "convert")


@dataclass(frozen=True)
class Part:
    """One package that edgeseg uses.

    Attributes:
        package: its name.
        needed_for: the extra that brings it, ``edgeseg`` for what is always needed.
        required: the version that is asked for, ``>=2.1``.
        installed: the version that is there, ``None`` when it is missing.
        ok: whether it is there and new enough.
        install: the line that mends it, empty when ``ok``.
    """

    package: str
    needed_for: str
    required: str
    installed: str | None
    ok: bool
    install: str


def parts() -> list[Part]:
    """Every package that edgeseg asks for, with what is installed of it."""
    found: dict[str, Part] = {}
    for requirement in metadata.requires("edgeseg") or []:
        match = _REQUIREMENT.match(requirement.replace("(", "").replace(")", ""))
        if match is None:
            continue
        package, required, extra = match[1], match[2].strip(), match[3] or "edgeseg"
        known = found.get(package)
        if extra not in _EXTRAS or (known and _EXTRAS.index(known.needed_for) < _EXTRAS.index(extra)):
            continue
        installed = installed_version(package)
        minimum = _AT_LEAST.search(required)
        new_enough = installed is not None and (minimum is None or _release(installed) >= _release(minimum[1]))
        target = "edgeseg" if extra == "edgeseg" else f'"edgeseg[{extra}]"'
        install = "" if new_enough else f"pip install --upgrade {target}"
        found[package] = Part(package, extra, required, installed, new_enough, install)
    return sorted(found.values(), key=lambda part: _EXTRAS.index(part.needed_for))


def _release(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: (2, 21, 0) of ``2.21.0rc1``."""
    return tuple(int(number) for number in re.match(r"[0-9.]+", version)[0].strip(".").split("."))  # type: ignore[index]
