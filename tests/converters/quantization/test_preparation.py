"""``preparation``: equalizing is kept where images that did not calibrate keep more of their classes."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.choices import Format
from edgeseg.imaging import encode_image
from edgeseg.models.zoo.table import ZOO
from edgeseg.spec import Provenance
from edgeseg_converters.calibration import choose
from edgeseg_converters.images import natural_noise
from edgeseg_converters.keras_model.freeze import freeze
from edgeseg_converters.quantization.engines import float_file
from edgeseg_converters.quantization.preparation import prepare

SIZE = (32, 48)
SPEC = (
    ZOO["unet_mini"]
    .default_spec(3, SIZE)
    .replace(dtype="uint8", output_kind="logits", provenance=Provenance(precision="int8"))
)


def conv(filters: int, size: int, *, seed: int, groups: int = 1) -> layers.Layer:
    return layers.Conv2D(
        filters,
        size,
        padding="same",
        groups=groups,
        kernel_initializer=keras.initializers.GlorotUniform(seed),
        bias_initializer=keras.initializers.RandomUniform(-0.2, 0.2, seed),
    )


def uneven_channels() -> keras.Model:
    """Three convolutions, the channels between them 100-fold apart."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    x = conv(8, 3, seed=0)(inputs)
    for seed, groups in ((1, 2), (2, 4)):
        kernel = 10 ** np.random.default_rng(seed).uniform(-1, 1, (1, 1, 8, 1))
        x = layers.ReLU()(layers.DepthwiseConv2D(1, depthwise_initializer=keras.initializers.Constant(kernel))(x))
        x = conv(8, 3, seed=1 if groups == 2 else 3, groups=groups)(x)
    return keras.Model(inputs, conv(3, 1, seed=9)(x))


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_integers_keep_their_classes_where_it_helps(file_format: Format, tmp_path: Path) -> None:
    for seed in range(8):
        (tmp_path / f"{seed}.png").write_bytes(encode_image(natural_noise(100 + seed, SIZE)))
    images = choose(tmp_path)
    source = float_file(freeze(uneven_channels(), SPEC), SPEC, file_format)
    file, trial = prepare(source, SPEC, file_format, images, "minmax")
    assert trial is not None and trial.kept and file.data != source.data
    assert 1 - trial.after < 0.8 * (1 - trial.before), trial  # a fifth of the lost pixels at least
    again, second = prepare(file, SPEC, file_format, images, "minmax")
    # What is equalized already gains nothing.
    assert again.data == file.data or (second is not None and not second.kept)
