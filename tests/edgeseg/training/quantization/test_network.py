"""``training.quantization``: ``scheme``, ``steps``, ``kernels`` and ``network``, on a model with a layer of each kind.

That the exported file computes the same is shown in ``tests/converters/quantization/test_learned.py``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from edgeseg.errors import UnsupportedModel
from edgeseg.training.quantization.network import FakeQuantized, calibrate, fake_quantized
from edgeseg.training.quantization.scheme import Scheme, clipped, quantized_weights, rounded
from edgeseg.training.quantization.steps import plan_of

MEAN_AND_STD = ((127.5,) * 3, (127.5,) * 3)
RNG = np.random.default_rng(0)
IMAGES = (RNG.integers(0, 256, (2, 16, 24, 3)).astype(np.float32) - 127.5) / 127.5


def model_of_all_kinds() -> keras.Model:
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 24, 3))
    x = layers.ZeroPadding2D(1)(image)
    x = layers.BatchNormalization(name="stem_bn")(layers.Conv2D(8, 3, strides=2, use_bias=False, name="stem")(x))
    x = layers.ReLU(6.0, name="stem_relu")(x)
    y = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x))
    y = layers.Activation("silu", name="gate")(y)
    x = layers.Add(name="sum")([x, layers.Conv2D(8, 1, name="branch")(y), y])
    z = layers.SeparableConv2D(12, 3, padding="same", activation="relu", name="separable")(layers.MaxPooling2D(2)(x))
    z = layers.Dropout(0.1)(z)
    z = layers.UpSampling2D(2, interpolation="bilinear", name="up")(z)
    x = layers.Concatenate(name="joined")([x, z])
    x = layers.BatchNormalization(name="own_bn")(x)
    x = layers.Conv2DTranspose(3, 2, strides=2, name="logits")(x)
    model = keras.Model(image, x)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            channels = layer.moving_mean.shape
            layer.moving_mean.assign(0.1 * RNG.normal(size=channels))
            layer.moving_variance.assign(RNG.uniform(0.1, 0.5, channels))
            layer.gamma.assign(RNG.uniform(0.5, 1.5, channels))
    return model


def quantized(model: keras.Model, scheme: Scheme | None = None, **more: Any) -> FakeQuantized:
    layer = FakeQuantized(model, scheme or Scheme(), MEAN_AND_STD, **more)
    calibrate(layer, [IMAGES])
    return layer


def test_the_steps_are_the_ops_of_the_file() -> None:
    plan = plan_of(model_of_all_kinds())
    named = {step.name: step for step in plan.steps}
    assert named["stem_relu"].operation.name == "stem"
    assert (named["stem_relu"].norm.name, named["stem_relu"].activation) == ("stem_bn", "relu6")
    assert [name for name in named if name.startswith(("gate", "sum", "separable"))] == [
        "gate/sigmoid", "gate", "sum/1", "sum", "separable/depthwise", "separable",
    ]  # fmt: skip
    ranges = plan.learned_names()
    # The pooled sum is convolved, and its result is enlarged and joined to the sum: one scale for what is joined.
    assert ranges["sum"] == ranges["separable"] == ranges["up"] == ranges["joined"]
    assert len({ranges[name] for name in ("sum", "sum/1", "stem_relu", "gate", "separable/depthwise", "logits")}) == 6


def test_the_values_are_those_of_the_float_model() -> None:
    model = model_of_all_kinds()
    values = quantized(model).values(IMAGES)
    expected = ops.convert_to_numpy(model(IMAGES))
    # The batch norms are folded, so that sums are rounded in another order.
    np.testing.assert_allclose(values["logits"], expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("scheme", [Scheme("int8", "tflite"), Scheme("int8", "onnx"), Scheme("w8a16", "tflite")])
def test_integers_are_near_the_float_model_and_16_bits_nearer(scheme: Scheme) -> None:
    model = model_of_all_kinds()
    expected = ops.convert_to_numpy(model(IMAGES))
    error = np.abs(ops.convert_to_numpy(quantized(model, scheme)(IMAGES)) - expected).std() / expected.std()
    # A dozen roundings to a step of 1/255 of the range, or weights of 7 bits; 16 bits leave those of the weights.
    low, high = {"int8": (0.005, 0.1), "w8a16": (0.0, 0.02)}[scheme.precision]
    assert low < error < high


def test_values_and_gradients_of_rounding() -> None:
    import tensorflow as tf

    values, low, high = (tf.constant(x) for x in ([-3.0, 0.26, 9.0], -1.0, 1.55))
    with tf.GradientTape() as tape:
        tape.watch([values, low, high])
        grid = Scheme().grid(low, high)
        result = clipped(rounded(values / grid.scale), grid.least, grid.most) * grid.scale
    np.testing.assert_allclose(result, [-1.0, 0.26, 1.55], atol=1e-6)  # a step is 0.01
    to_values, to_low, to_high = tape.gradient(result, [values, low, high])
    np.testing.assert_allclose(to_values, [0, 1, 0])  # through the rounding, and not beyond the ends
    np.testing.assert_allclose([to_low, to_high], [1, 1], atol=1e-5)  # an end moves what is clipped to it


def test_a_channel_has_a_scale_of_its_own_and_its_largest_weight_is_kept() -> None:
    kernel = RNG.normal(size=(3, 3, 4, 5)).astype(np.float32) * [1, 10, 0.1, 0, 1]
    numbers, scales = (ops.convert_to_numpy(x) for x in quantized_weights(kernel.astype(np.float32), (0, 1, 2), 64))
    np.testing.assert_array_equal(np.abs(numbers).max((0, 1, 2)), [64, 64, 64, 0, 64])
    np.testing.assert_allclose(numbers * scales, kernel, atol=float(scales.max()) / 2)


def test_batch_norms_learn_from_batches_until_they_are_frozen() -> None:
    model = model_of_all_kinds()
    layer, norm = quantized(model), model.get_layer("stem_bn")
    before, inference = ops.convert_to_numpy(norm.moving_mean).copy(), ops.convert_to_numpy(layer(IMAGES))
    layer.frozen.assign(1.0)
    for dropout in (each for each in model.layers if isinstance(each, layers.Dropout)):
        dropout.rate = 0.0
    frozen = ops.convert_to_numpy(layer(IMAGES, training=True))
    # What is folded is what was frozen; a bias is rounded and a bilinear half goes up at inference alone.
    assert np.abs(frozen - inference).max() < 0.05 * np.abs(inference).max()
    np.testing.assert_array_equal(norm.moving_mean, before)
    layer.frozen.assign(0.0)
    assert np.abs(ops.convert_to_numpy(layer(IMAGES, training=True)) - frozen).max() > 0.1 * np.abs(inference).max()
    assert np.abs(ops.convert_to_numpy(norm.moving_mean) - before).max() > 1e-4


def test_ranges_and_weights_learn_and_a_teacher_is_imitated() -> None:
    model = model_of_all_kinds()
    teacher = keras.models.clone_model(model)
    teacher.set_weights(model.get_weights())
    teacher.get_layer("logits").kernel.assign(5 * model.get_layer("logits").kernel)
    layer = quantized(model, teacher=(lambda images: teacher(images, training=False), 1.0))
    layer.frozen.assign(1.0)
    images = keras.Input(IMAGES.shape[1:])
    learning = keras.Model(images, layer(images))
    assert len(learning.weights) == len(model.weights) + 3  # not the teacher's
    before = teacher.get_weights()
    learning.compile(keras.optimizers.Adam(1e-2), None, run_eagerly=True)  # to trace takes longer than six steps
    losses = learning.fit(IMAGES, batch_size=2, epochs=6, verbose=0).history["loss"]
    assert 0 < losses[-1] < 0.8 * losses[0]
    moved = np.abs(ops.convert_to_numpy(layer.learned)).max(1) > 0
    assert moved.sum() == len(moved) - 2  # all but the image's and that of the sigmoid, which are known
    for own, earlier in zip(teacher.get_weights(), before, strict=True):
        np.testing.assert_array_equal(own, earlier)


def test_ranges_that_are_read_again_give_the_same() -> None:
    model = model_of_all_kinds()
    layer = quantized(model)
    layer.learned.assign(0.02 * RNG.normal(size=layer.learned.shape))
    again = fake_quantized(model, layer.ranges(), MEAN_AND_STD, Scheme())
    assert again.ranges() == layer.ranges()
    # A scale that is written has 15 bits: a value in 65536 / 255 is rounded to the other side, in each of twenty steps.
    difference = np.abs(ops.convert_to_numpy(again(IMAGES)) - ops.convert_to_numpy(layer(IMAGES)))
    assert np.mean(difference > 1e-3) < 0.08


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (
            lambda: layers.LayerNormalization(name="ln"),
            r"'ln' \(LayerNormalization\) cannot be trained in integers; omit",
        ),
        (lambda: layers.Activation("tanh", name="act"), r"'act' \(Activation\) .* its activation is tanh; omit"),
        (lambda: layers.ReLU(3.0, name="relu"), r"'relu' \(ReLU\) .* a limit other than 6"),
        (lambda: layers.Resizing(32, 48, interpolation="bicubic", name="up"), r"'up' .* it scales by bicubic"),
        (lambda: layers.BatchNormalization(axis=1, name="bn"), r"'bn' .* it normalizes axis 1"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_name(layer: Callable[[], Any], said: str) -> None:
    image = keras.Input((16, 24, 3))
    with pytest.raises(UnsupportedModel, match=said):
        plan_of(keras.Model(image, layers.Conv2D(2, 1)(layer()(layers.MaxPooling2D(1)(image)))))


_ON_JAX = """
import sys
import numpy as np, keras
sys.path.insert(0, sys.argv[1])
import test_network as t
assert keras.backend.backend() == "jax"
model = t.model_of_all_kinds()
model.load_weights(sys.argv[2])
given = np.load(sys.argv[3])
teacher = (lambda images: t.ops.zeros(given["shape"].tolist()), 1.0)
layer = t.FakeQuantized(model, t.Scheme(), t.MEAN_AND_STD, teacher=teacher)
layer.starts.assign(given["starts"])
before = np.asarray(layer(given["images"]))
images = keras.Input(t.IMAGES.shape[1:])
learning = keras.Model(images, layer(images))
learning.compile("adam", None)
learning.fit(given["images"], verbose=0)
moved = float(np.abs(np.asarray(layer.learned)).max())
np.savez(sys.argv[4], before=before, moved=moved, norm=np.asarray(model.get_layer("stem_bn").moving_mean))
"""


@pytest.mark.slow
def test_jax_computes_the_same_and_learns(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    model = model_of_all_kinds()
    layer = quantized(model)
    weights, given, result = tmp_path / "w.weights.h5", tmp_path / "given.npz", tmp_path / "result.npz"
    model.save_weights(weights)
    shape = layer(IMAGES).shape
    np.savez(given, starts=ops.convert_to_numpy(layer.starts), images=IMAGES, shape=shape)
    expected, norm = ops.convert_to_numpy(layer(IMAGES)), ops.convert_to_numpy(model.get_layer("stem_bn").moving_mean)
    command = [sys.executable, "-c", _ON_JAX, Path(__file__).parent, weights, given, result]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    theirs = np.load(result)
    # Whole numbers are convolved exactly by either; a scale may differ in its last bit, and with it a half.
    assert np.mean(np.abs(theirs["before"] - expected) > 1e-4) < 0.01
    assert theirs["moved"] > 0
    assert np.abs(theirs["norm"] - norm).max() > 1e-4


def test_the_config_is_json() -> None:
    """Keras writes it into ``last.keras``."""
    json.dumps(quantized(model_of_all_kinds()).get_config())
