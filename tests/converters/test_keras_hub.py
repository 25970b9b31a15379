"""Segmenters of KerasHub from a file to an artifact and into a training: classes of their own, with a converter beside
the model (``edgeseg.models.preprocessing``), open and fixed sizes.

The truth is the class itself: made at the wanted size, with the same weights, behind its own preprocessing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import keras
import numpy as np
import pytest

import edgeseg
from edgeseg._internal.resampling import resized
from edgeseg.cli import main
from edgeseg.datasets import Classes
from edgeseg.models.keras_files.load import save_model
from edgeseg.models.opening import assumed_spec, load_model
from edgeseg.models.preprocessing import conversion_of
from edgeseg.runtime.keras import KerasBackend
from edgeseg.segmenter import Segmenter
from edgeseg.spec import default_palette
from edgeseg.training import SegmentationLoss, TrainConfig
from edgeseg.training.building import build_models

keras_hub = pytest.importorskip("keras_hub", reason="keras-hub is not installed; it needs Python 3.11")

MEAN, STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])


CLASSES = Classes(names=("a", "b", "c"), palette=default_palette(3), ignore_index=255)


def scaling() -> dict[str, Any]:
    return {"scale": (1 / STD).tolist(), "offset": (-MEAN / STD).tolist()}


def deeplab(size: tuple[int | None, int | None]) -> Any:
    models, shape = keras_hub.models, (*size, 3)
    encoder = models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64, 64, 64],  # the class takes no fewer
        stackwise_num_blocks=[1, 1, 1, 1],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=shape,
    )
    backbone = models.DeepLabV3Backbone(
        image_encoder=encoder,
        projection_filters=8,
        low_level_feature_key="P2",
        spatial_pyramid_pooling_key="P5",
        upsampling_size=8,
        dilation_rates=[2, 3, 4],
        image_shape=shape,
    )
    own = None if None in size else size
    converter = keras_hub.layers.DeepLabV3ImageConverter(image_size=own, **scaling())
    return models.DeepLabV3ImageSegmenter(
        backbone, 3, preprocessor=models.DeepLabV3ImageSegmenterPreprocessor(converter)
    )


def segformer(size: tuple[int | None, int | None]) -> Any:
    models = keras_hub.models
    encoder = models.MiTBackbone(
        layerwise_depths=[1, 1],
        num_layers=2,
        hidden_dims=[8, 16],
        layerwise_num_heads=[1, 2],
        layerwise_sr_ratios=[4, 1],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
        image_shape=(*size, 3),
    )
    backbone = models.SegFormerBackbone(image_encoder=encoder, projection_filters=16)
    converter = keras_hub.layers.SegFormerImageConverter(
        image_size=size, crop_to_aspect_ratio=False, interpolation="bicubic", **scaling()
    )
    return models.SegFormerImageSegmenter(
        backbone, 3, preprocessor=models.SegFormerImageSegmenterPreprocessor(converter)
    )


#: How it is made, its own size, and another.
CASES: dict[str, tuple[Callable[..., Any], tuple[int, int], tuple[int, int]]] = {
    "deeplab": (deeplab, (64, 96), (96, 64)),
    "segformer": (segformer, (64, 64), (96, 96)),  # KerasHub's takes square images
}
each_task = pytest.mark.parametrize("name", list(CASES))

one_task = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "deeplab" else pytest.mark.slow) for name in CASES]
)


def with_weights(model: Any) -> Any:
    """Weights that are far from their start, so that one tensor in another's place changes the classes."""
    random = np.random.default_rng(0)
    for variable in model.weights:
        away = random.normal(0, 0.1, variable.shape)
        variable.assign(keras.ops.convert_to_numpy(variable) + (np.abs(away) if "variance" in variable.path else away))
    return model


@dataclass(frozen=True)
class Task:
    """A task with random weights, and its file."""

    model: Any
    path: Path
    make: Callable[..., Any]
    size: tuple[int, int]

    def class_map(self, size: tuple[int, int], image: np.ndarray) -> Any:
        """What KerasHub says: the class made at a size, with the same weights, behind its own preprocessing."""
        other = self.model
        if size != self.size:
            other = self.make(size)
            for variable, own in zip(other.weights, self.model.weights, strict=True):  # the same order
                variable.assign(keras.ops.convert_to_numpy(own))
        return np.argmax(other(other.preprocessor(image[None]), training=False)[0], axis=-1)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Task]:
    folder = tmp_path_factory.mktemp("hub")
    keras.utils.set_random_seed(2)  # with it, both have more than one class in the image
    made = {
        name: Task(with_weights(make(size)), folder / f"{name}.keras", make, size)
        for name, (make, size, _) in CASES.items()
    }
    for task in made.values():
        task.model.save(task.path)
    return made


def street(size: tuple[int, int]) -> np.ndarray:
    noise = np.random.default_rng(1).integers(0, 256, (6, 6, 3), np.uint8)
    return cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC)


