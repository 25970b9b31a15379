"""Layer by layer: a range that is too wide is found, a clipped one is told apart, and what stayed in float is exact."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg.errors import InputError
from edgeseg.spec import ModelSpec, default_class_names, default_palette
from edgeseg_converters.calibration import Ranges
from edgeseg_converters.keras_model.freeze import freeze
from edgeseg_converters.tflite.convert import to_tflite
from edgeseg_converters.tflite.graph import TfliteGraph
from edgeseg_converters.tflite.integer_io import put_in
from edgeseg_converters.tflite.layer_errors import _Scale, _Sums, layer_errors
from edgeseg_converters.tflite.quantize import quantize

SIZE = (16, 24)


@pytest.fixture(scope="module")
def images() -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (1, *SIZE, 3)).astype(np.float32) for _ in range(3)]


@pytest.fixture(scope="module")
def float_file() -> bytes:
    """Three convolutions, the middle one depthwise; images go in as they are, 0 to 255."""
    keras.utils.set_random_seed(3)
    image = keras.Input((*SIZE, 3), batch_size=1)
    x = keras.layers.Rescaling(1 / 127.5, -1)(image)
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="first")(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu", name="second")(x)
    model = keras.Model(image, keras.layers.Conv2D(4, 1, name="third")(x))
    spec = ModelSpec(
        name="tiny",
        input_size=SIZE,
        class_names=default_class_names(4),
        palette=default_palette(4),
        mean=(0, 0, 0),
        std=(1, 1, 1),
        output_kind="logits",
    )
    return to_tflite(freeze(model, spec), spec)


@pytest.fixture(scope="module")
def ranges(float_file: bytes, images: list[NDArray[np.float32]]) -> Ranges:
    # The float file beside itself says what every tensor holds.
    found = layer_errors(float_file, float_file, images)
    low = {error.tensor: np.array([error.low], np.float32) for error in found}
    high = {error.tensor: np.array([error.high], np.float32) for error in found}
    return Ranges(low, high)


def test_a_file_beside_itself_is_exact(float_file: bytes, images: list[NDArray[np.float32]]) -> None:
    found = layer_errors(float_file, float_file, images)
    assert {"CONV_2D", "DEPTHWISE_CONV_2D"} <= {error.op for error in found}
    for error in found:
        assert (error.model_db, error.range_db, error.scale, error.clipped) == (np.inf, np.inf, None, 0)


def test_every_tensor_is_as_good_as_eight_bits_are(
    float_file: bytes, ranges: Ranges, images: list[NDArray[np.float32]]
) -> None:
    for error in layer_errors(float_file, _integers(float_file, ranges), images):
        assert error.scale is not None
        assert error.limits is not None
        # The steps span what was seen, and zero; one step more at either end is the rounding of the zero point.
        assert (error.limits[1] - error.limits[0]) == pytest.approx(255 * error.scale)
        assert error.clipped == 0
        # The noise of rounding is scale^2 / 12. Values all over the range would have 50 dB, no tensor here is far from
        # that; the bytes of the image fall on the steps of the first ones and are exact.
        assert error.range_db > 30
        if "CONV" in error.op:
            assert error.range_db < 60
            # The running model has this noise and that of the weights and of all before, and not much more.
            assert error.range_db - 15 < error.model_db < error.range_db + 1


def test_the_layer_with_a_far_too_wide_range_is_the_worst(
    float_file: bytes, ranges: Ranges, images: list[NDArray[np.float32]]
) -> None:
    wide = _layer(float_file, images, "DEPTHWISE_CONV_2D")
    spread = dataclasses.replace(ranges, high={**ranges.high, wide: ranges.high[wide] * 64})
    good = layer_errors(float_file, _integers(float_file, ranges), images)
    worst, *_ = layer_errors(float_file, _integers(float_file, spread), images)
    assert worst.tensor == wide
    # 64 times the range is six bits less, of 6 dB each.
    before = next(error for error in good if error.tensor == wide)
    assert before.range_db - worst.range_db == pytest.approx(36, abs=4)
    assert worst.model_db < before.model_db - 20
    assert worst.clipped == 0


def test_a_range_that_is_too_narrow_clips(float_file: bytes, ranges: Ranges, images: list[NDArray[np.float32]]) -> None:
    narrow = _layer(float_file, images, "DEPTHWISE_CONV_2D")
    cut = dataclasses.replace(ranges, high={**ranges.high, narrow: ranges.high[narrow] / 8})
    worst, *others = layer_errors(float_file, _integers(float_file, cut), images)
    assert worst.tensor == narrow
    assert worst.clipped > 0.01
    assert all(error.clipped == 0 for error in others)


def test_what_was_kept_in_float_has_no_scale(
    float_file: bytes, ranges: Ranges, images: list[NDArray[np.float32]]
) -> None:
    kept = _layer(float_file, images, "DEPTHWISE_CONV_2D")
    found = layer_errors(float_file, _integers(float_file, ranges, keep=[kept]), images)
    error = next(error for error in found if error.tensor == kept)
    assert (error.scale, error.range_db) == (None, np.inf)
    assert error.model_db < 60  # of what came before


def test_few_large_channels_show_in_the_typical_one() -> None:
    values = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 8)).astype(np.float32)
    values[..., 0] *= 100
    summed = _Sums(scale=_Scale(200 / 255, 0, -128, 127))
    summed.add(values, values)
    error = summed.result("x", "CONV_2D")
    # One channel of eight has an energy of 10000 / 3, and each a noise of 0.78^2 / 12: 39 dB. In the others -1 to 1
    # becomes -0.78, 0 or 0.78: 8.8 dB.
    assert error.range_db == pytest.approx(39, abs=1)
    assert error.channel_db == pytest.approx(8.8, abs=0.5)


def test_no_images_and_foreign_files_are_refused(float_file: bytes, images: list[NDArray[np.float32]]) -> None:
    with pytest.raises(InputError, match="no images"):
        layer_errors(float_file, float_file, [])
    other = keras.Sequential([keras.Input((*SIZE, 3), batch_size=1), keras.layers.Conv2D(2, 1, name="other")])
    spec = ModelSpec(
        name="other", input_size=SIZE, class_names=("a", "b"), palette=default_palette(2), output_kind="logits"
    )
    with pytest.raises(InputError, match="no tensor in common"):
        layer_errors(float_file, to_tflite(freeze(other, spec), spec), images)


def _layer(data: bytes, images: list[NDArray[np.float32]], op: str) -> str:
    return next(error.tensor for error in layer_errors(data, data, images) if error.op == op)


def _integers(data: bytes, ranges: Ranges, keep: Sequence[str] = ()) -> bytes:
    graph = TfliteGraph.read(quantize(data, "int8", ranges, keep=keep))
    put_in(graph)
    return graph.write()
