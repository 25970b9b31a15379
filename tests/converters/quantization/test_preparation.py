"""``preparation`` and ``make``: a step is kept where images that did not calibrate keep more of their classes."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.choices import Format
from edgeseg.errors import InputError
from edgeseg.imaging import encode_image
from edgeseg.models.zoo.table import ZOO
from edgeseg.spec import Provenance
from edgeseg_converters.calibration import CalibrationSet, choose
from edgeseg_converters.images import natural_noise
from edgeseg_converters.keras_model.freeze import freeze
from edgeseg_converters.options import Quantization
from edgeseg_converters.quantization import preparation
from edgeseg_converters.quantization.accuracy import EvaluationImages
from edgeseg_converters.quantization.engines import float_file
from edgeseg_converters.quantization.make import Integers, QuantizationImages
from edgeseg_converters.quantization.preparation import prepare
from edgeseg_converters.recipes import AccuracyGate, Recipe

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


def uneven_channels(*, swapped: bool = False) -> keras.Model:
    """Three convolutions, the channels between them 100-fold apart; ``swapped`` has the classes in another order."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    x = conv(8, 3, seed=0)(inputs)
    for seed, groups in ((1, 2), (2, 4)):
        kernel = 10 ** np.random.default_rng(seed).uniform(-1, 1, (1, 1, 8, 1))
        x = layers.ReLU()(layers.DepthwiseConv2D(1, depthwise_initializer=keras.initializers.Constant(kernel))(x))
        x = conv(8, 3, seed=1 if groups == 2 else 3, groups=groups)(x)
    outputs = conv(3, 1, seed=9)(x)
    return keras.Model(inputs, outputs[..., ::-1] if swapped else outputs)


@pytest.fixture
def images(tmp_path: Path) -> CalibrationSet:
    for seed in range(8):
        (tmp_path / f"{seed}.png").write_bytes(encode_image(natural_noise(100 + seed, SIZE)))
    return choose(tmp_path)


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_integers_keep_their_classes_where_it_helps(file_format: Format, images: CalibrationSet) -> None:
    source = float_file(freeze(uneven_channels(), SPEC), SPEC, file_format)
    settings = Quantization(ptq="best", method="minmax")
    said: list[str] = []
    prepared = prepare(source, SPEC, file_format, images, settings, progress=lambda what, *_: said.append(what))
    assert prepared.trials[0].step == "equalize" and prepared.trials[0].kept and prepared.file.data != source.data
    assert said[0] == "trying equalize" and prepared.num_images == 4
    assert 1 - prepared.share < 0.8 * (1 - prepared.plain), prepared  # a fifth of the lost pixels at least
    # A step is kept where it gains, and the next one starts from there.
    share = prepared.plain
    for trial in prepared.trials:
        gained = preparation.enough(share, trial.after)
        assert trial.before == share and trial.kept == (gained and trial.class_gain >= 0)
        share = trial.after if trial.kept else share
    assert prepared.share == share and "ranges" not in {trial.step for trial in prepared.trials}  # the method was given
    # What is equalized already gains nothing.
    again = prepare(prepared.file, SPEC, file_format, images, Quantization(ptq="equalize", method="minmax"))
    assert again.file.data == prepared.file.data and not any(trial.kept for trial in again.trials)


def test_nothing_is_tried_where_plain_integers_do_or_it_is_off(
    images: CalibrationSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = float_file(freeze(uneven_channels(), SPEC), SPEC, "tflite")
    monkeypatch.setattr(preparation, "ENOUGH", 0.0)
    monkeypatch.setattr(preparation, "ENOUGH_TO_ROUND", 0.0)
    prepared = prepare(source, SPEC, "tflite", images, Quantization())
    assert prepared.file is source and prepared.trials == () and prepared.share == prepared.plain
    # What is asked for by name is tried in any case.
    asked = prepare(source, SPEC, "tflite", images, Quantization(ptq="ranges"))
    (trial,) = asked.trials
    assert trial.step == "ranges" and trial.choice in ("minmax", "mse")
    assert asked.method == (trial.choice if trial.kept else "percentile") and asked.file is source


def test_steps_are_named_in_any_order_and_nothing_else_is() -> None:
    assert Quantization(ptq="bias, equalize").ptq_steps == ("equalize", "bias")
    assert Quantization(ptq="off").ptq_steps == ()
    assert Quantization().ptq_steps == ("equalize", "head", "ranges", "rounding", "bias")
    with pytest.raises(InputError, match="unknown ptq 'equalizing'; accepted: best, off, or some of equalize, head"):
        _ = Quantization(ptq="equalizing").ptq_steps
    with pytest.raises(InputError, match="chooses the calibration method"):
        _ = Quantization(ptq="ranges", method="mse").ptq_steps


def test_a_step_that_costs_the_gate_is_taken_back(images: CalibrationSet, monkeypatch: pytest.MonkeyPatch) -> None:
    source = float_file(freeze(uneven_channels(), SPEC), SPEC, "tflite")
    other = float_file(freeze(uneven_channels(swapped=True), SPEC), SPEC, "tflite")
    monkeypatch.setitem(preparation._STEPS, "bias", lambda _, made: [("", preparation._with(made, other.data))])
    monkeypatch.setattr(preparation.Agreement, "is_better_than", lambda self, other: True)  # as chance may have it
    made = {}
    for least in (0.5, 0.999999):  # what plain integers with equalize pass, and what nothing passes
        settings = Quantization(ptq="equalize,bias", method="minmax", gate=AccuracyGate(min_agreement=least))
        evaluation = EvaluationImages(images.paths, None, "images")
        integers = Integers(settings, QuantizationImages(images, evaluation))
        made[least] = integers.make_of_file(source, SPEC, Recipe("tflite", "int8"))
        assert made[least].accuracy is not None and made[least].accuracy.passed == (least == 0.5)
    passed = made[0.5]
    assert passed.preparation is not None
    assert [(trial.step, trial.kept, trial.taken_back) for trial in passed.preparation.trials] == [
        ("equalize", True, False),
        ("bias", False, True),
    ]
    assert "taken back as the gate failed" in passed.preparation.sentence
    # Where nothing passes, the most accurate file is kept: with equalize and without the step that spoils.
    assert made[0.999999].data == passed.data
