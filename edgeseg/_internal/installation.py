"""Compare what is installed with what edgeseg asks for in its own metadata."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from edgeseg._internal.versions import installed_version

#: What stands for no extra: the packages that edgeseg always needs.
CORE = "edgeseg"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One package that edgeseg uses.

    Attributes:
        package: its name.
        needed_for: the extra that brings it, ``edgeseg`` for what is always needed.
        required: the versions that are accepted, ``>=2.1``; empty for any.
        installed: the version that is there, ``None`` when it is missing.
        ok: whether it is there in a version that is accepted.
        install: the command that installs it, empty when ``ok``.
    """

    package: str
    needed_for: str
    required: str
    installed: str | None
    ok: bool
    install: str


def parts() -> list[Part]:
    """Return every package that edgeseg asks for in this environment, with what is installed of it.

    A package is shown once, for the first extra that brings it, and again where another extra asks for other versions
    of it. First comes what is always needed, then the extras that a device has, then the others. The smaller extra is
    first: it is the less to install for the package. So ``all`` shows nothing of its own.
    """
    requirements = [Requirement(text) for text in metadata.requires("edgeseg") or []]
    found: dict[tuple[str, str], Part] = {}
    for extra in _extras(requirements):
        for requirement in _asked_for(requirements, extra):
            key = canonicalize_name(requirement.name), str(requirement.specifier)
            if key not in found:
                found[key] = _part(requirement, extra)
    return list(found.values())


def _extras(requirements: list[Requirement]) -> list[str]:
    """Return all extras in the order in which their packages are shown, what is always needed first."""
    extras = metadata.metadata("edgeseg").get_all("Provides-Extra") or []
    brings = {extra: {item.name for item in _asked_for(requirements, extra)} for extra in extras}
    on_device = brings.get("device", set())

    def rank(extra: str) -> tuple[bool, int, bool, str]:
        # Extras of the same packages: ``all`` is a name for the largest.
        return not brings[extra] <= on_device, len(brings[extra]), extra == "all", extra

    return [CORE, *sorted(extras, key=rank)]


def _asked_for(requirements: list[Requirement], extra: str) -> Iterator[Requirement]:
    """Yield what one extra brings in this environment, what is always needed included."""
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
    """Compare a requirement with what is installed of its package."""
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
    """Return whether a version satisfies a requirement; one that nobody knows is taken as it is."""
    try:
        # What is installed is judged by its number: a nightly was chosen by the user, not by this question.
        return requirement.specifier.contains(Version(installed), prereleases=True)
    except InvalidVersion:  # built from source, without metadata
        return True
