"""List what a tuning chooses from: the files of a model, where each may run, and with how many threads.

Nothing is typed twice: formats, precisions and targets are those of ``recipes``, backends and accelerators those that
``RuntimeOptions`` lets open such a file. A new format or backend joins by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

from edgeseg._internal.json import Meta, Text
from edgeseg._internal.text import counted
from edgeseg.choices import FORMAT_SUFFIXES, Accelerator, BackendName, Format, Precision, Target
from edgeseg.errors import InputError, did_you_mean
from edgeseg.runtime.onnx_providers import PROVIDERS
from edgeseg.runtime.options import RuntimeOptions
from edgeseg_converters.recipes import TARGETS, Recipe

#: The target that runs anywhere, and whose file is made first.
ANYWHERE: Target = "generic"

#: The accelerator that a target is made for. The other targets are of delegates and compilers that no backend opens.
MADE_FOR: Mapping[Target, str] = {"xnnpack": "cpu", "gpu": "gpu"}

#: What ``accelerators`` may name.
ACCELERATORS = (*get_args(Accelerator), *(name for name in PROVIDERS if name != "cpu"))


@dataclass(frozen=True)
class Variant:
    """One file that a model can be exported to.

    Attributes:
        format: of the file.
        precision: of the file.
        target: whose ops and limits it takes into account.
    """

    format: Format
    precision: Precision
    target: Target

    @property
    def recipe(self) -> Recipe:
        """How it is made."""
        return Recipe(self.format, self.precision)

    def path(self, model: str) -> str:
        """Return where the file is, below the folder of a tuning."""
        return f"candidates/{self.target}/{self.recipe.file_name(model)}"

    def fits(self, place: Place) -> bool:
        """Return whether it is made for what runs there."""
        return self.target == ANYWHERE or MADE_FOR.get(self.target) == place.accelerator

    def __str__(self) -> str:
        return f"{self.precision}.{self.format}" + ("" if self.target == ANYWHERE else f" for {self.target}")


@dataclass(frozen=True)
class Place:
    """What runs a file on a device.

    Attributes:
        backend: the runtime.
        accelerator: ``cpu``, ``gpu``, ``npu``, or the short name of a provider of ONNX Runtime.
    """

    backend: BackendName
    accelerator: Text

    @property
    def options(self) -> dict[str, Any]:
        """Keywords of ``edgeseg.runtime.open_backend``."""
        if self.accelerator in get_args(Accelerator):
            return {"backend": self.backend, "accelerator": self.accelerator}
        return {"backend": self.backend, "providers": (self.accelerator,)}

    def __str__(self) -> str:
        return f"{self.backend} {self.accelerator}"


@dataclass(frozen=True)
class Candidate:
    """What is measured: a file, what runs it, and with how many threads.

    Attributes:
        variant: the file.
        place: what runs it.
        num_threads: on the CPU; ``None`` where an accelerator does the work.
    """

    variant: Variant
    place: Place
    num_threads: Annotated[int, Meta(ge=1, le=1 << 20)] | None

    @property
    def options(self) -> dict[str, Any]:
        """Keywords of ``edgeseg.runtime.open_backend``."""
        return {**self.place.options, "num_threads": self.num_threads}

    def __str__(self) -> str:
        threads = "" if self.num_threads is None else f", {counted(self.num_threads, 'thread')}"
        return f"{self.variant} on {self.place}{threads}"


def variants(
    formats: Sequence[Format] | None = None, precisions: Sequence[Precision] | None = None
) -> tuple[Variant, ...]:
    """Return every file of the target that runs anywhere.

    Args:
        formats: the formats to try; all when ``None``.
        precisions: the precisions to try, of the formats that have them; all when ``None``.

    Raises:
        InputError: a name is unknown, or no format has one of the precisions.
    """
    found = []
    for precision in precisions or get_args(Precision):
        for file_format in formats or get_args(Format):
            try:
                Recipe(file_format, precision)
            except InputError:
                if formats and precisions and len(formats) == len(precisions) == 1:
                    raise
                continue
            found.append(Variant(file_format, precision, ANYWHERE))
    if not found:
        raise InputError(f"none of the formats {', '.join(formats or ())} has {' or '.join(precisions or ())}.")
    return tuple(found)


def targeted(made: Sequence[Variant], accelerators: Mapping[Format, set[str]]) -> tuple[Variant, ...]:
    """Return the files of the other targets that make sense on a device.

    Args:
        made: the files that run anywhere.
        accelerators: what works there, for each format.
    """
    return tuple(
        Variant(variant.format, variant.precision, target)
        for variant in made
        for target in TARGETS[variant.format]
        if MADE_FOR.get(target) in accelerators.get(variant.format, set())
    )


def places(file_format: Format, accelerators: Sequence[str] | None = None) -> tuple[Place, ...]:
    """Return everything that may run a file, whether a device has it or not.

    Args:
        file_format: of the file.
        accelerators: names of ``ACCELERATORS``; all when ``None``.

    Raises:
        InputError: a name is unknown.
    """
    for name in accelerators or ():
        if name not in ACCELERATORS:
            hint = did_you_mean(name, ACCELERATORS)
            raise InputError(f"unknown accelerator '{name}'.{hint} Accepted: {', '.join(ACCELERATORS)}.")
    return tuple(
        place
        for backend in get_args(BackendName)
        for accelerator in ACCELERATORS
        if (accelerators is None or accelerator in accelerators)
        and _opens(place := Place(backend, accelerator), file_format)
    )


def runnable(files: Sequence[Variant], accelerators: Sequence[str] | None) -> tuple[Variant, ...]:
    """Return the files of formats that some accelerator may run.

    Args:
        files: at least one.
        accelerators: see ``places``.

    Raises:
        InputError: a name is unknown, or none of them may run any of the files.
    """
    found = tuple(variant for variant in files if places(variant.format, accelerators))
    if not found:
        formats = dict.fromkeys(variant.format for variant in files)
        runs = {name: dict.fromkeys(place.accelerator for place in places(name)) for name in formats}
        known = "; ".join(f"{name} runs on {', '.join(where)}" for name, where in runs.items())
        raise InputError(f"none of the formats runs on {' or '.join(accelerators or ())}: {known}.")
    return found


def _opens(place: Place, file_format: Format) -> bool:
    try:
        RuntimeOptions(**place.options).choose(Path(f"model{FORMAT_SUFFIXES[file_format]}"))
    except InputError:
        return False
    return True


def threads(cores: int) -> tuple[int, ...]:
    """Return the numbers of threads to try: 1, 2, 4 and so on, and all cores."""
    powers = [1 << power for power in range(max(cores, 1).bit_length())]
    return tuple(sorted({*powers, max(cores, 1)}))


def candidates(variant: Variant, place: Place, num_threads: Sequence[int]) -> tuple[Candidate, ...]:
    """Return a file at a place with every number of threads; with the default where an accelerator does the work."""
    chosen: Sequence[int | None] = num_threads if place.accelerator == "cpu" else (None,)
    return tuple(Candidate(variant, place, count) for count in chosen)
