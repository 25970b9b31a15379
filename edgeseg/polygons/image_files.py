"""Define what formats with a file for each image have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from edgeseg.polygons.areas import TracedImage


class ImageFiles(ABC):
    """Writes a file an image.

    Attributes:
        folder: where the files go.
        num_areas: written so far.
    """

    def __init__(self, folder: Path, *, overwrite: bool = False) -> None:
        """Prepare; nothing is created before the first image.

        Args:
            folder: created where it is missing.
            overwrite: whether files of that name may be replaced.
        """
        self.folder = folder
        self.num_areas = 0
        self._overwrite = overwrite

    @abstractmethod
    def write(self, image: TracedImage) -> list[Path]:
        """Write the file of an image; return its path.

        Raises:
            InputError: it exists and must not be replaced, or cannot be written.
        """

    def close(self, error: BaseException | None = None) -> None:  # noqa: B027 - nothing is left to end
        """Do nothing: each file is complete."""
