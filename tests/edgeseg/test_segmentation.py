from __future__ import annotations

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from edgeseg.drawing.look import Look
from edgeseg.drawing.painter import render
from edgeseg.errors import InputError
from edgeseg.imaging import read_image
from edgeseg.segmentation import Segmentation
from edgeseg.spec import ModelSpec


@pytest.fixture
def segmentation(tiny_spec: ModelSpec) -> Segmentation:
    """A square of 6 and a disc of 9 pixels across, on the background."""
    class_map = np.zeros((20, 30), np.uint8)
    class_map[2:8, 3:9] = 1
    cv2.circle(class_map, (20, 10), 4, 2, cv2.FILLED)
    return Segmentation(class_map, tiny_spec)


def test_masks_are_where_classes_are(segmentation: Segmentation) -> None:
    np.testing.assert_array_equal(segmentation.mask("square"), segmentation.class_map == 1)
    np.testing.assert_array_equal(segmentation.mask("square", "disc"), segmentation.class_map > 0)
    with pytest.raises(InputError, match=r"no class 'disk'\. Did you mean 'disc'"):
        segmentation.mask("disk")
    with pytest.raises(InputError, match="takes names of classes; the model has background, square, disc"):
        segmentation.mask()


def test_polygons_are_of_the_classes_that_are_named(segmentation: Segmentation) -> None:
    (square,) = segmentation.to_polygons("square")
    assert (square.area, len(square.exterior)) == (36, 4)
    assert len(segmentation.to_polygons("square", "disc")) == 2
    assert segmentation.to_polygons("square", min_area=37) == []


def test_a_drawing_is_a_copy_as_render_draws_it(segmentation: Segmentation) -> None:
    image = np.full((20, 30, 3), 100, np.uint8)
    np.testing.assert_array_equal(segmentation.draw(image), render(image, segmentation))
    assert (image == 100).all()
    assert segmentation.draw(image, Look(view="cutout")).shape == (20, 30, 4)
    with pytest.raises(InputError, match=r"the image is \(10, 30\), the segmentation \(20, 30\)"):
        segmentation.draw(image[:10])


def test_saved_are_the_drawing_or_the_ids_with_their_colors(segmentation: Segmentation, tmp_path: Path) -> None:
    image = np.full((20, 30, 3), 100, np.uint8)
    drawn = segmentation.save(tmp_path / "drawn.png", image, look=Look(view="mask"))
    np.testing.assert_array_equal(read_image(drawn), segmentation.draw(image, Look(view="mask")))
    ids = Image.open(segmentation.save(tmp_path / "ids.png"))
    assert ids.mode == "P"
    np.testing.assert_array_equal(np.asarray(ids), segmentation.class_map)
    assert tuple(np.asarray(ids.convert("RGB"))[10, 20]) == segmentation.spec.palette[2]
    with pytest.raises(InputError, match="exists; give"):
        segmentation.save(tmp_path / "ids.png")
    segmentation.save(tmp_path / "ids.png", overwrite=True)
    with pytest.raises(InputError, match=r"must end in \.png"):
        segmentation.save(tmp_path / "ids.jpg")


def test_a_notebook_shows_the_ids_in_their_colors(segmentation: Segmentation) -> None:
    shown = Image.open(BytesIO(segmentation._repr_png_())).convert("RGB")
    assert tuple(np.asarray(shown)[4, 5]) == segmentation.spec.palette[1]
    assert repr(segmentation) == "Segmentation(class_map=<(20, 30) uint8>, spec=<ModelSpec>)"
