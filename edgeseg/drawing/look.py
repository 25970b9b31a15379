"""Define ``Look``: how class maps are drawn; light, as the command line reads its defaults here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.choices import View
from edgeseg.spec import Color

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(kw_only=True)
class Look:
    """How images and frames are drawn; the camera window's keys change ``view``.

    Attributes:
        view: ``overlay`` blends the class colors and thin contours into the image; ``mask`` shows the colors of the
            label files alone; the others keep the chosen classes and make the rest black (``cutout``) or blurred
            (``blur``), or replace it by the background (``replace``).
        alpha: weight of the colors in the overlay, in [0, 1].
        classes: names of the classes that are shown; all when ``None``, except that ``overlay`` does not paint the
            background and ``cutout``, ``blur`` and ``replace`` do not keep it.
        except_classes: names of the classes that are not shown; not together with ``classes``.
        paint_background: paint the background in the overlay as well.
        anonymize: names of the classes whose pixels are made unrecognizable before anything is drawn.
        background: for ``replace``: an RGB color in 0..255, or an image ``(h, w, 3)`` uint8 in the order of the frames,
            which is cropped to their shape.
        matte: draw the edges of ``blur``, ``replace`` and ``cutout`` soft, by the model's scores and the image's own
            edges; ``None`` does so in ``blur`` and ``replace`` where the model gives scores.
        legend: draw the names, colors and shares of the classes.
        status: draw fps, inference time, age and drops.
    """

    view: View = "overlay"
    alpha: float = 0.6
    classes: Sequence[str] | None = None
    except_classes: Sequence[str] | None = None
    paint_background: bool = False
    anonymize: Sequence[str] | None = None
    background: Color | NDArray[np.uint8] = (0, 0, 0)
    matte: bool | None = None
    legend: bool = False
    status: bool = False
