"""int8 of a trained model that unpools by indices, through the command, in both formats: ``make`` and ``engines``.

Random weights show nothing here: where windows tie, any maximum is as good as another.
"""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.cli import main
from edgeseg.models.keras_files.load import load_keras_file, read_spec, save_model
from edgeseg.models.layers import MaxPoolingWithArgmax2D, MaxUnpooling2D
from edgeseg.training import RunOptions, TrainConfig, train


def small_segnet() -> keras.Model:
    """SegNet of two levels, with batch norms."""
    inputs = keras.Input((64, 64, 3))
    x, indices = inputs, []
    for filters in (12, 24):
        x = layers.Conv2D(filters, 3, padding="same")(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x, index = MaxPoolingWithArgmax2D()(x)
        indices.append(index)
    for filters in (12, 12):
        x = MaxUnpooling2D()([x, indices.pop()])
        x = layers.Conv2D(filters, 3, padding="same")(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Conv2D(3, 1, name="logits")(x))


def with_uneven_channels(model: keras.Model) -> None:
    """Give the channels after each batch norm ranges as different as VGG-16's; the model computes what it did."""
    random = np.random.default_rng(0)
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    convolutions = [layer for layer in model.layers if isinstance(layer, layers.Conv2D)]
    for norm, following in zip(norms, convolutions[1:], strict=True):
        factors = np.exp(random.normal(0, 1, norm.gamma.shape[0])).astype(np.float32)
        norm.gamma.assign(norm.gamma * factors)
        norm.beta.assign(norm.beta * factors)
        following.kernel.assign(following.kernel / factors[:, None])


@pytest.fixture(scope="module")
def trained(shapes_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    keras.utils.set_random_seed(0)
    config = TrainConfig(
        model="small segnet", data=str(shapes_dataset), epochs=15, batch_size=5, repeat=2, learning_rate=1e-2,
        mean=(0.0,) * 3, std=(255.0,) * 3,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("unpooling")
    result = train(config, folder, RunOptions(log=lambda line: None), model=small_segnet())
    assert result.best_mean_iou is not None and result.best_mean_iou > 0.8
    return result.exported


@pytest.mark.slow
@pytest.mark.parametrize("uneven", [False, True], ids=["as trained", "uneven channels"])
def test_it_keeps_its_accuracy(
    uneven: bool, trained: Path, shapes_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained
    if uneven:
        model, spec = load_keras_file(trained), read_spec(trained)
        with_uneven_channels(model)
        path = tmp_path / "uneven.keras"
        assert spec is not None
        save_model(model, path, spec)
    arguments = ["export", str(path), "--format", "tflite,onnx", "--precision", "int8", "--data", str(shapes_dataset)]
    more = ["--output-dir", str(tmp_path / "out"), "--no-report", "--no-verify", "--max-drop", "1", "--json"]
    assert main([*arguments, *more]) == 0
    for artifact in json.loads(capsys.readouterr().out)["artifacts"]:
        accuracy = artifact["quantization"]["accuracy"]
        assert accuracy["mean_iou_float"] > 0.8 and accuracy["drop_points"] < 1
