"""Models without a spec, fed in the artifact as they say themselves; and specs of another dtype than the artifact's."""

from __future__ import annotations

import logging
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.choices import Format
from edgeseg.models.opening import assumed_spec
from edgeseg.segmenter import Segmenter
from edgeseg_converters import Recipe, export, export_all
from edgeseg_converters.images import Samples
from edgeseg_converters.keras_model.prepare import PreparedModel
from edgeseg_converters.verification.comparison import reference

SIZE = (16, 24)
both_formats = pytest.mark.parametrize("file_format", ["tflite", "onnx"])
IMAGE = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
IMAGES = Samples((IMAGE,), "white noise")


def scaling(dtype: str, name: str = "own") -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3), dtype=dtype)
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.Rescaling(1 / 255)(inputs))
    return keras.Model(inputs, layers.Conv2D(3, 1)(x), name=name)


@both_formats
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_model_that_scales_pixels_gets_pixels(
    file_format: Format, dtype: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = scaling(dtype, name="segnet")  # a name of the zoo changes nothing
    with caplog.at_level(logging.WARNING):
        result = export(model, format=file_format)
    assert result.verification is not None and result.verification.passed
    assert sum("pixels in [0, 255] as they are; give `spec`" in said for said in caplog.messages) == 1
    with Segmenter(result.save(tmp_path)) as segmenter:
        assert (segmenter.spec.mean, segmenter.spec.std) == ((0.0,) * 3, (1.0,) * 3)
        expected = model.predict_on_batch(IMAGE[None])[0].argmax(-1)
        # White noise has no two classes as near as float32's rounding: the same class for every pixel.
        np.testing.assert_array_equal(segmenter(IMAGE).class_map, expected)


@both_formats
def test_a_spec_of_bytes_is_proven_on_what_a_float_artifact_is_fed(file_format: Format) -> None:
    model = scaling("float32")
    spec = assumed_spec("own", SIZE, 3).replace(dtype="uint8")
    (result,) = export_all(model, spec, [Recipe(file_format, "fp32")], samples=IMAGES)
    assert result.verification is not None and result.verification.passed, result.failure
    assert result.spec.dtype == "float32"
    floats = reference(PreparedModel.of(model, spec.replace(dtype="float32"), samples=IMAGES), IMAGES)
    np.testing.assert_array_equal(
        reference(PreparedModel.of(model, spec, samples=IMAGES), IMAGES).scores[0], floats.scores[0]
    )
