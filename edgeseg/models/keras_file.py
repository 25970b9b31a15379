"""``.keras`` files with the ModelSpec inside: one more entry in the zip archive that Keras itself skips."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeseg.errors import InputError, missing_extra
from edgeseg.files import atomic_path
from edgeseg.spec import METADATA_KEY, ModelSpec

if TYPE_CHECKING:
    import keras

_SPEC_ENTRY = f"{METADATA_KEY}.json"
_STATE_ENTRY = "edgeseg.training.json"

# Keras looks at little before it uses it, and h5py has RuntimeError for most damage: all of these come from files.
_REFUSALS = (
    OSError,
    zipfile.BadZipFile,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
)


def save_model(
    model: keras.Model,
    path: str | Path,
    spec: ModelSpec,
    *,
    training_state: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Write a ``.keras`` file that knows how it wants to be fed.

    Args:
        model: the model, with its optimizer where it is compiled.
        path: where to, ending in ``.keras``.
        spec: how to feed it.
        training_state: plain JSON values that ``read_training_state`` gives back; for resuming.
        overwrite: whether an existing file may be replaced.

    Raises:
        InputError: the file exists, or cannot be written.
    """
    with atomic_path(path, overwrite=overwrite) as temporary:
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(_SPEC_ENTRY, spec.to_json())
            if training_state is not None:
                archive.writestr(_STATE_ENTRY, json.dumps(training_state))


def load_model(path: str | Path, *, compile: bool = False) -> keras.Model:  # noqa: A002 - Keras' own word
    """Load a ``.keras`` file; code inside it (Lambda bytecode) is never run.

    Raises:
        InputError: the file is missing, truncated, or refused by Keras; the text says what Keras said.
        BackendUnavailable: keras is not installed.
    """
    if not Path(path).is_file():
        raise InputError(f"model file '{path}' does not exist.")
    if not zipfile.is_zipfile(path):
        raise InputError(f"'{path}' is not a .keras archive; it may be truncated.")
    try:
        import keras

        import edgeseg.models.layers  # noqa: F401 - registers the zoo's own layers with Keras
    except ModuleNotFoundError as error:
        raise missing_extra("a Keras model", "train") from error
    try:
        model: keras.Model = keras.models.load_model(path, compile=compile, safe_mode=True)
    except _REFUSALS as error:
        reason = str(error).strip().splitlines() or [repr(error)]
        raise InputError(f"Keras cannot load '{path}': {reason[0]}") from error
    return model


def read_spec(path: str | Path) -> ModelSpec | None:
    """The ModelSpec inside a ``.keras`` file, without keras; ``None`` when another tool wrote the file.

    Raises:
        InputError: the file is missing or no archive, or the spec in it cannot be read.
    """
    data = _read_entry(path, _SPEC_ENTRY)
    return None if data is None else ModelSpec.from_json(data)


def read_training_state(path: str | Path) -> dict[str, Any] | None:
    """What ``save_model`` was given as ``training_state``; ``None`` when there is none."""
    data = _read_entry(path, _STATE_ENTRY)
    return None if data is None else dict(json.loads(data))


def _read_entry(path: str | Path, entry: str) -> bytes | None:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(entry) if entry in archive.namelist() else None
    except FileNotFoundError as error:
        raise InputError(f"model file '{path}' does not exist.") from error
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"'{path}' is not a .keras archive; it may be truncated.") from error
