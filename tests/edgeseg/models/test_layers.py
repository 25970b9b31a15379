import itertools
import math
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from edgeseg.errors import InputError
from edgeseg.models import layers as edgeseg_layers
from edgeseg.models.keras_files.load import load_keras_file
from edgeseg.models.layers import (
    LegacyResize,
    MaxPoolingWithArgmax2D,
    MaxUnpooling2D,
    ResizeBilinear,
    UpsampleLike,
)


@pytest.fixture(params=["tensorflow op", "keras.ops"])
def form(request, monkeypatch):
    """Both forms of a layer: TensorFlow's own op, and what the other backends run."""
    if request.param == "keras.ops":
        monkeypatch.setattr(edgeseg_layers, "_on_tensorflow", lambda: False)
    return request.param


def after_relu(shape, seed=0):
    """Few distinct values and many all-zero windows: ties nearly everywhere."""
    values = np.random.default_rng(seed).integers(-4, 3, shape)
    return np.maximum(values, 0).astype(np.float32)


def pool_reference(x, pool_size, strides, padding, include_batch):
    """Window by window in row order, padding left out."""
    batch, height, width, channels = x.shape
    if padding == "same":
        out = [math.ceil(n / s) for n, s in zip((height, width), strides, strict=True)]
        spans = [(o - 1) * s + k for o, s, k in zip(out, strides, pool_size, strict=True)]
        before = [max(span - n, 0) // 2 for span, n in zip(spans, (height, width), strict=True)]
    else:
        out = [(n - k) // s + 1 for n, s, k in zip((height, width), strides, pool_size, strict=True)]
        before = [0, 0]
    values = np.zeros((batch, *out, channels), np.float32)
    index = np.zeros((batch, *out, channels), np.int64)
    for b, i, j, c in np.ndindex(values.shape):
        best = None
        for dy, dx in itertools.product(range(pool_size[0]), range(pool_size[1])):
            y, x_ = i * strides[0] + dy - before[0], j * strides[1] + dx - before[1]
            if 0 <= y < height and 0 <= x_ < width and (best is None or x[b, y, x_, c] > best):
                best = x[b, y, x_, c]
                values[b, i, j, c] = best
                index[b, i, j, c] = ((b * height if include_batch else 0) + y) * width * channels + x_ * channels + c
    return values, index


def unpool_reference(values, index, shape, include_batch):
    out = np.zeros(shape, np.float32)
    for position in np.ndindex(values.shape):
        one = out.reshape(-1) if include_batch else out[position[0]].reshape(-1)
        one[index[position]] += values[position]
    return out


@pytest.mark.parametrize("include_batch", [False, True])
@pytest.mark.parametrize(
    ("size", "pool_size", "strides", "padding"),
    [
        ((6, 8), (2, 2), (2, 2), "same"),
        ((7, 5), (2, 2), (2, 2), "same"),
        ((7, 5), (2, 2), (2, 2), "valid"),
        ((9, 8), (3, 3), (2, 2), "same"),
        ((6, 6), (3, 2), (1, 3), "same"),
        ((5, 9), (3, 3), (3, 3), "valid"),
    ],
)
def test_pooling_matches_the_reference_with_ties(form, size, pool_size, strides, padding, include_batch):
    x = after_relu((3, *size, 4))
    layer = MaxPoolingWithArgmax2D(pool_size, strides, padding, include_batch_in_index=include_batch)

    values, index = layer(x)

    expected_values, expected_index = pool_reference(x, pool_size, strides, padding, include_batch)
    np.testing.assert_array_equal(values, expected_values)
    np.testing.assert_array_equal(index, expected_index)
    symbolic = layer(keras.KerasTensor((None, *size, 4)))
    assert [s.shape[1:] for s in symbolic] == [tuple(values.shape)[1:]] * 2
    assert [s.dtype for s in symbolic] == ["float32", "int32"]


def test_pooling_finds_the_element_in_a_window_of_minus_infinity(form):
    """A window that begins in the padding must not answer with the padding."""
    x = np.full((1, 4, 4, 2), -np.inf, np.float32)
    values, index = MaxPoolingWithArgmax2D(3, 1)(x)
    expected_values, expected_index = pool_reference(x, (3, 3), (1, 1), "same", False)
    np.testing.assert_array_equal(values, expected_values)
    np.testing.assert_array_equal(index, expected_index)


@pytest.mark.parametrize("index_dtype", ["int32", "float32"])
@pytest.mark.parametrize("include_batch", [False, True])
@pytest.mark.parametrize("pool", [(2, 2), (3, 2)])
def test_unpooling_puts_each_maximum_back(form, pool, include_batch, index_dtype):
    x = after_relu((3, 6, 8, 5))
    options = {"include_batch_in_index": include_batch}
    pooled = MaxPoolingWithArgmax2D(pool, pool, index_dtype=index_dtype, **options)(x)

    unpooled = MaxUnpooling2D(pool, **options)(pooled)

    assert pooled[1].dtype == index_dtype
    values, index = pool_reference(x, pool, pool, "same", include_batch)
    assert (values == 0).mean() > 0.01, "the input has no all-zero windows to tie in"
    np.testing.assert_array_equal(unpooled, unpool_reference(values, index, x.shape, include_batch))


def test_unpooled_values_are_placed_even_when_they_are_zero_or_new(form):
    """As in a decoder: the values are not those that were pooled."""
    index = MaxPoolingWithArgmax2D()(after_relu((2, 8, 4, 3)))[1]
    values = np.random.default_rng(1).standard_normal((2, 4, 2, 3)).astype(np.float32)
    unpooled = MaxUnpooling2D()([values, index])
    np.testing.assert_array_equal(unpooled, unpool_reference(values, np.asarray(index), (2, 8, 4, 3), False))


def test_overlapping_windows_add_up(form):
    x = np.zeros((1, 4, 4, 1), np.float32)
    x[0, 1, 1, 0] = 5
    values, index = MaxPoolingWithArgmax2D(3, 1, "valid")(x)
    assert MaxUnpooling2D()([values, index])[0, 1, 1, 0] == 4 * 5


def test_the_gradient_of_pooling_and_unpooling_reaches_the_maxima_only(form):
    x = tf.constant(after_relu((2, 6, 4, 3)))
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(MaxUnpooling2D()(MaxPoolingWithArgmax2D()(x)))
    _, index = pool_reference(x.numpy(), (2, 2), (2, 2), "same", False)
    expected = unpool_reference(np.ones(index.shape), index, x.shape, False)
    np.testing.assert_array_equal(tape.gradient(total, x), expected)


def test_an_index_beyond_what_float32_counts_is_exact(form):
    width = 2**23 + 8  # two rows: 2**24 + 16 positions
    x = np.zeros((1, 2, width, 1), np.float32)
    x[0, 1, width - 1 :: -2, 0] = 1  # the odd positions of the second row
    values, index = MaxPoolingWithArgmax2D()(x)
    assert int(index[0, 0, -1, 0]) == 2 * width - 1
    assert float(np.float32(2 * width - 1)) != 2 * width - 1, "float32 would have been enough"
    np.testing.assert_array_equal(MaxUnpooling2D()([values, index]), x)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((None, 2, 2**23 + 2, 1), {"index_dtype": "float32"}),
        ((9, 512, 512, 8), {"index_dtype": "float32", "include_batch_in_index": True}),
        ((None, 2**12, 2**12, 2**8), {}),
    ],
)
def test_an_index_that_its_dtype_cannot_hold_is_refused(shape, options):
    with pytest.raises(InputError, match=r"cannot index a map of shape .* tells only \d+ apart"):
        MaxPoolingWithArgmax2D(**options)(keras.KerasTensor(shape))


