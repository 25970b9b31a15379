"""Compare what is installed with what edgeseg asks for in its own metadata."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from edgeseg._internal.versions import installed_version

#: The name for no extra: the packages that edgeseg always needs.
CORE = "edgeseg"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One package that edgeseg uses.

    Attributes:
        package: its name.
        needed_for: the extra that brings it, ``edgeseg`` for what is always needed.
        required: the accepted versions, ``>=2.1``; empty for any.
        installed: the installed version, ``None`` when it is missing.
        ok: whether an accepted version is installed.
        install: the command that installs it, empty when ``ok``.
    """

    package: str
    needed_for: str
    required: str
    installed: str | None
    ok: bool
    install: str


def parts() -> list[Part]:
    """Return every package that edgeseg asks for in this environment, with its installed version.

    A package is listed once, for the first extra that brings it, and again where another extra asks for other versions
    of it. The packages that are always needed come first, then the extras that a device has, then the others. A smaller
    extra comes before a larger one, as it installs less for the same package. So ``all`` lists nothing of its own.
    """
    requirements = [Requirement(text) for text in metadata.requires("edgeseg") or []]
    listed: dict[tuple[str, str], Part] = {}
    for extra in _extras(requirements):
        for requirement in _asked_for(requirements, extra):
            key = canonicalize_name(requirement.name), str(requirement.specifier)
            if key not in listed:
                listed[key] = _part(requirement, extra)
    return list(listed.values())


def _extras(requirements: list[Requirement]) -> list[str]:
    """Return all extras in the order in which their packages are listed, the packages always needed first."""
    extras = metadata.metadata("edgeseg").get_all("Provides-Extra") or []
    brings = {extra: {item.name for item in _asked_for(requirements, extra)} for extra in extras}
    on_device = brings.get("device", set())

    def rank(extra: str) -> tuple[bool, int, bool, str]:
        # Among extras with the same packages ``all`` comes last, as it is a name for the largest.
        return not brings[extra] <= on_device, len(brings[extra]), extra == "all", extra

    return [CORE, *sorted(extras, key=rank)]


def _asked_for(requirements: list[Requirement], extra: str) -> Iterator[Requirement]:
    """Yield the packages that one extra brings in this environment, including those always needed."""
    environment = {"extra": "" if extra == CORE else extra}
    for requirement in requirements:
        if requirement.marker is not None and not requirement.marker.evaluate(environment):
            continue
        if canonicalize_name(requirement.name) == "edgeseg":  # an extra of extras, where the build did not expand it
            for inner in sorted(requirement.extras):
                yield from _asked_for(requirements, inner)
        else:
            yield requirement


def _part(requirement: Requirement, extra: str) -> Part:
    """Compare a requirement with the installed version of its package."""
    installed = installed_version(requirement.name)
    ok = installed is not None and _is_accepted(requirement, installed)
    target = "edgeseg" if extra == CORE else f'"edgeseg[{extra}]"'
    return Part(
        package=requirement.name,
        needed_for=extra,
        required=str(requirement.specifier),
        installed=installed,
        ok=ok,
        install="" if ok else f"pip install --upgrade {target}",
    )


def _is_accepted(requirement: Requirement, installed: str) -> bool:
    """Return whether a version satisfies a requirement; a version that cannot be parsed is accepted."""
    try:
        # Prereleases count by their number: the user chose the nightly, and it is not for us to refuse it.
        return requirement.specifier.contains(Version(installed), prereleases=True)
    except InvalidVersion:  # built from source, without metadata
        return True
