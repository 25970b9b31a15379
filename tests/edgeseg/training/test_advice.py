from __future__ import annotations

import dataclasses
import math
import shlex
from pathlib import Path

import numpy as np
import pytest

from edgeseg.cli import cli
from edgeseg.cli.train import command as train_command
from edgeseg.datasets.check import check
from edgeseg.datasets.findings import CheckResult, Finding
from edgeseg.datasets.statistics import ImageSizes
from edgeseg.errors import InputError
from edgeseg.models.zoo.entry import ZooModel
from edgeseg.models.zoo.table import ZOO
from edgeseg.training.advice import Advice, advise


@pytest.fixture(scope="module")
def shapes(shapes_dataset: Path) -> CheckResult:
    return check(str(shapes_dataset))


def of_sizes(shapes: CheckResult, *sizes: tuple[int, int], **num_pairs: int) -> CheckResult:
    """The check of a set of other sizes and numbers, which would take long to write."""
    return dataclasses.replace(
        shapes,
        sizes=ImageSizes.of(sizes),
        num_pairs=num_pairs or shapes.num_pairs,
        pixels=dict.fromkeys(num_pairs or shapes.num_pairs, np.array([90, 2, 8])),
    )


def by_area(model: ZooModel, size: tuple[int, int]) -> float:
    """A machine that takes a millisecond for 10,000 pixels."""
    return math.prod(size) / 10_000


def test_the_command_is_one_that_train_takes(shapes: CheckResult) -> None:
    advice = advise(shapes)
    line = advice.command("--data 'my shapes' --ignore-index 255")
    words = shlex.split(line)
    assert words[:5] == ["edgeseg", "train", advice.model, "--data", "my shapes"]
    parsed = train_command.make_context("train", words[2:], **cli.context_settings).params
    assert parsed["model"] in ZOO
    assert parsed["input_size"] == advice.input_size == (64, 96)
    assert parsed["crop_size"] is None
    assert (parsed["encoder_weights"], parsed["loss"]) == ("imagenet", "cross-entropy+dice")
    assert parsed["repeat"] == 20  # 10 images, 24 steps of 8
    assert set(advice.reasons) == {"model", *advice.options}
    # 20 epochs of 200 crops of 64x96, and of a third as much for each of 4 validation images, and the rest of an epoch.
    assert advice.minutes == pytest.approx(20 * ((200 + 4 / 3) * 64 * 96 * 68 / (367 * 256 * 320) + 4.4) / 60)


def test_the_model_has_the_least_work_a_pixel(shapes: CheckResult) -> None:
    chosen = ZOO[advise(shapes).model]
    assert chosen.encoders
    assert all(
        chosen.gflops / math.prod(chosen.default_size) <= each.gflops / math.prod(each.default_size)
        for each in ZOO.values()
        if each.name != "person"  # made for one subject
    )


def test_the_options_follow_from_sizes_and_numbers(shapes: CheckResult) -> None:
    def options(*sizes: tuple[int, int], **num_pairs: int) -> dict[str, str]:
        return advise(of_sizes(shapes, *sizes, **num_pairs)).options

    many = options((360, 480), train=367, val=101)
    assert (many["--imgsz"], many["--crop-size"]) == ("352,480", "256")
    assert not {"--repeat", "--scale", "--val-fraction", "--class-weights"} & set(many)  # a class has 2 %
    assert options((300, 300), train=5000, val=10)["--epochs"] == "5"
    assert options((300, 300), train=24)["--val-fraction"] == "0.1"
    # A photo is cut to 1024, and the crops show it at the same scale: 1024 of 4000 pixels, by 0.6 to 1.6.
    photo = options((3000, 4000), train=100, val=10)
    assert (photo["--imgsz"], photo["--scale"]) == ("768,1024", "0.15 0.41")
    # Lying and standing ones fit into a square alike.
    assert options((300, 400), (400, 300), train=100, val=10)["--imgsz"] == "352"
    assert options((28, 28), train=100, val=10)["--imgsz"] == "64"


def test_data_without_splits_is_split_first(shapes: CheckResult) -> None:
    assert advise(of_sizes(shapes, (64, 64), all=20)).needs_split
    assert not advise(shapes).needs_split


def test_the_size_shrinks_until_it_is_as_fast(shapes: CheckResult) -> None:
    data = of_sizes(shapes, (512, 512), train=50, val=5)

    def within(limit: float) -> Advice:
        return advise(data, latency_ms=limit, measure=by_area)

    assert within(30).input_size == (512, 512)
    fast = within(5)
    assert by_area(ZOO[fast.model], fast.input_size) <= 5
    assert list(fast.measured) == [(512, 512), (224, 224), (192, 192)]  # 5.02 ms is too much
    assert fast.input_size == (192, 192)
    assert "512x512 26.2 ms" in fast.reasons["--imgsz"]
    assert "less than 2.7 pixels wide" in fast.reasons["--imgsz"]
    assert "--scale" in fast.options
    with pytest.raises(InputError, match=r"longer than 0.1 ms .*64x64 0.4 ms.*give a --latency above 0.4"):
        within(0.1)


def test_data_with_errors_is_refused(shapes: CheckResult) -> None:
    bad = dataclasses.replace(shapes, findings=(Finding("size_mismatch", "x", "x is bad."),))
    with pytest.raises(InputError, match="the data has 1 error, so nothing is advised"):
        advise(bad)
