"""Name the files that a run leaves in its folder, and check whether one may begin there, before keras is imported."""

from __future__ import annotations

from pathlib import Path

from edgeseg._internal.files import refuse_existing
from edgeseg.errors import InputError

#: Everything that resuming needs; the exported model of the best epoch; that of the last one, where no epoch is
#: validated; one row for each epoch; the recipe that repeats the run.
LAST, BEST, FINAL, HISTORY, SETTINGS = "last.keras", "best.keras", "final.keras", "history.csv", "train.toml"
#: The exported models of ``RunOptions.save_every``.
CHECKPOINTS = "checkpoints"


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
