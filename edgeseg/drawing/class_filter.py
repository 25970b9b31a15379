"""Decide which classes are drawn, and which class is the background."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeseg.choices import View
from edgeseg.datasets.classes import NO_CLASS
from edgeseg.drawing.look import Look
from edgeseg.errors import InputError, did_you_mean
from edgeseg.spec import ModelSpec

#: The views that keep the chosen classes of the image and change the rest.
_KEEPS: frozenset[View] = frozenset({"cutout", "blur", "replace"})


def background_of(spec: ModelSpec) -> tuple[str, ...]:
    """Return the names of the classes that mean "none of the others"; empty where a model has none.

    It is ``background`` in any case and between underscores (labelme's ``_background_``, torchvision's
    ``__background__``), and the names that data sets give to pixels of no class, such as Cityscapes' ``unlabeled`` and
    CamVid's ``Void``: a model that predicts them says that it knows no class there. A class such as ``other`` or
    ``clutter`` is one that somebody labeled, and is drawn.
    """
    return tuple(name for name in spec.class_names if name.strip("_").lower() in ("background", *NO_CLASS))


def class_filter(spec: ModelSpec, look: Look) -> NDArray[np.bool_]:
    """Return ``(256,)`` bool: which ids are shown; an id that is no class is hidden only by ``classes``.

    Raises:
        InputError: a name that the model does not have; classes to show and not to show; or a view that keeps classes
            has none named and the model has no background.
    """
    if look.classes is not None and look.except_classes is not None:
        raise InputError(
            "`classes` (what to show) and `except_classes` (what not to show) do not go together; give one of them."
        )
    named, excepted = ids_of(spec, look.classes or ()), ids_of(spec, look.except_classes or ())
    if look.classes is not None:
        return named
    background = background_of(spec)
    if look.view in _KEEPS and not background and look.except_classes is None:
        what = "cut-out" if look.view == "cutout" else f"view '{look.view}'"
        raise InputError(
            f"a {what} needs `classes` or `except_classes`: this model has no class 'background' to omit. "
            f"Its classes: {', '.join(spec.class_names)}."
        )
    shown = ~excepted
    if look.view in _KEEPS or (look.view == "overlay" and not look.paint_background):
        shown &= ~ids_of(spec, background)
    return shown


def ids_of(spec: ModelSpec, names: Sequence[str]) -> NDArray[np.bool_]:
    """Return ``(256,)`` bool: the ids of some classes.

    Raises:
        InputError: a name that the model does not have.
    """
    ids = np.zeros(256, bool)
    for name in names:
        if name not in spec.class_names:
            hint = did_you_mean(name, spec.class_names)
            raise InputError(f"unknown class '{name}'.{hint} The model has: {', '.join(spec.class_names)}.")
        ids[spec.class_names.index(name)] = True
    return ids