@each_task
def test_a_task_is_fed_as_its_own_converter_says(
    name: str, tasks: dict[str, Task], caplog: pytest.LogCaptureFixture
) -> None:
    size = CASES[name][1]
    opened = load_model(str(tasks[name].path))
    assert (opened.spec.mean, opened.spec.std) == (tuple(MEAN), tuple(STD))
    assert (opened.spec.fit, opened.spec.resize) == {
        "deeplab": ("letterbox", "bilinear"),  # in place of a crop, which loses what is outside
        "segformer": ("stretch", "bicubic"),
    }[name]
    assert "ImageConverter; assuming RGB" in caplog.text
    # Not scaled a second time by the task's own predict.
    image = street(size)
    with Segmenter(KerasBackend(opened.model, opened.spec)) as segmenter:
        assert (segmenter(image).class_map == tasks[name].class_map(size, image)).mean() >= 0.999


@pytest.mark.slow
@one_task
def test_a_task_is_exported_at_another_size(name: str, tasks: dict[str, Task], tmp_path: Path) -> None:
    size = CASES[name][2]
    args = ["export", str(tasks[name].path), "--imgsz", ",".join(map(str, size)), "--no-verify"]
    assert main([*args, "--output-dir", str(tmp_path)]) == 0
    image = street(size)
    expected = tasks[name].class_map(size, image)
    assert len(np.unique(expected)) > 1
    with edgeseg.Segmenter(tmp_path / f"{name}.fp32.tflite") as segmenter:
        assert (segmenter(image).class_map == expected).mean() >= 0.999  # the gate of fp32


@pytest.mark.slow
@one_task
def test_a_task_is_trained_from_its_own_weights(name: str, tasks: dict[str, Task], tmp_path: Path) -> None:
    size = CASES[name][1]
    config = TrainConfig(model=str(tasks[name].path), data="data", batch_norm_momentum=1 - 1e-7, learning_rate=1e-12)
    models = build_models(config, CLASSES)
    # One step, without the task's own preprocessing, loss and metrics. It is too small to move a weight or a moving
    # average, so what is saved is the task.
    optimizer = keras.optimizers.SGD(config.learning_rate)
    models.learning.compile(optimizer, SegmentationLoss(), metrics=[], run_eagerly=True)  # which compiles no step
    labels = np.random.default_rng(0).integers(0, 3, (2, *size), np.uint8)
    assert models.learning.train_on_batch(np.random.default_rng(1).normal(size=(2, *size, 3)), labels) > 0
    assert int(optimizer.iterations) == 1
    models.update_twin()
    save_model(models.exported, tmp_path / "best.keras", models.spec)

    opened, image = load_model(str(tmp_path / "best.keras")), street(size)
    assert (opened.spec.mean, opened.spec.std, opened.spec.input_size) == (tuple(MEAN), tuple(STD), size)
    with Segmenter(KerasBackend(opened.model, opened.spec)) as segmenter:
        assert (segmenter(image).class_map == tasks[name].class_map(size, image)).mean() >= 0.999


@pytest.mark.parametrize(
    ("interpolation", "antialias", "resize", "levels"),
    [
        ("bilinear", False, "bilinear", 1),
        # Half a level of rounding, and half a level between the sides, times weights that sum up to 1.2 without signs.
        ("bilinear", True, "bilinear-antialias", 1),
        ("bicubic", True, "bicubic-antialias", 1.1),
        ("nearest", False, "nearest", 0),
        ("lanczos3", True, "bicubic-antialias", 8),  # which is what comes next to it, and is said
    ],
)
def test_a_converters_interpolation_is_found_again(
    interpolation: str, antialias: bool, resize: Any, levels: float, caplog: pytest.LogCaptureFixture
) -> None:
    converter = keras_hub.layers.ImageConverter(
        image_size=(16, 29), crop_to_aspect_ratio=False, interpolation=interpolation, antialias=antialias
    )
    conversion = conversion_of(SimpleNamespace(preprocessor=SimpleNamespace(image_converter=converter)))
    assert conversion is not None and conversion.resize == resize
    image = street((37, 50)) // 2 + 64  # so that nothing overshoots: Keras cuts nothing off
    expected = keras.ops.convert_to_numpy(converter(image[None].astype("float32")))[0]
    assert np.abs(resized(image, (16, 29), conversion.resize) - expected).max() <= levels
    assumed_spec("own", (16, 29), 3, conversion=conversion)
    said = f"stretch, {resize} in place of lanczos3" if interpolation == "lanczos3" else f"stretch, {resize}, "
    assert said in caplog.text


def test_an_open_size_is_the_converters() -> None:
    model = deeplab((None, None))
    conversion = conversion_of(model)
    assert conversion is not None and conversion.input_size is None
    model.preprocessor.image_converter.image_size = (64, 96)
    conversion = conversion_of(model)
    assert conversion is not None and conversion.input_size == (64, 96)
    model.preprocessor = None
    assert conversion_of(model) is None