def test_a_float_index_that_just_fits_is_accepted():
    MaxPoolingWithArgmax2D(index_dtype="float32")(keras.KerasTensor((None, 512, 512, 64)))


def test_mixed_precision_leaves_a_float_index_exact():
    """float16 counts to 2048; the tutorial's float index must not be cast on its way into the layer."""
    x = after_relu((1, 64, 64, 4))
    values, index = MaxPoolingWithArgmax2D(index_dtype="float32")(x)
    unpooled = MaxUnpooling2D(dtype="mixed_float16")([tf.cast(values, tf.float16), index])
    assert unpooled.dtype == "float16"
    expected = unpool_reference(*pool_reference(x, (2, 2), (2, 2), "same", False), x.shape, False)
    np.testing.assert_array_equal(unpooled, expected)  # small whole numbers: exact in float16


SIZES = [(1, 1), (1, 5), (7, 1), (4, 8), (15, 60), (7, 31), (33, 129), (60, 15), (31, 7), (13, 22), (127, 480)]


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_upsample_like_takes_the_floor_of_the_scaled_position(form, source, target):
    x = np.random.default_rng(0).standard_normal((2, source, 3, 4)).astype(np.float32)
    like = np.zeros((2, target, 5, 1), np.float32)
    rows, columns = np.arange(target) * source // target, np.arange(5) * 3 // 5
    np.testing.assert_array_equal(UpsampleLike()([x, like]), x[:, rows][:, :, columns])


