"""``edgeseg_converters.keras_model.steadiness`` and what a proof makes of it: pixels that Keras decides by rounding.

A small SegNet on images with letterbox bars, in which every value of a window is equal. An artifact that only rounds in
another way gives other classes there and is right; one that is broken in any other way is still rejected.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from edgeseg.imaging import preprocess
from edgeseg.models.layers import MaxPoolingWithArgmax2D, MaxUnpooling2D
from edgeseg_converters.images import Samples, natural_noise
from edgeseg_converters.keras_model.freeze import freeze
from edgeseg_converters.keras_model.prepare import PreparedModel
from edgeseg_converters.keras_model.steadiness import pools_with_indices
from edgeseg_converters.onnx.convert import to_onnx
from edgeseg_converters.options import ExportOptions
from edgeseg_converters.recipes import Recipe
from edgeseg_converters.rewrites.shared.lowered import DepthToSpace, SpaceToDepth
from edgeseg_converters.tflite.convert import to_tflite
from edgeseg_converters.verification.comparison import Reference, Verification, reference, verify

SIZE = (64, 64)
FILTERS = (8, 16, 16)
# 2:1 and 3:1 in a square: bars on half and two thirds of it.
IMAGES = Samples((natural_noise(0), natural_noise(1, (128, 256)), natural_noise(2, (120, 360))), "noise with bars")

Pair = Callable[[Any], tuple[Any, Callable[[Any], Any]]]


def indexed(x: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Pool as SegNet does."""
    pooled, index = MaxPoolingWithArgmax2D()(x)
    return pooled, lambda values: MaxUnpooling2D()([values, index])


def masked(order: Sequence[int], shift: int = 0) -> Pair:
    """Pool by masks, which convert: of equal pixels the first in an order wins, and goes to a place further on."""

    def pool(x: Any) -> tuple[Any, Callable[[Any], Any]]:
        pooled = layers.MaxPooling2D(2)(x)
        pixels = ops.split(SpaceToDepth(2)(x), 4, axis=-1)

        def unpool(values: Any) -> Any:
            parts: dict[int, Any] = {}
            for place in order[:3]:
                parts[place] = ops.cast(ops.equal(pixels[place], pooled), "float32") * values
                values = values - parts[place]
            parts[order[3]] = values
            return DepthToSpace(2)(ops.concatenate([parts[(place - shift) % 4] for place in range(4)], axis=-1))

        return pooled, unpool

    return pool


AS_KERAS = masked((0, 1, 2, 3))


def segnet(pairs: Sequence[Pair], weights: Sequence[Any] | None = None, noise: float = 0.0) -> keras.Model:
    """Build a SegNet of three levels, with one kind of pooling each, and with noise that depends on the place.

    The noise is what a runtime does that sums up the edge of a tile in another order. Other weights would not do: they
    are the same everywhere, and so are equal values then.
    """
    inputs = x = keras.Input((*SIZE, 3))
    unpools = []
    if noise:
        x = x + np.random.default_rng(9).uniform(-noise, noise, (1, *SIZE, 3)).astype(np.float32)

    def convolve(x: Any, filters: int) -> Any:
        return layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same")(x)))

    for pair, filters in zip(pairs, FILTERS, strict=True):
        x, unpool = pair(convolve(convolve(x, filters), filters))
        unpools.append(unpool)
    for filters in (*FILTERS[-2::-1], 8):
        x = convolve(unpools.pop()(x), filters)
    model = keras.Model(inputs, layers.Conv2D(5, 1)(x), name="segnet")
    if weights is not None:
        model.set_weights(weights)
    return model


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    model = segnet([indexed] * 3)
    seen = np.concatenate([preprocess(natural_noise(seed), PreparedModel.of(model).spec)[0] for seed in range(4)])
    rng = np.random.default_rng(0)
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    for norm in norms:  # as after training: channels differ
        norm.gamma.assign(rng.uniform(0.5, 1.5, norm.gamma.shape))
        norm.beta.assign(rng.normal(0, 0.3, norm.beta.shape))
        norm.momentum = 0.0
    model(seen, training=True)
    return model


@pytest.fixture(scope="module")
def expected(model: keras.Model) -> Reference:
    return reference(PreparedModel.of(model, None, ExportOptions(output_kind="logits"), IMAGES), IMAGES)


def checked(model: keras.Model, expected: Reference, recipe: Recipe | None = None) -> Verification:
    recipe = recipe or Recipe("tflite", "fp32")
    convert = to_tflite if recipe.format == "tflite" else to_onnx
    return verify(expected, convert(freeze(model, expected.spec), expected.spec), recipe)


