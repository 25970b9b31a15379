"""``integers`` and ``quantization.weights``: runs of a few steps in integers: written, resumed and refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from edgeseg.errors import InputError
from edgeseg.imaging import preprocess, read_image
from edgeseg.models.keras_files.load import load_keras_file, read_ranges, read_spec
from edgeseg.training.config import TrainConfig
from edgeseg.training.fit import train
from edgeseg.training.quantization.network import fake_quantized
from edgeseg.training.quantization.scheme import Scheme
from edgeseg.training.run.options import RunOptions


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file with a batch norm, dropout and a softmax at its end."""
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 48, 3))
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", use_bias=False)(image))
    x = layers.Dropout(0.2)(layers.ReLU(name="relu")(x))
    scores = layers.Conv2D(3, 2, strides=2, activation="softmax", name="scores")(x)
    path = tmp_path_factory.mktemp("trained") / "trained.keras"
    keras.Model(image, scores, name="trained").save(path)
    return path


def config(model: Path, data: Path, **changes: Any) -> TrainConfig:
    settings = {"epochs": 3, "warmup_epochs": 0, "batch_size": 5, "learning_rate": 1e-3, "quantize": "int8", **changes}
    return TrainConfig(model=str(model), data=str(data), **settings)


def quiet(line: str) -> None:
    """Swallow the epoch lines."""


def without_time(row: Any) -> dict[str, float]:
    return {name: value for name, value in row.items() if name != "seconds"}


@pytest.mark.slow
def test_a_killed_run_ends_as_if_it_had_not_been_and_best_is_a_plain_model(
    trained: Path, shapes_dataset: Path, tmp_path: Path, run_until_killed: Callable[[Path, Path, int], None]
) -> None:
    settings = config(trained, shapes_dataset, teacher=str(trained), teacher_weight=0.5)
    assert settings.num_batch_norm_epochs == 1
    whole = train(settings, tmp_path / "whole", RunOptions(log=quiet))

    run_until_killed(tmp_path / "whole" / "train.toml", tmp_path / "cut", 1)
    resumed = train(settings, tmp_path / "cut", RunOptions(resume=True, log=quiet))
    for row, unbroken in zip(resumed.history, whole.history, strict=True):
        assert without_time(row) == without_time(unbroken)
    assert read_ranges(resumed.exported) == read_ranges(whole.exported)
    for ours, theirs in zip(
        load_keras_file(resumed.exported).weights, load_keras_file(whole.exported).weights, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)

    best, ranges = load_keras_file(whole.exported), read_ranges(whole.exported)
    assert ranges is not None and ranges.precision == "int8"
    assert {type(layer).__module__.partition(".")[0] for layer in best.layers} == {"keras"}  # no edgeseg is needed
    assert ranges.limits["relu"][0] == 0 < ranges.limits["relu"][1]
    # What was validated in integers is what those weights and ranges compute.
    spec = read_spec(whole.exported)
    assert spec is not None
    images = preprocess(read_image(min((shapes_dataset / "val" / "images").iterdir())), spec)[0]
    layer = fake_quantized(best, ranges, (spec.mean, spec.std), Scheme("int8"))
    error = np.abs(ops.convert_to_numpy(layer(images)) - ops.convert_to_numpy(best(images))).max()
    low, high = ranges.limits["scores"]
    assert 0 < error < 8 * (high - low) / 255


def test_what_does_not_go_together_is_refused(trained: Path, shapes_dataset: Path, tmp_path: Path) -> None:
    for changes, said in (
        ({"mixed_precision": "bfloat16"}, "`mixed_precision` does not go with `quantize`: integers need float32"),
        ({"ema": 0.9}, "`ema` does not go with `quantize`"),
        ({"freeze_epochs": 1}, "`freeze_epochs` does not go with `quantize`"),
        ({"batch_norm_recalibration": 8}, "`batch_norm_recalibration` does not go with `quantize`"),
        ({"batch_norm_epochs": 4}, "batch_norm_epochs must be 0 to 3, got 4"),
        (
            {"teacher": "nowhere.keras"},
            "teacher must be a model file, or a model with packaged weights, got 'nowhere.keras'",
        ),
        ({"teacher_weight": 2.0}, "teacher_weight does nothing without teacher"),
        ({"quantize": None, "quantize_for": "onnx"}, "quantize_for does nothing without quantize"),
        ({"quantize": "int4"}, "quantize must be one of None, int8, w8a16"),
    ):
        with pytest.raises(InputError, match=said):
            config(trained, shapes_dataset, **changes)
    with pytest.raises(InputError, match="'unet_mini' would start from random weights; give a model file"):
        config(Path("unet_mini"), shapes_dataset)
    other = keras.Sequential([keras.Input((32, 48, 3)), layers.Conv2D(3, 1)])
    other.save(tmp_path / "other.keras")
    with pytest.raises(InputError, match=r"the teacher .* gives maps \(32, 48, 3\), the model \(16, 24, 3\)"):
        train(config(trained, shapes_dataset, teacher=str(tmp_path / "other.keras")), tmp_path, RunOptions(log=quiet))


def test_the_learning_rate_is_small_by_default(trained: Path, shapes_dataset: Path) -> None:
    assert config(trained, shapes_dataset, learning_rate=None).peak_learning_rate == pytest.approx(1e-4)
    assert config(trained, shapes_dataset, learning_rate=None, quantize=None).peak_learning_rate == pytest.approx(2e-3)
