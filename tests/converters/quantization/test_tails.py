"""``tails`` and ``engines``: what the methods keep of the ranges, in both formats on the real runtimes."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray

from edgeseg.choices import CalibrationMethod, Format
from edgeseg.imaging import encode_image, read_image
from edgeseg.models.zoo.table import ZOO
from edgeseg.runtime import open_artifact
from edgeseg_converters import calibration
from edgeseg_converters.calibration import CalibrationSet, Ranges, choose
from edgeseg_converters.images import natural_noise
from edgeseg_converters.keras_model.freeze import freeze
from edgeseg_converters.quantization import tails
from edgeseg_converters.quantization.engines import float_file, open_engine
from edgeseg_converters.quantization.tails import PERCENTILE, cut

SIZE = (128, 192)  # one pixel of an image is less than what percentile cuts at an end


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> CalibrationSet:
    folder = tmp_path_factory.mktemp("images")
    for seed in range(8):
        (folder / f"{seed}.png").write_bytes(encode_image(natural_noise(100 + seed, SIZE)))
    return choose(folder)


def heavy_tailed() -> keras.Model:
    """The class of a pixel is its strongest color, by a map with one pixel sixty times as large."""
    inputs = keras.Input((*SIZE, 3))
    corner = np.zeros((1, *SIZE, 1), np.float32)
    corner[0, 0, 0] = 60.0
    copied = {"kernel_initializer": keras.initializers.Constant(np.eye(3)[None, None])}
    x = layers.Conv2D(3, 1, name="colors", **copied)(inputs)
    x = layers.Add(name="tail")([x, x * corner])
    return keras.Model(inputs, layers.Conv2D(3, 1, name="logits", **copied)(x))


def test_percentile_keeps_its_share_of_the_values() -> None:
    values = np.random.default_rng(0).normal(size=(2, 100_000)).astype(np.float32)
    values[:, :5] = 1000.0  # 5 in 100,000 are cut, one in 10,000 may be
    whole = Ranges({"x": values.min(axis=1)}, {"x": values.max(axis=1)})
    assert cut(whole, iter(()), "minmax") is whole
    low, high = cut(whole, ({"x": each} for each in values), "percentile").limits("x")
    # A bin of the histogram is 2000 / 2048 wide: the edge beyond the 99.995th percentile, 3.9, at most.
    assert PERCENTILE == 99.99 and 3 < high < 5 and -5 < low < -3


def test_mse_cuts_where_rounding_and_cutting_err_least() -> None:
    values = np.random.default_rng(0).laplace(size=(2, 50_000)).astype(np.float32)
    values[0, 0] = 200.0
    whole = Ranges({"x": values.min(axis=1)}, {"x": values.max(axis=1)})
    low, high = cut(whole, ({"x": each} for each in values), "mse").limits("x")

    def error(low: float, high: float) -> float:
        step = (high - low) / 255
        return float(np.square(np.clip(np.rint((values - low) / step), 0, 255) * step + low - values).mean())

    assert 1.05 * error(low, high) < min(error(*whole.limits("x")), error(-1, 1), error(-40, 40))
    assert 4 < high < 200
    # Nothing is cut off what has no tail, and zero is kept.
    flat = {"x": np.linspace(1, 2, 1000, dtype=np.float32)}
    assert cut(Ranges({"x": flat["x"][:1]}, {"x": flat["x"][-1:]}), [flat], "mse").limits("x") == (1, 2)


def test_the_values_of_a_large_map_are_counted_in_part() -> None:
    """Every row, column and channel has its share, so the limits are those of all values within a bin or two."""
    rng = np.random.default_rng(0)
    # Channels and rows of other scales; the stride would be 16, a whole number of pixels.
    scales = np.linspace(0.2, 1, 16) * np.linspace(0.5, 1, 256)[:, None, None]
    values = (rng.normal(size=(4, 256, 512, 16)) * scales).astype(np.float32)
    assert values[0].size == 16 * tails._MAX_VALUES
    flat = values.reshape(4, -1)
    whole = Ranges({"x": flat.min(axis=1)}, {"x": flat.max(axis=1)})
    counted = [tails._spread(image) for image in values]
    assert all(tails._MAX_VALUES * 0.9 < part.size <= tails._MAX_VALUES for part in counted)
    low, high = cut(whole, ({"x": each} for each in values), "percentile").limits("x")
    expected = np.percentile(values, [0.005, 99.995])
    # Of 4 * 131072 values 26 are beyond a limit, known to 20 %: in the tail of a normal distribution, 4 sigma out, the
    # limit moves by ln(1.2) / 4 sigma, 1.2 % of it; thrice that, as the worst of two. A bin is 0.3 %.
    np.testing.assert_allclose([low, high], expected, rtol=0.04)


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
@pytest.mark.parametrize("method", ["minmax", pytest.param("entropy", marks=pytest.mark.slow), "percentile", "mse"])
def test_a_file_of_either_format_is_made_by_each_method(
    file_format: Format, method: CalibrationMethod, images: CalibrationSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images are run once for the extremes, once for the histograms; tails cost the classes of all other pixels."""
    read: list[Path] = []

    def noted(path: Path) -> NDArray[np.uint8]:
        read.append(path)
        return read_image(path)

    monkeypatch.setattr(calibration, "read_image", noted)
    model = heavy_tailed()
    spec = ZOO["unet_mini"].default_spec(3, SIZE).replace(dtype="uint8", output_kind="argmax")
    spec = spec.replace(provenance=spec.provenance.__class__(precision="int8"))
    engine = open_engine(float_file(freeze(model, spec), spec, file_format), spec, file_format, images, method)
    assert engine.method == method and engine.ranges is not None
    assert len(read) == (1 if method == "minmax" else 2) * len(images.paths)
    backend, original = open_artifact(engine.build(), file_format), open_artifact(engine.float_data, file_format)
    same = []
    for tensor in images.tensors(spec):
        (one,) = backend.inputs
        classes = np.asarray(backend.run(tensor.astype(one.dtype)))
        same.append(np.mean(classes == np.asarray(original.run(tensor.astype(original.inputs[0].dtype)))))
    # 255 steps of a range sixty times too wide leave four values of a color; entropy's narrowest range is 128 of the
    # histogram's 2048 bins, which leaves 34. The few values far out have more squared error when they are cut than
    # rounding has: mse keeps them.
    assert np.mean(same) < 0.8 if method in ("minmax", "mse") else np.mean(same) > 0.9
