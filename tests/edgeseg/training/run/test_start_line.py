from __future__ import annotations

import subprocess
import sys

import pytest

from edgeseg.datasets.statistics import ImageSizes
from edgeseg.models import create, find
from edgeseg.training.config import TrainConfig
from edgeseg.training.run.start_line import bytes_left, expected_bytes, memory_warning, size_warning, start_line

#: Trains a step, and prints by how much the largest resident size grew.
STEP = """
import re, numpy as np, keras
from edgeseg.models import create
model = create("unet_mini", num_classes=5, input_size=(256, 256))
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
def largest():  # of this program; ru_maxrss begins with that of the process that started it
    return int(re.search("VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
before = largest()
model.fit(np.zeros((8, 256, 256, 3)), np.zeros((8, 256, 256)), batch_size=4, verbose=0)
print(1024 * (largest() - before))
"""


def test_the_line_has_what_the_run_will_do() -> None:
    config = TrainConfig(model="unet_mini", data="x", batch_size=4, repeat=2, epochs=3)
    model = create("unet_mini", num_classes=5, input_size=(64, 96))
    line = start_line(config, model, num_images=10, num_validation=1, epochs_done=0)
    memory = f"{expected_bytes(model, 4) / 1e9:.1f}"
    assert line == (
        "unet_mini: 10 training images and 1 validation image, 5 steps of 4 an epoch at 64x96, 0.47 M parameters, "
        f"about {memory} GB of memory"
    )
    assert "validation" not in start_line(config, model, num_images=10, num_validation=0, epochs_done=0)


def test_a_run_with_a_frozen_phase_begins_with_its_batch() -> None:
    config = TrainConfig(
        model="unet_mini", data="x", batch_size=2, epochs=3, freeze_epochs=1, freeze_batch_size=5, freeze_before="x"
    )
    model = create("unet_mini", num_classes=5, input_size=(32, 32))
    assert "2 steps of 5 an" in start_line(config, model, num_images=10, num_validation=0, epochs_done=0)
    assert "5 steps of 2 an" in start_line(config, model, num_images=10, num_validation=0, epochs_done=1)


def test_memory_is_warned_of_where_the_rest_will_not_do() -> None:
    model = create("unet_mini", num_classes=5, input_size=(64, 96))
    expected = expected_bytes(model, 4)
    assert memory_warning(model, 4, None) is None
    assert memory_warning(model, 4, 2 * expected) is None
    warning = memory_warning(model, 4, expected)
    assert warning is not None
    assert warning.startswith("warning: the run may need ")
    left = bytes_left()
    assert left is None or 0 < left < 2**50


def test_images_that_shrink_to_less_than_two_thirds_are_warned_of_with_a_size_to_type() -> None:
    model = create("unet_mini", num_classes=5, input_size=(64, 96))
    spec = find("unet_mini").default_spec(5, (64, 96))

    def warning(*sizes: tuple[int, int], left: int | None = None) -> str | None:
        return size_warning(spec, model, ImageSizes.of(sizes), 4, left)

    assert warning((96, 144)) is None
    assert warning((400, 400), (96, 144), (64, 64)) is None  # the median
    assert warning((32, 48)) is None
    assert warning((96, 160)) is not None  # a letterbox is as small as its narrower side makes it
    text = str(warning((200, 200)))
    assert text.startswith("warning: the images are 200x200 (the median) and the model's input is 64x96: what is less ")
    assert "less than 3.1 pixels wide" in text
    assert "give `input_size=(192, 192)` and `crop_size=(64, 96)`:" in text
    assert "6.0 times the work" in text
    # Where memory would not do, the most eighths of the images' size that it would: here four.
    for_96x96 = expected_bytes(model, 4, area=96 * 96 / (64 * 96))
    assert "`input_size=(96, 96)` and `crop_size=(64, 96)`" in str(warning((200, 200), left=int(for_96x96 / 0.9) + 1))
    assert "cut the images into tiles of about 64x96" in str(warning((200, 200), left=0))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_estimate_is_of_the_order_of_what_a_step_takes() -> None:
    done = subprocess.run([sys.executable, "-c", STEP], capture_output=True, text=True, check=True)
    grew = int(done.stdout.split()[-1])
    model = create("unet_mini", num_classes=5, input_size=(256, 256))
    per_step = expected_bytes(model, 4) - expected_bytes(model, 0)
    # allocators keep and share memory as they like: half and twice are what a user can still plan with
    assert 0.5 < grew / per_step < 2