def test_nearest_indices_round_as_tensorflow_does_at_every_size():
    """The scale is a float32, so that for some sizes a position falls below the whole number it would be."""
    rounded_down = 0
    for source, target in itertools.product(range(1, 60), range(1, 80)):
        indices = edgeseg_layers._nearest_indices(source, target)
        x = np.arange(source, dtype=np.float32)[None, :, None, None]
        resized = tf.raw_ops.ResizeNearestNeighbor(images=x, size=(target, 1)).numpy()
        np.testing.assert_array_equal(indices, resized.ravel())
        rounded_down += (indices != np.arange(target) * source // target).sum()
    assert rounded_down > 0, "none of the sizes shows the rounding"


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize(("source", "target"), SIZES)
def test_resize_bilinear_matches_linear_interpolation(form, source, target, align_corners):
    x = np.random.default_rng(0).uniform(-1, 1, (2, source, 3, 4)).astype(np.float32)

    def resized(x, size, axis):
        steps = np.arange(size, dtype=float)
        n = x.shape[axis]
        at = steps * (n - 1) / max(size - 1, 1) if align_corners else (steps + 0.5) * n / size - 0.5
        return np.apply_along_axis(lambda line: np.interp(at, np.arange(n), line), axis, x)

    expected = resized(resized(x.astype(float), target, 1), 5, 2)
    by_size = ResizeBilinear((target, 5), align_corners=align_corners)(x)
    by_map = ResizeBilinear(align_corners=align_corners)([x, np.zeros((2, target, 5, 9), np.float32)])
    # A position of up to 127 is off by up to 127 * 2**-23 = 1.5e-5 in float32, and neighbors differ by up to 2.
    np.testing.assert_allclose(by_size, expected, rtol=0, atol=5e-5)
    np.testing.assert_array_equal(by_size, by_map)


@pytest.mark.parametrize("align_corners", [True, False])
def test_resize_bilinear_is_the_product_with_its_matrices(align_corners):
    x = np.random.default_rng(0).uniform(-1, 1, (2, 9, 13, 3)).astype(np.float32)
    rows = edgeseg_layers.bilinear_matrix(9, 33, align_corners=align_corners)
    columns = edgeseg_layers.bilinear_matrix(13, 7, align_corners=align_corners)
    for matrix in (rows, columns):
        np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
    expected = np.einsum("Hh,Ww,bhwc->bHWc", rows, columns, x)
    # The same float32 weights, summed in another order: a few roundings of numbers below 1.
    np.testing.assert_allclose(ResizeBilinear((33, 7), align_corners)(x), expected, rtol=0, atol=5e-7)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize(("source", "target"), SIZES)
def test_legacy_resize_is_that_of_tensorflow_1(form, source, target, interpolation, align_corners):
    x = np.random.default_rng(0).uniform(-1, 1, (2, source, 3, 4)).astype(np.float32)
    size, method = (target, 5), ("bilinear", "nearest").index(interpolation)
    expected = tf.compat.v1.image.resize_images(x, size, method, align_corners=align_corners).numpy()

    fixed = LegacyResize(size, interpolation, align_corners)(x)
    following = LegacyResize(None, interpolation, align_corners)([x, np.zeros((2, *size, 1), np.float32)])

    # The matrices sum two products of values below 1 in another order; nearest takes the same pixel.
    np.testing.assert_allclose(fixed, expected, atol=1e-6 if interpolation == "bilinear" else 0)
    np.testing.assert_array_equal(following, fixed)


def test_resize_bilinear_of_one_pixel_is_a_broadcast(form):
    x = np.random.default_rng(0).standard_normal((2, 1, 1, 3)).astype(np.float32)
    np.testing.assert_array_equal(ResizeBilinear((4, 6))(x), np.broadcast_to(x, (2, 4, 6, 3)))


def test_resize_bilinear_keeps_the_dtype(form):
    layer = ResizeBilinear((4, 4), dtype="mixed_float16")
    assert layer(np.zeros((1, 2, 2, 1), np.float32)).dtype == "float16"
    assert layer(keras.KerasTensor((None, 2, 2, 1))).dtype == "float16"


def every_layer(height, width):
    """A model that holds each layer, in both of its forms where there are two."""
    inputs = keras.Input((height, width, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    pooled, index = MaxPoolingWithArgmax2D()(x)
    x = MaxUnpooling2D()([keras.layers.Conv2D(4, 1)(pooled), index])
    flat = MaxPoolingWithArgmax2D(2, 2, "valid", include_batch_in_index=True, index_dtype="float32")(x)
    x = keras.layers.Add()([x, MaxUnpooling2D(2, include_batch_in_index=True)(flat), UpsampleLike()([pooled, x])])
    x = ResizeBilinear()([ResizeBilinear((5, 7), align_corners=False)(x), x])
    return keras.Model(inputs, x)


def test_sizes_known_only_at_run_time_give_the_same():
    images = np.random.default_rng(0).uniform(-1, 1, (3, 8, 12, 3)).astype(np.float32)
    fixed, free = every_layer(8, 12), every_layer(None, None)
    free.set_weights(fixed.get_weights())
    assert fixed.output_shape == (None, 8, 12, 4) and free.output_shape == (None, None, None, 4)
    traced = tf.function(free, input_signature=[tf.TensorSpec((None, None, None, 3))])
    np.testing.assert_allclose(traced(images), fixed(images), rtol=0, atol=1e-6)  # the order of sums in a convolution


def test_they_train_in_a_compiled_graph():
    """Keras compiles with XLA where every layer supports it; TensorFlow's pooling op does not."""
    model = every_layer(8, 12)
    model.compile("sgd", "mse")
    rng = np.random.default_rng(0)
    images, wanted = rng.uniform(-1, 1, (3, 8, 12, 3)), rng.uniform(-1, 1, (3, 8, 12, 4))
    first, *_, last = [float(model.train_on_batch(images, wanted)) for _ in range(5)]
    assert last < first


def test_a_file_with_them_loads_in_a_fresh_process(tmp_path):
    """``load_model`` itself makes Keras know the layers, whatever was imported before."""
    model = every_layer(8, 12)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 8, 12, 3)).astype(np.float32)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images)
    script = (
        "import sys, numpy; from edgeseg.models.keras_files.load import load_keras_file; "
        "model = load_keras_file(sys.argv[1] + '/model.keras'); "
        "numpy.save(sys.argv[1] + '/out.npy', model(numpy.load(sys.argv[1] + '/images.npy')))"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, capture_output=True)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), model(images))
    again = load_keras_file(tmp_path / "model.keras")
    assert [layer.get_config() for layer in again.layers] == [layer.get_config() for layer in model.layers]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: MaxPoolingWithArgmax2D(padding="full"), "padding must be 'same' or 'valid', got 'full'"),
        (lambda: MaxPoolingWithArgmax2D(index_dtype="int64"), "index_dtype must be 'int32' or 'float32', got 'int64'"),
        (lambda: MaxPoolingWithArgmax2D((2, 2, 2)), "pool_size must be a positive whole number or two of them"),
        (lambda: MaxPoolingWithArgmax2D(strides=0), "strides must be a positive"),
        (lambda: MaxUnpooling2D((2, -1)), "up_size must be a positive"),
        (lambda: ResizeBilinear((3.5, 2)), "size must be a positive"),
        (lambda: LegacyResize(0), "size must be a positive"),
        (lambda: LegacyResize(2, "cubic"), "interpolation must be 'bilinear' or 'nearest', got 'cubic'"),
    ],
)
def test_a_wrong_argument_is_named(make, said):
    with pytest.raises(InputError, match=said):
        make()
