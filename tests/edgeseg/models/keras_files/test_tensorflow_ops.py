"""What Keras 2 calls between its layers, held against Keras 2 itself."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from edgeseg.errors import InputError
from edgeseg.models.keras_files import tensorflow_ops
from edgeseg.models.keras_files.load import load_keras_file

SHAPE = (6, 8, 4)
Function = Callable[[Any], Any]

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tf_keras") is None, reason="tf-keras (Keras 2 itself) is not installed"
)


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-2, 2, shape).astype(np.float32)


def constant(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(0.5, 2, shape).astype(np.float32)


def check(tmp_path: Path, function: Function, *, shape: tuple[int | None, ...] = SHAPE, dtype: str = "float32") -> Any:
    """Save a model of tf-keras that calls a function between layers, load it, and hold the outputs side by side."""
    import tf_keras

    inputs = tf_keras.Input(shape, dtype=dtype)
    source = tf_keras.Model(inputs, function(inputs))
    x = image(2, *SHAPE) if dtype == "float32" else np.random.default_rng(0).integers(0, 256, (2, *SHAPE), dtype=dtype)
    expected = tf.nest.flatten(source(x, training=False))
    source.save(tmp_path / "x.h5")
    model = load_keras_file(tmp_path / "x.h5")
    actual = keras.tree.flatten(model(x, training=False))
    for got, wanted in zip(actual, expected, strict=True):
        assert keras.backend.standardize_dtype(got.dtype) == wanted.dtype.name
        # The same operations of TensorFlow on values up to 100; a few are written as two.
        np.testing.assert_allclose(np.asarray(got), wanted.numpy(), rtol=1e-6, atol=1e-6)
    return model


FUNCTIONS: dict[str, Function] = {
    # operators and constants
    "1 + x": lambda x: 1 + x,
    "x + x": lambda x: x + x,
    "x - constants": lambda x: x - constant(4),
    "1 - x": lambda x: 1 - x,
    "x * map": lambda x: x * constant(6, 8, 1),
    "x / 2": lambda x: x / 2,
    "2 / x": lambda x: 2 / x,
    "x // 0.5": lambda x: x // 0.5,
    "x % 0.7": lambda x: x % 0.7,
    "x ** 2": lambda x: x**2,
    "-x": lambda x: -x,
    "abs": abs,
    "comparisons": lambda x: tf.cast((x > 0) & ~(x >= 1) | (x < -1), "float32"),
    "more comparisons": lambda x: tf.where(
        tf.math.logical_xor(tf.equal(x, tf.abs(x)), x <= 1.0) & tf.not_equal(x, 0.5), x, -x
    ),
    "x[:, 1:5, ::2]": lambda x: x[:, 1:5, ::2],
    "x[..., ::-1]": lambda x: x[..., ::-1],
    "x[:, 0]": lambda x: x[:, 0],
    "x[:, None]": lambda x: x[:, tf.newaxis, ..., 1:],
    # of one map
    "math": lambda x: tf.sqrt(tf.square(tf.exp(x)) + tf.math.log1p(tf.abs(tf.sin(x)))) + tf.math.rsqrt(x * x + 1),
    "more math": lambda x: tf.math.expm1(x) + tf.math.log(x * x + 1) + tf.cos(x),
    "rounding": lambda x: tf.floor(x) + 2 * tf.math.ceil(x) + 4 * tf.round(x) + tf.sign(x),
    "activations": lambda x: tf.nn.relu(x) + tf.nn.relu6(4 * x) + tf.tanh(x) + tf.sigmoid(x) + tf.nn.elu(x),
    "parametric activations": lambda x: tf.nn.leaky_relu(x) + tf.nn.leaky_relu(x, 0.3) + tf.nn.gelu(x),
    "approximate gelu": lambda x: tf.nn.gelu(x, approximate=True),
    "softplus, selu, softsign": lambda x: tf.nn.softplus(x) + tf.nn.selu(x) + tf.nn.softsign(x) + tf.math.erf(x),
    "swish": lambda x: tf.nn.swish(x) + tf.nn.silu(x, 1.5),
    "hard_sigmoid": lambda x: _backend().hard_sigmoid(x),
    "softmax": lambda x: tf.nn.softmax(x) + tf.nn.softmax(x, axis=1) + tf.nn.log_softmax(x),
    "clip": lambda x: tf.clip_by_value(x, -1, 0.5),
    "identity": lambda x: tf.identity(x) + tf.stop_gradient(x) + tf.zeros_like(x) + tf.ones_like(x),
    "bias": lambda x: tf.nn.bias_add(x, constant(4)),
    # of two maps
    "maximum": lambda x: tf.maximum(x, 0.1) + tf.minimum(x, -x) + tf.math.squared_difference(x, 1.0),
    "where": lambda x: tf.where(x > 0, x, 0.25),
    "add_n": lambda x: tf.add_n([x, x, 2 * x]),
    "no nan": lambda x: tf.math.divide_no_nan(x, tf.floor(x)),
    "matmul": lambda x: tf.matmul(x, x, transpose_b=True),
    "matmul with constants": lambda x: tf.matmul(x, constant(4, 3)),
    # along axes
    "mean": lambda x: tf.reduce_mean(x, [1, 2], keepdims=True),
    "sum, max": lambda x: tf.reduce_sum(x, -1) + tf.reduce_max(x, 3) + tf.reduce_min(x, -1),
    "variance": lambda x: tf.math.reduce_variance(x, [1, 2]) + tf.math.reduce_std(x, [1, 2]),
    "moments": lambda x: tf.nn.moments(x, [1, 2])[1],
    "any": lambda x: tf.cast(tf.reduce_any(x > 1, -1), "int32") + tf.cast(tf.reduce_all(x < 1, -1), "int32"),
    "product": lambda x: tf.reduce_prod(x, -1) + tf.reduce_logsumexp(x, [3]),
    "K.mean": lambda x: _backend().mean(x, axis=[1, 2]),
    "argmax": lambda x: tf.argmax(x, -1),
    "argmin": lambda x: tf.argmin(x, -1),
    "argmax of 32 bits": lambda x: tf.argmax(x, axis=-1, output_type="int32"),
    "l2_normalize": lambda x: tf.math.l2_normalize(x, -1),
    "one_hot": lambda x: tf.one_hot(tf.argmax(x, -1), 4),
    "cumsum": lambda x: tf.cumsum(x, 1),
    # shapes
    "reshape": lambda x: tf.reshape(x, (-1, 48, 4)),
    "reshape to its own sides": lambda x: tf.reshape(x, (tf.shape(x)[0], tf.shape(x)[1] * tf.shape(x)[2], 4)),
    "reshape with an open side": lambda x: tf.reshape(x, [tf.shape(x)[0], -1, tf.shape(x)[3]]),
    "reshape to a stack": lambda x: tf.reshape(x, tf.stack([tf.shape(x)[0], 8, 6, 4])),
    "transpose": lambda x: tf.transpose(x, [0, 3, 1, 2]),
    "squeeze": lambda x: tf.squeeze(tf.expand_dims(x, 1), [1]),
    "concat": lambda x: tf.concat([x, 2 * x], -1),
    "concat by keyword": lambda x: tf.concat(values=[x, x], axis=1),
    "concat of one": lambda x: tf.concat([x], -1),
    "stack": lambda x: tf.stack([x, x], axis=1),
    "stack of one": lambda x: tf.stack([x]),
    "unstack": lambda x: tf.unstack(x, axis=-1)[1],
    "split": lambda x: tf.split(x, 2, axis=-1)[1],
    "split by sizes": lambda x: tf.split(x, [1, -1], axis=-1),
    "tile": lambda x: tf.tile(x, [1, 2, 1, 3]),
    "repeat": lambda x: tf.repeat(x, 2, axis=1),
    "broadcast": lambda x: tf.broadcast_to(x[:, :1, :1], tf.shape(x)),
    "ensure_shape": lambda x: tf.ensure_shape(x, (None, *SHAPE)),
    "rank": lambda x: x * tf.cast(tf.rank(x), "float32"),
    "pad": lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]]),
    "pad by reflection": lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]], "REFLECT"),
    "gather": lambda x: tf.gather(x, [2, 0], axis=-1),
    "reverse": lambda x: tf.reverse(x, [-1, 1]),
    "slice": lambda x: tf.slice(x, [0, 1, 2, 0], [-1, 3, 2, -1]),
    "strided_slice": lambda x: tf.strided_slice(x, [0, 1, 0, 0], [2, 6, 8, 4], [1, 2, 3, 1]),
    "a crop to half its own size": lambda x: x[:, : tf.shape(x)[1] // 2],
    # images
    "resize": lambda x: tf.image.resize(x, (9, 5)),
    "resize by nearest": lambda x: tf.image.resize(x, (9, 5), method="nearest"),
    "resize by bicubic": lambda x: tf.image.resize(x, (9, 16), tf.image.ResizeMethod.BICUBIC),
    "resize by Lanczos": lambda x: tf.image.resize(x, (12, 16), "lanczos3"),
    "resize to twice its own size": lambda x: tf.image.resize(x, tf.shape(x)[1:3] * 2),
    "resize to another's size": lambda x: tf.image.resize(x[:, ::2, ::4], tf.shape(x)[1:3]),
    "nearest to another's size": lambda x: tf.image.resize(x[:, ::2, ::4], tf.shape(x)[1:3], method="nearest"),
    "nearest to an odd size": lambda x: tf.image.resize(x[:, 1:5, :3], tf.shape(x)[1:3], method="nearest"),
    "resize to a stack": lambda x: tf.image.resize(x[:, ::2, ::2], (tf.shape(x)[1], tf.shape(x)[2])),
    "align_corners": lambda x: tf.compat.v1.image.resize_bilinear(x, (9, 5), align_corners=True),
    "TensorFlow 1's bilinear": lambda x: tf.compat.v1.image.resize_bilinear(x, (9, 5)),
    "TensorFlow 1's nearest": lambda x: tf.compat.v1.image.resize_nearest_neighbor(x, (9, 5)),
    "half pixels in TensorFlow 1": lambda x: tf.compat.v1.image.resize_bilinear(x, (9, 5), half_pixel_centers=True),
    "resize_images": lambda x: tf.compat.v1.image.resize_images(x, (9, 5), align_corners=True),
    "resize_images by nearest": lambda x: tf.compat.v1.image.resize_images(x, (9, 5), method=1, align_corners=True),
    "K.resize_images": lambda x: _backend().resize_images(x, 3, 2, "channels_last", interpolation="bilinear"),
    "align_corners to another's size": lambda x: tf.compat.v1.image.resize_bilinear(
        x[:, ::3, ::2], tf.shape(x)[1:3], align_corners=True
    ),
    "crop": lambda x: tf.image.crop_to_bounding_box(x, 1, 2, 3, 4),
    "flip": lambda x: tf.image.flip_left_right(x) + 2 * tf.image.flip_up_down(x),
    "gray": lambda x: tf.image.rgb_to_grayscale(x[..., :3]),
    "standardize": lambda x: tf.image.per_image_standardization(x),
    "pooling": lambda x: tf.nn.max_pool2d(x, 2, 2, "SAME") + tf.nn.avg_pool2d(x, [2, 2], [2, 2], "VALID"),
    "max_pool": lambda x: tf.nn.max_pool(x, [1, 3, 3, 1], [1, 2, 2, 1], "SAME"),
    "K.pool2d": lambda x: _backend().pool2d(x, (2, 2)) + _backend().pool2d(x, (2, 2), pool_mode="avg"),
    "convolution": lambda x: tf.nn.convolution(x, constant(3, 3, 4, 2), 1, "SAME"),
    "conv2d": lambda x: tf.nn.conv2d(x, constant(3, 3, 4, 2), [1, 2, 2, 1], "SAME"),
    "depthwise_conv2d": lambda x: tf.nn.depthwise_conv2d(x, constant(3, 3, 4, 2), [1, 1, 1, 1], "VALID"),
    "depth_to_space": lambda x: tf.nn.depth_to_space(x, 2),
    "space_to_depth": lambda x: tf.nn.space_to_depth(x, 2),
}


OF_WHOLE_NUMBERS: dict[str, Function] = {
    "to floats": lambda x: tf.cast(x, "float32") / 127.5 - 1,
    "as [0, 1]": lambda x: tf.image.convert_image_dtype(x, "float32"),
    "resize": lambda x: tf.image.resize(x, (9, 5)),
    "sum": lambda x: tf.reduce_sum(tf.cast(x, "int32"), -1),
}


def _backend() -> Any:
    import tf_keras

    return tf_keras.backend


def test_every_function_that_is_read_is_tested() -> None:
    import tf_keras

    written = set()
    for function in (*FUNCTIONS.values(), *OF_WHOLE_NUMBERS.values()):
        inputs = tf_keras.Input(SHAPE, dtype="uint8" if function in OF_WHOLE_NUMBERS.values() else "float32")
        configs = [layer.get_config() for layer in tf_keras.Model(inputs, function(inputs)).layers]
        written |= {config["function"] for config in configs if "function" in config}
    bare = {symbol.removeprefix("compat.v1.") for symbol in written}
    assert set(tensorflow_ops._FUNCTIONS) <= written | bare


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_tensorflow_is_read_exactly(tmp_path: Path, name: str) -> None:
    check(tmp_path, FUNCTIONS[name])


@pytest.mark.parametrize("name", OF_WHOLE_NUMBERS)
def test_whole_numbers_are_read_as_tensorflow_computes_with_them(tmp_path: Path, name: str) -> None:
    check(tmp_path, OF_WHOLE_NUMBERS[name], dtype="uint8")


def test_sizes_that_are_open_where_a_number_is_needed_are_refused(tmp_path: Path) -> None:
    import tf_keras

    for function in (
        lambda x: tf.image.resize(x, [tf.shape(x)[1] + 1, tf.shape(x)[2]]),
        lambda x: tf.nn.depth_to_space(x, 2),
        lambda x: x[:, : tf.shape(x)[1] // 2],
    ):
        inputs = tf_keras.Input((None, None, 4))
        tf_keras.Model(inputs, function(inputs)).save(tmp_path / "x.h5")
        with pytest.raises(InputError, match=r"no fixed size; make the model for a keras.Input\(\(H, W, 3\)\)"):
            load_keras_file(tmp_path / "x.h5")


@pytest.mark.parametrize(
    "function",
    [
        lambda x: tf.image.resize(x[:, ::2, ::2], tf.shape(x)[1:3]),
        lambda x: tf.compat.v1.image.resize_nearest_neighbor(x[:, ::2, ::2], tf.shape(x)[1:3]),
        lambda x: tf.image.resize(x, tf.shape(x)[1:3] * 2, method="nearest"),
        lambda x: tf.reshape(x, (tf.shape(x)[0], -1, 4)),
    ],
)
def test_sizes_that_follow_a_map_stay_open_and_are_rebuilt(tmp_path: Path, function: Function) -> None:
    model = check(tmp_path, function, shape=(None, None, 4))
    fixed = keras.models.clone_model(model, input_tensors=keras.Input((12, 16, 4)))
    assert fixed.output_shape == (None, *function(tf.zeros((1, 12, 16, 4))).shape[1:])
