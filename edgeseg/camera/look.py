"""Define ``Look``: how a camera's frames are drawn; light, as the command line reads its defaults here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.choices import View
from edgeseg.spec import Color, ModelSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeseg.drawing.painter import Painter


@dataclass(kw_only=True)
class Look:
    """How frames are drawn; the window's keys change ``view``.

    Attributes:
        view: overlay, mask, cutout, blur or replace.
        alpha: weight of the colors in the overlay, in [0, 1].
        classes: the classes that are shown; all when ``None``.
        background: for ``replace``: an RGB color in 0..255, or ``(h, w, 3)`` uint8 BGR.
        legend: draw the names, colors and shares of the classes.
        status: draw fps, inference time, age and drops.
    """

    view: View = "overlay"
    alpha: float = 0.6
    classes: Sequence[str] | None = None
    background: Color | NDArray[np.uint8] = (0, 0, 0)
    legend: bool = False
    status: bool = False

    def painter(self, spec: ModelSpec) -> Painter:
        """Return a painter for BGR frames.

        Raises:
            InputError: the model does not have a class, or the view needs classes and none are given.
        """
        from edgeseg.drawing.painter import Painter

        return Painter(spec, self.view, alpha=self.alpha, classes=self.classes, background=self.background, order="bgr")
