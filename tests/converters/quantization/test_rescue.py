"""``accuracy`` and ``make``: the gate and the rescue: on made-up numbers, and on a model whose head really fails in 8
bits.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.models import create
from edgeseg.models.zoo.table import ZOO
from edgeseg.runtime.null import NullBackend
from edgeseg.segmenter import Segmenter
from edgeseg.spec import ModelSpec, default_class_names, default_palette
from edgeseg_converters import Recipe, export_all
from edgeseg_converters.images import natural_noise
from edgeseg_converters.options import Quantization
from edgeseg_converters.quantization.accuracy import Accuracy, baseline, collect, compare
from edgeseg_converters.quantization.rescue import Cost, rescue, sensitivity
from edgeseg_converters.recipes import AccuracyGate

PASSED = Accuracy(
    source="data",
    num_images=1,
    mean_iou=(0.7, 0.7),
    per_class_iou={},
    agreement=1.0,
    changed=(0.0,),
    passed=True,
    reason="",
)
FAILED = dataclasses.replace(PASSED, passed=False, reason="fell")


def spec_of(dataset: Path) -> ModelSpec:
    return ModelSpec(
        name="fixed",
        input_size=(64, 80),
        class_names=("wall", "red", "blue"),
        palette=default_palette(3),
        output_kind="argmax",
    )


def constant(spec: ModelSpec, class_map: np.ndarray) -> Segmenter:
    return Segmenter(NullBackend(spec, class_map[None]))


def test_a_class_that_falls_is_named(shapes_dataset: Path) -> None:
    spec = spec_of(shapes_dataset)
    images = collect(shapes_dataset, split="val", count=1, spec=spec)
    ((_, label),) = list(images)
    assert label is not None
    right = np.where(label == 255, 0, label).astype(np.uint8)
    before = baseline(constant(spec, right), images)
    worse = right.copy()
    rows, columns = np.nonzero(worse == 2)
    worse[rows[: len(rows) // 2], columns[: len(rows) // 2]] = 0  # half of blue becomes wall
    found = compare(before, constant(spec, worse), AccuracyGate())
    assert not found.passed
    name, drop = found.worst_class
    assert name == "blue"
    assert drop == pytest.approx(50, abs=1)
    assert "the class 'blue' fell by" in found.reason
    assert "mIoU fell by" in found.reason
    assert found.agreement == pytest.approx(1 - (len(rows) // 2) / label.size)
    assert compare(before, constant(spec, right), AccuracyGate()).passed
    assert compare(before, constant(spec, worse), AccuracyGate(max_drop=99, max_class_drop=99)).passed


def test_labels_that_ignore_every_pixel_measure_nothing(shapes_dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(shapes_dataset, tmp_path, dirs_exist_ok=True)
    for path in (tmp_path / "val" / "labels").iterdir():
        cv2.imwrite(str(path), np.full((64, 80), 255, np.uint8))
    spec = spec_of(tmp_path)
    images = collect(tmp_path, split="val", count=1, spec=spec)
    segmenter = constant(spec, np.zeros((64, 80), np.uint8))
    found = compare(baseline(segmenter, images), segmenter, AccuracyGate())
    assert not found.passed
    assert found.reason == "no pixel of its images has a label, all are ignored, so nothing was measured"
    assert found.to_dict()["mean_iou"] is None


def test_without_labels_the_pixels_that_kept_their_class_count(shapes_dataset: Path) -> None:
    spec = spec_of(shapes_dataset)
    images = collect(shapes_dataset / "val" / "images", spec=spec)
    class_map = np.zeros((64, 80), np.uint8)
    before = baseline(constant(spec, class_map), images)
    other = class_map.copy()
    other[:8] = 1
    found = compare(before, constant(spec, other), AccuracyGate(min_agreement=0.9))
    assert found.mean_iou is None
    assert math.isnan(found.drop)
    assert found.reason == "only 87.50% of the pixels kept their class; at least 90%"
    assert found.to_dict()["drop_points"] is None


def test_labels_of_other_classes_are_refused(shapes_dataset: Path) -> None:
    spec = ModelSpec(name="five", input_size=(64, 80), class_names=default_class_names(5), palette=default_palette(5))
    with pytest.raises(InputError, match="the model has 5 classes"):
        collect(shapes_dataset, spec=spec)


@pytest.mark.parametrize("needed", [1, 2, 3, 5, 8])
def test_the_fewest_ops_are_found(needed: int) -> None:
    costs = [Cost(f"op{number}", 1 / (number + 1)) for number in range(20)]
    found = rescue(
        costs,
        lambda keep: bytes(len(keep)),
        lambda data: PASSED if len(data) >= needed else FAILED,
    )
    assert found.kept == tuple(f"op{number}" for number in range(needed))
    assert found.accuracy.passed
    assert len(found.tried) <= 8  # doubling and halving, not one by one


def test_a_hopeless_model_is_given_up() -> None:
    costs = [Cost(f"op{number}", 1.0) for number in range(10)]
    found = rescue(costs, lambda keep: bytes(len(keep)), lambda data: FAILED)
    assert not found.accuracy.passed
    assert len(found.kept) == 5  # half of them: with more it is no integer model any more


def test_the_costliest_op_comes_first() -> None:
    exact = np.array([[[[1, 0, -1]]]], np.float32)
    errors = {"a": [0.1, 0, -0.1], "b": [0.5, 0, -0.5], "shared": [9, 9, 9]}  # the last one changes no class

    def logits(only: Sequence[str]) -> list[np.ndarray]:
        return [exact + sum(np.array(errors.get(name, [0, 0, 0]), np.float32) for name in only)]

    costs = sensitivity(["a", "b", "shared"], logits)
    assert [cost.op for cost in costs] == ["b", "a", "shared"]
    assert costs[0].error == pytest.approx(0.25)
    assert costs[2].error == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("file_format", ["tflite", pytest.param("onnx", marks=pytest.mark.slow)])
def test_a_head_that_8_bits_cannot_hold_is_rescued(file_format: str, tmp_path: Path) -> None:
    """The same vector added to every class' weights changes no class, but the logits then share a huge range.

    A softmax leaves exactly this freedom to training.
    """
    size = (32, 64)
    keras.utils.set_random_seed(0)
    model = create("unet_mini", num_classes=5, input_size=size)
    head = [layer for layer in model.layers if layer.weights][-1]
    kernel, bias = head.get_weights()
    drift = np.random.default_rng(0).normal(size=(*kernel.shape[:3], 1)).astype(np.float32)
    head.set_weights([kernel + 100 * np.abs(kernel).mean() * drift, bias])
    for seed in range(8):
        cv2.imwrite(str(tmp_path / f"{seed}.png"), natural_noise(seed, size)[..., ::-1])
    spec = ZOO["unet_mini"].default_spec(5, size)
    plain = Quantization(data=tmp_path, ptq="off")  # the step `head` takes the range out before
    recipe = Recipe(file_format, "int8")  # type: ignore[arg-type]
    (failed,) = export_all(model, spec, [recipe], quantization=plain)
    assert "failed its accuracy gate" in failed.failure
    (rescued,) = export_all(model, spec, [recipe], quantization=dataclasses.replace(plain, rescue=True))
    assert rescued.failure == ""
    assert rescued.quantized is not None
    found = rescued.quantized.rescue
    assert found is not None
    assert 0 < len(found.kept) < 0.2 * found.num_ops
    assert rescued.quantized.unrescued is not None
    assert not rescued.quantized.unrescued[1].passed
