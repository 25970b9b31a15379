"""Name the files that a run leaves in its folder, and check whether one may begin there, before keras is imported."""

from __future__ import annotations

import re
from pathlib import Path

from edgeseg._internal.files import refuse_existing
from edgeseg.errors import InputError

#: Everything that resuming needs; the exported model of the best epoch; that of the last one, where no epoch is
#: validated; one row for each epoch; the recipe that repeats the run.
LAST, BEST, FINAL, HISTORY, SETTINGS = "last.keras", "best.keras", "final.keras", "history.csv", "train.toml"
#: The exported models of ``RunOptions.save_every``.
CHECKPOINTS = "checkpoints"


def run_name(folder: Path, data: str, model: str) -> str:
    """Return what a trained model is called: as the run's folder, or where that says nothing of it as the data.

    The architecture's name would say what its published weights see.

    Args:
        folder: of the run.
        data: name of the data set.
        model: what the run began with, a zoo name or a file.
    """
    name = folder.absolute().name
    data = re.sub(r"(-labels)?(-split)?$", "", data) or data  # what edgeseg data adds to the name of a folder
    return data if re.fullmatch(r"(train|runs?|out|output|)\d*", name) or name == Path(model).stem else name


def require_place(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse a folder in which a run may not begin or continue.

    Raises:
        InputError: files of an earlier run are there and may not be replaced; or there is nothing to resume.
    """
    if not resume:
        for name in (LAST, BEST, FINAL, HISTORY, SETTINGS):
            refuse_existing(folder / name, overwrite=overwrite)
        for path in sorted(folder.glob(f"{CHECKPOINTS}/ep*.keras"))[:1]:
            refuse_existing(path, overwrite=overwrite)
    elif not (folder / LAST).is_file():
        raise InputError(f"there is nothing to resume: '{folder / LAST}' does not exist; omit `resume` to start.")
