from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from litert_quantizer.utils import progress_utils

from edgeseg.models import create
from edgeseg.models.zoo.table import ZOO
from edgeseg_converters.calibration import choose
from edgeseg_converters.keras_model.freeze import freeze
from edgeseg_converters.tflite.calibrate import measure
from edgeseg_converters.tflite.convert import to_tflite
from edgeseg_converters.tflite.quantize import quantize

SIZE = (32, 48)


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
