"""Define the argument ARTIFACT: a model file, the name of a packaged one, or nothing, which is the packaged one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeseg.cli._terminal import note
from edgeseg.errors import InputError

#: What the help of a command says of its argument.
HELP = (
    "ARTIFACT is a .tflite, .onnx, .mnn, .xml (OpenVINO), .keras or .h5 file, or a packaged file by its name (edgeseg "
    "models lists them); the packaged one when omitted."
)


def artifact_or_default(artifact: str | None, *, of_people: bool = False) -> str:
    """Return the artifact; where none is given the packaged file's name, which one line on stderr says.

    Args:
        artifact: as it was typed.
        of_people: whether the command is shown people, most often.
    """
    if artifact is not None:
        return artifact
    from edgeseg.models.packaged_files import DEFAULT_CAMERA_FILE, DEFAULT_FILE, about

    default = DEFAULT_CAMERA_FILE if of_people else DEFAULT_FILE
    note(f"no ARTIFACT given: the packaged {default} ({about(default)})")
    return default


def split_sources(arguments: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """Tell the artifact from the sources: it is the first argument unless that is what can be segmented.

    Returns:
        The artifact, ``None`` where it is omitted; and the sources, at least one.

    Raises:
        InputError: there are no sources.
    """
    from edgeseg.models.packaged_files import is_packaged_name
    from edgeseg.runtime import SUFFIXES

    first, *rest = arguments
    is_packaged = is_packaged_name(first)
    is_model = is_packaged or Path(first).suffix.lower() in SUFFIXES
    if not is_model and (not rest or _is_source(first)):
        return None, tuple(arguments)
    if not rest:
        hint = f" What is here under that name is ./{first}." if is_packaged and Path(first).exists() else ""
        raise InputError(f"'{first}' is an artifact without anything to run on: give an image, video or folder.{hint}")
    return first, tuple(rest)


def _is_source(text: str) -> bool:
    from edgeseg.rasters.opening import RASTER_SUFFIXES
    from edgeseg.sources.files import FILE_SUFFIXES, is_addressed

    path = Path(text)
    return (
        is_addressed(text)
        or text.startswith("@")  # a list of images
        or path.suffix.lower() in FILE_SUFFIXES | RASTER_SUFFIXES
        or path.is_dir()
        or any(c in text for c in "*?[")
    )