ROUNDING = 1e-6  # of the values in [-1, 1] that go in


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_an_artifact_that_rounds_in_another_way_passes_on_the_steady_pixels(
    model: keras.Model, expected: Reference, file_format: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        proof = checked(segnet([AS_KERAS] * 3, model.get_weights(), ROUNDING), expected, Recipe(file_format, "fp32"))
    assert proof.argmax_agreement < 0.99  # the gate wants 99.9 %
    assert proof.passed, proof.reason
    assert proof.steady is not None
    assert proof.steady.argmax_agreement >= 0.999
    assert 1 - proof.argmax_agreement < proof.steady.unsteady_share < 0.5
    assert "of the pixels is decided by rounding" in caplog.text


def test_one_that_meets_the_gate_everywhere_needs_no_exception(model: keras.Model, expected: Reference) -> None:
    proof = checked(segnet([AS_KERAS] * 3, model.get_weights()), expected)
    assert (proof.passed, proof.steady) == (True, None)


def swapped_classes(weights: list[Any]) -> list[Any]:
    return [*weights[:-2], weights[-2][..., [1, 0, 2, 3, 4]], weights[-1][[1, 0, 2, 3, 4]]]


def one_kernel(weights: list[Any]) -> list[Any]:
    changed = [weight.copy() for weight in weights]
    changed[6][..., 3] *= 1.25  # one of the 16 channels of the second convolution
    return changed


def one_bias(weights: list[Any]) -> list[Any]:
    return [*weights[:-1], weights[-1] + np.array([0.05, 0, 0, 0, 0], np.float32)]


@pytest.mark.parametrize(
    ("pairs", "change"),
    [
        ([AS_KERAS, AS_KERAS, masked((3, 2, 1, 0))], list),
        ([AS_KERAS, masked((0, 1, 2, 3), shift=1), AS_KERAS], list),
        ([AS_KERAS] * 3, swapped_classes),
        ([AS_KERAS] * 3, one_kernel),
        ([AS_KERAS] * 3, one_bias),
    ],
    ids=["last of equals", "shifted", "swapped classes", "a kernel", "a bias"],
)
def test_a_broken_artifact_is_still_rejected(
    model: keras.Model, expected: Reference, pairs: Sequence[Pair], change: Callable[[list[Any]], list[Any]]
) -> None:
    proof = checked(segnet(pairs, change(model.get_weights()), ROUNDING), expected)
    assert not proof.passed
    assert "steady in Keras" in proof.reason


def test_a_model_without_pooling_indices_gets_no_exception(model: keras.Model) -> None:
    plain = segnet([AS_KERAS] * 3, model.get_weights())
    expected = reference(PreparedModel.of(plain, None, ExportOptions(output_kind="logits"), IMAGES), IMAGES)
    proof = checked(segnet([AS_KERAS] * 3, model.get_weights(), ROUNDING), expected)
    assert (proof.passed, proof.steady) == (False, None)


def test_a_reference_that_is_mostly_chance_is_refused_and_the_file_is_not_blamed(model: keras.Model) -> None:
    flat = Samples((np.full((64, 64, 3), 90, np.uint8),), "a gray image")
    expected = reference(PreparedModel.of(model, None, ExportOptions(output_kind="logits"), flat), flat)
    proof = checked(segnet([AS_KERAS] * 3, model.get_weights(), ROUNDING), expected)
    assert not proof.passed
    assert "nothing is proven and the file may be right" in proof.reason
    assert "at most 75%" in proof.reason


def test_bars_are_found_also_where_their_color_is_zero(model: keras.Model, expected: Reference) -> None:
    """One float32 step in one direction keeps every tie; a noise relative to each value keeps a bar of zeros."""
    tensor = preprocess(IMAGES.images[1], expected.spec)[0]
    assert (np.ptp(tensor[:, :8], axis=(0, 1, 2)) == 0).all()
    moved = model.predict_on_batch(np.nextafter(tensor, np.float32(np.inf)))
    assert (moved.argmax(-1) == expected.scores[1].argmax(-1)).mean() > 0.999
    steadiness = expected.probe.at(1e-6)
    # The first image has no bars, the third twice as many as the second.
    assert steadiness.steady[2].mean() < steadiness.steady[1].mean() < steadiness.steady[0].mean()
    assert 0.05 < steadiness.unsteady_share < 0.5


def named_otherwise(x: Any) -> Any:
    class Whatever(layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return tf.nn.max_pool_with_argmax(x, 2, 2, "SAME")[0]

    return Whatever()(x)


@pytest.mark.parametrize(
    ("build", "answer"),
    [
        (lambda x: indexed(x)[0], True),
        (named_otherwise, True),
        (lambda x: keras.Sequential([layers.Conv2D(3, 1), MaxPoolingWithArgmax2D()])(x)[0], True),
        (layers.MaxPooling2D(), False),
    ],
    ids=["its own", "another name", "nested", "plain"],
)
def test_pooling_with_indices_is_known_by_its_op(build: Callable[[Any], Any], answer: bool) -> None:
    inputs = keras.Input((8, 8, 3))
    assert pools_with_indices(keras.Model(inputs, build(inputs)), (1, 8, 8, 3)) == answer
