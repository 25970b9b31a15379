"""Define ``Segmentation``: what a segmenter gives for one image, and what can be made of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg._internal.files import write_bytes
from edgeseg.errors import InputError, did_you_mean
from edgeseg.imaging import encode_image
from edgeseg.polygons.trace import Polygon, polygons_of
from edgeseg.scores.score_map import ScoreMap
from edgeseg.spec import ModelSpec

if TYPE_CHECKING:
    from edgeseg.drawing.look import Look


@dataclass(frozen=True)
class Segmentation:
    """The segmentation of one image.

    Examples:
        >>> segmentation = segmenter(image_rgb)
        >>> segmentation.save("street.png", image_rgb)
        >>> image_rgb[segmentation.mask("person")] = 0

    Attributes:
        class_map: ``(h, w)`` uint8 class ids, at the image's own size.
        spec: the model's spec: names and colors of the ids.
        score_map: the scores at the model's size, from which edges are drawn soft; ``None`` where a file gives class
            ids.
    """

    __repr__ = short_repr

    class_map: NDArray[np.uint8]
    spec: ModelSpec
    score_map: ScoreMap | None = field(default=None, repr=False)

    @cached_property
    def scores(self) -> NDArray[np.float32] | None:
        """The scores ``(h, w, C)`` float32 at the image's own size, of the kind that ``spec.output_kind`` says.

        They are enlarged bilinearly on first use and kept: 11 classes in Full HD take 91 MB. ``None`` where a file
        gives class ids.
        """
        return None if self.score_map is None else self.score_map.enlarged()

    def counts(self) -> dict[str, int]:
        """Return the number of pixels of every class, by name; zero where a class does not occur."""
        pixels = np.bincount(self.class_map.ravel(), minlength=self.spec.num_classes)
        return {name: int(count) for name, count in zip(self.spec.class_names, pixels, strict=False)}

    def mask(self, *names: str) -> NDArray[np.bool_]:
        """Return where some classes are: ``(h, w)`` bool.

        Args:
            names: of the classes.

        Raises:
            InputError: no name is given, or the model has no class of that name.
        """
        known = self.spec.class_names
        if not names:
            raise InputError(f"mask() takes names of classes; the model has {', '.join(known)}.")
        for name in names:
            if name not in known:
                raise InputError(
                    f"the model has no class '{name}'.{did_you_mean(name, known)} Its classes: {', '.join(known)}."
                )
        return np.isin(self.class_map, [known.index(name) for name in names])

    def to_polygons(self, *names: str, min_area: int = 1, tolerance: float = 0.0) -> list[Polygon]:
        """Trace the connected areas of some classes, as one where they touch; the largest is first.

        Args:
            names: of the classes.
            min_area: smaller areas are omitted, in pixels.
            tolerance: how far a side may pass from the sides of pixels that it replaces, in pixels; see
                ``edgeseg.polygons.trace.polygons_of``.

        Raises:
            InputError: see ``mask``.
        """
        return polygons_of(self.mask(*names), min_area=min_area, tolerance=tolerance)

    def draw(self, image_rgb: NDArray[np.uint8], look: Look | None = None) -> NDArray[np.uint8]:
        """Draw the classes into a copy of the image.

        Args:
            image_rgb: ``(h, w, 3)`` uint8 RGB, the image that was segmented.
            look: how to draw; an overlay when omitted.

        Returns:
            ``(h, w, 3)`` uint8 RGB, or ``(h, w, 4)`` RGBA for a cut-out.

        Raises:
            InputError: the image has another size, or the look does not fit the model.
        """
        if image_rgb.shape[:2] != self.class_map.shape:
            raise InputError(f"the image is {image_rgb.shape[:2]}, the segmentation {self.class_map.shape}.")
        from edgeseg.drawing.painter import render  # here: a board that is measured over ssh draws nothing

        return render(image_rgb, self, look)

    def save(
        self,
        path: str | Path,
        image_rgb: NDArray[np.uint8] | None = None,
        *,
        look: Look | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write a PNG: the drawn image, or without an image the class ids, which viewers show in the palette's colors.

        Args:
            path: a file that ends in ``.png``.
            image_rgb: the image that was segmented, ``(h, w, 3)`` uint8 RGB.
            look: how to draw; see ``draw``.
            overwrite: whether an existing file may be replaced.

        Returns:
            The file's path.

        Raises:
            InputError: see ``draw``; or the file exists, cannot be written, or is to be no PNG.
        """
        path = Path(path)
        if path.suffix.lower() != ".png":
            raise InputError(f"'{path}' must end in .png, as a format with losses would change class ids and contours.")
        data = self._repr_png_() if image_rgb is None else encode_image(self.draw(image_rgb, look))
        write_bytes(path, data, overwrite=overwrite)
        return path

    def _repr_png_(self) -> bytes:
        """Return the class ids as a PNG with the palette, which a notebook shows."""
        from PIL import Image

        from edgeseg.drawing.painter import color_table

        image = Image.fromarray(self.class_map)
        image.putpalette(color_table(self.spec).tobytes())
        file = BytesIO()
        image.save(file, "PNG")
        return file.getvalue()
