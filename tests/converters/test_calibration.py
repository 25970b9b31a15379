"""Calibration: which images, what they say, and whether there were enough."""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_quantizer.utils import progress_utils

from edgeseg.errors import InputError
from edgeseg.models import create
from edgeseg.models.zoo.table import ZOO
from edgeseg_converters.calibration import MAX_DISAGREEMENT, MIN_IMAGES, Ranges, choose, measure
from edgeseg_converters.keras_model.freeze import freeze
from edgeseg_converters.tflite.convert import to_tflite
from edgeseg_converters.tflite.quantize import quantize

SIZE = (32, 48)


def ranges(low: list[float], high: list[float]) -> Ranges:
    return Ranges({"x": np.array(low, np.float32)}, {"x": np.array(high, np.float32)})


def test_the_choice_is_seeded_and_recorded(shapes_dataset: Path) -> None:
    first, again, other = (choose(shapes_dataset, count=8, seed=seed) for seed in (1, 1, 2))
    assert first.paths == again.paths != other.paths
    assert len(set(first.paths)) == 8
    told = first.to_dict()
    assert (told["source"], told["seed"], told["num_images"]) == (f"{shapes_dataset.name}/train", 1, 8)
    assert told["files"][0].startswith("images/")
    assert len(first.first(3).paths) == 3


def test_too_few_images_are_refused(shapes_dataset: Path) -> None:
    with pytest.raises(InputError, match=rf"has 4 images; calibration needs at least {MIN_IMAGES}"):
        choose(shapes_dataset / "val" / "images")


def test_a_corrupt_image_is_named(shapes_dataset: Path, tmp_path: Path) -> None:
    for index, path in enumerate(sorted((shapes_dataset / "train" / "images").iterdir())):
        (tmp_path / path.name).write_bytes(path.read_bytes()[: 40 if index == 5 else None])
    spec = ZOO["unet_mini"].default_spec(3, SIZE)
    with pytest.raises(InputError, match=r"05\.png"):
        list(choose(tmp_path).tensors(spec))


def test_the_ranges_are_those_of_every_image(shapes_dataset: Path) -> None:
    keras.utils.set_random_seed(0)
    spec = ZOO["unet_mini"].default_spec(3, SIZE).replace(dtype="uint8", output_kind="argmax")
    model = create("unet_mini", num_classes=3, input_size=SIZE)
    data = to_tflite(freeze(model, spec), spec)
    images = choose(shapes_dataset, count=8)
    found = measure(data, images, spec)
    tensors = list(images.tensors(spec))
    np.testing.assert_array_equal(found.high["image"], [tensor.max() for tensor in tensors])
    assert found.limits("image") == (min(t.min() for t in tensors), max(t.max() for t in tensors))
    assert all(len(values) == 8 for values in found.low.values())


def test_the_tool_draws_no_bar_and_stderr_stays(shapes_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may write to it meanwhile."""
    drawn: list[tuple[bool, bool]] = []
    stderr = sys.stderr

    class Bar:
        def __init__(self, *, disable: bool, **_: object) -> None:
            drawn.append((not disable, sys.stderr is not stderr))

        def update(self, _: int) -> None: ...

        def close(self) -> None: ...

    inputs = keras.Input((*SIZE, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 3)(inputs))
    spec = ZOO["unet_mini"].default_spec(3, SIZE).replace(dtype="uint8", output_kind="argmax")
    data = to_tflite(freeze(model, spec), spec)
    monkeypatch.setattr(progress_utils.tqdm, "tqdm", Bar)
    quantize(data, "int8", measure(data, choose(shapes_dataset, count=8), spec))
    assert set(drawn) == {(False, False)}


def test_halves_that_agree_are_enough() -> None:
    found = ranges([0, 0.1, 0, 0], [6, 6, 5.9, 6]).stability()
    assert found.stable
    assert found.disagreement <= 0.02  # a sixtieth of the range at each end


def test_halves_that_differ_are_too_few() -> None:
    found = ranges([0, 0, 0, 0], [1, 4, 1, 1]).stability()
    assert not found.stable
    assert found.disagreement == pytest.approx(0.75)
    assert found.disagreement > MAX_DISAGREEMENT
    assert found.worst == ("x", pytest.approx(0.75))


def test_one_image_says_nothing() -> None:
    assert not ranges([0], [1]).stability().stable
