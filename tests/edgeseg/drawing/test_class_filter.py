"""``class_filter`` and ``look``: which classes each view shows, and which class is the background."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest

from edgeseg.choices import View
from edgeseg.drawing.class_filter import background_of, class_filter, ids_of
from edgeseg.drawing.look import Look
from edgeseg.errors import InputError
from edgeseg.spec import ModelSpec


@pytest.mark.parametrize(
    "name", ["background", "Background", "_background_", "__background__", "unlabeled", "Void", "unlabelled"]
)
def test_the_background_goes_by_its_names_in_the_field(tiny_spec: ModelSpec, name: str) -> None:
    assert background_of(tiny_spec.replace(class_names=("square", name, "disc"))) == (name,)


@pytest.mark.parametrize("name", ["other", "clutter", "back ground", "background wall", "sky"])
def test_a_class_that_somebody_labeled_is_no_background(tiny_spec: ModelSpec, name: str) -> None:
    assert background_of(tiny_spec.replace(class_names=("square", name, "disc"))) == ()


@pytest.mark.parametrize(
    ("look", "shown"),
    [
        ({}, ["square", "disc"]),
        ({"paint_background": True}, ["background", "square", "disc"]),
        ({"classes": ["background"]}, ["background"]),
        ({"classes": ["disc", "background"]}, ["background", "disc"]),
        ({"except_classes": ["disc"]}, ["square"]),
        ({"except_classes": ["disc"], "paint_background": True}, ["background", "square"]),
        ({"view": "mask"}, ["background", "square", "disc"]),
        ({"view": "mask", "except_classes": ["square"]}, ["background", "disc"]),
        ({"view": "blur"}, ["square", "disc"]),
        ({"view": "cutout", "except_classes": ["disc"]}, ["square"]),
        ({"view": "replace", "classes": ["background"]}, ["background"]),
        ({"view": "cutout", "paint_background": True}, ["square", "disc"]),  # which is about the overlay
    ],
)
def test_what_is_shown(tiny_spec: ModelSpec, look: dict[str, Any], shown: list[str]) -> None:
    ids = class_filter(tiny_spec, Look(**look))
    assert [name for name, yes in zip(tiny_spec.class_names, ids, strict=False) if yes] == shown
    assert (ids[3:] == ("classes" not in look)).all()  # ids that are no class


def test_classes_and_except_do_not_go_together(tiny_spec: ModelSpec) -> None:
    with pytest.raises(InputError, match=r"`classes` .* and `except_classes` .* do not go together"):
        class_filter(tiny_spec, Look(classes=["disc"], except_classes=["square"]))


@pytest.mark.parametrize("view", get_args(View))
@pytest.mark.parametrize("option", ["classes", "except_classes"])
def test_an_unknown_class_is_named_in_every_view(tiny_spec: ModelSpec, view: View, option: str) -> None:
    names: Any = {option: ["disc", "dog"]}
    with pytest.raises(InputError, match=r"unknown class 'dog'\. The model has: background, square, disc\."):
        class_filter(tiny_spec, Look(view=view, **names))


def test_a_mistyped_class_gets_a_hint(tiny_spec: ModelSpec) -> None:
    with pytest.raises(InputError, match=r"unknown class 'squere'\. Did you mean 'square'\?"):
        ids_of(tiny_spec, ["squere"])


@pytest.mark.parametrize("view", ["cutout", "blur", "replace"])
def test_a_view_that_keeps_classes_needs_to_know_which(tiny_spec: ModelSpec, view: View) -> None:
    spec = tiny_spec.replace(class_names=("sky", "road", "car"))
    with pytest.raises(InputError, match=r"needs `classes` or `except_classes`.*sky, road, car"):
        class_filter(spec, Look(view=view))
    assert np.flatnonzero(class_filter(spec, Look(view=view, classes=["road"]))).tolist() == [1]
    assert class_filter(spec, Look(view=view, except_classes=["sky"]))[:3].tolist() == [False, True, True]
