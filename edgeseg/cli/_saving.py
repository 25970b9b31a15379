"""Choose where a command writes what was not told where: ``runs/predict``, ``runs/predict2`` and so on.

A command makes such a place where its files are what it was called for, or cannot be had again: ``predict`` draws,
``train`` learns, ``benchmark`` measures for minutes. A command that prints its result makes none: what ``evaluate``
could write besides follows from the same model and data at any time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

#: The folder of all these places.
RUNS = Path("runs")


def free_place(what: str, suffix: str = "") -> Path:
    """Return the first of ``runs/what``, ``runs/what2`` ... that does not exist; nothing is created.

    Args:
        what: name of the command.
        suffix: of a file.
    """
    return next(place for place in _places(what, suffix) if not place.exists())


def latest_place(what: str, having: str) -> Path | None:
    """Return the last of these folders that has a file; ``None`` where there is none.

    Args:
        what: name of the command.
        having: name of the file.
    """
    existing = list(itertools.takewhile(Path.exists, _places(what, "")))
    return next((place for place in reversed(existing) if (place / having).is_file()), None)


def _places(what: str, suffix: str) -> Iterator[Path]:
    return (RUNS / f"{what}{number if number > 1 else ''}{suffix}" for number in itertools.count(1))
