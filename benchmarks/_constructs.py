"""List the constructs that segmentation networks are built from, each as a function of a feature map.

Every construct takes a map ``(B, 32, 48, 16)`` and returns one of any size and number of channels: ``constructs.py``
puts it between a stem and a head. They are written as their papers' ports write them, in Keras layers and ``ops``, and
in TensorFlow where users do so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

Construct = Callable[[Any], Any]


def constructs() -> dict[str, dict[str, Construct]]:
    """Return the constructs by group and name."""
    return {
        "convolutions": _CONVOLUTIONS,
        "normalization": _NORMALIZATION,
        "activations": _ACTIVATIONS,
        "pooling": _POOLING,
        "resizing": _RESIZING,
        "attention": _ATTENTION,
        "arithmetic and indexing": _INDEXING,
        "how models are written": _WRITING,
    }


def _named(function: Construct, name: str) -> Construct:
    """Return a layer that runs a function: what a user's own ``call`` does."""
    return type(name, (layers.Layer,), {"call": lambda self, x: function(x)})()


def _conv(channels: int, kernel: Any = 3, **options: Any) -> Any:
    return layers.Conv2D(channels, kernel, padding=options.pop("padding", "same"), **options)


def _weight_standardization(x: Any) -> Any:
    class StandardizedConv(layers.Conv2D):  # type: ignore[misc]
        def convolution_op(self, inputs: Any, kernel: Any) -> Any:
            mean, variance = ops.moments(kernel, axes=(0, 1, 2), keepdims=True)
            return super().convolution_op(inputs, (kernel - mean) / ops.sqrt(variance + 1e-5))

    return StandardizedConv(16, 3, padding="same")(x)


def _coordinates(x: Any) -> Any:
    rows, columns = np.meshgrid(np.linspace(-1, 1, 32), np.linspace(-1, 1, 48), indexing="ij")
    grid = np.stack([rows, columns], -1)[None].astype("float32")
    return _conv(16)(ops.concatenate([x, ops.zeros_like(x[..., :2]) + grid], -1))


_CONVOLUTIONS: dict[str, Construct] = {
    "dilated convolution": lambda x: _conv(16, dilation_rate=4)(x),
    "grouped convolution": lambda x: _conv(16, groups=4)(x),
    "depthwise convolution, multiplier 2": lambda x: layers.DepthwiseConv2D(5, depth_multiplier=2, padding="same")(x),
    "separable convolution, dilated": lambda x: layers.SeparableConv2D(16, 3, dilation_rate=2, padding="same")(x),
    "1x7 then 7x1 convolution": lambda x: _conv(16, (7, 1))(_conv(16, (1, 7))(x)),
    "transposed convolution": lambda x: layers.Conv2DTranspose(8, 4, strides=2, padding="same")(x),
    "transposed convolution, kernel below stride": lambda x: layers.Conv2DTranspose(8, 2, strides=3)(x),
    "transposed convolution, output padding": lambda x: layers.Conv2DTranspose(8, 3, strides=2, output_padding=1)(x),
    "reflection padding before a convolution": lambda x: _conv(16, padding="valid")(
        ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="reflect")
    ),
    "Dense over the channels": lambda x: layers.Dense(16)(x),
    "pixel shuffle (depth_to_space)": lambda x: _named(lambda t: tf.nn.depth_to_space(t, 2), "Shuffle")(x),
    "pixel shuffle by reshape and transpose": lambda x: ops.reshape(
        ops.transpose(ops.reshape(x, (-1, 32, 48, 2, 2, 4)), (0, 1, 3, 2, 4, 5)), (-1, 64, 96, 4)
    ),
    "channel shuffle (ShuffleNet)": lambda x: ops.reshape(
        ops.transpose(ops.reshape(x, (-1, 32, 48, 4, 4)), (0, 1, 2, 4, 3)), (-1, 32, 48, 16)
    ),
    "standardized weights": _weight_standardization,
    "coordinates as channels (CoordConv)": _coordinates,
}

_NORMALIZATION: dict[str, Construct] = {
    "batch normalization after a ReLU": lambda x: layers.BatchNormalization()(layers.ReLU()(_conv(16)(x))),
    "group normalization": lambda x: layers.GroupNormalization(4)(_conv(16)(x)),
    "instance normalization": lambda x: layers.GroupNormalization(-1)(_conv(16)(x)),
    "layer normalization over channels": lambda x: layers.LayerNormalization()(_conv(16)(x)),
    "RMS normalization": lambda x: layers.RMSNormalization()(_conv(16)(x)),
    "unit normalization (L2)": lambda x: layers.UnitNormalization()(_conv(16)(x)),
    "spectral normalization": lambda x: layers.SpectralNormalization(_conv(16))(x),
}

_ACTIVATIONS: dict[str, Construct] = {
    name: lambda x, name=name: layers.Activation(name)(_conv(16)(x))  # type: ignore[misc]
    for name in ("relu6", "elu", "gelu", "silu", "hard_silu", "mish", "softplus", "hard_sigmoid", "tanh")
} | {
    "PReLU": lambda x: layers.PReLU(alpha_initializer="glorot_uniform", shared_axes=(1, 2))(_conv(16)(x)),
    "LeakyReLU": lambda x: layers.LeakyReLU(0.2)(_conv(16)(x)),
    "gated linear unit": lambda x: ops.nn.glu(_conv(32)(x)),
}

_POOLING: dict[str, Construct] = {
    "average pooling, same": lambda x: layers.AveragePooling2D(3, strides=2, padding="same")(x),
    "max pooling, valid": lambda x: layers.MaxPooling2D(3, strides=2)(x),
    "pyramid pooling (PSPNet)": lambda x: ops.concatenate(
        [x, *(layers.Resizing(32, 48)(_conv(4, 1)(layers.AveragePooling2D((32 // n, 48 // n))(x))) for n in (1, 2, 4))],
        -1,
    ),
    "adaptive average pooling": lambda x: layers.AdaptiveAveragePooling2D((5, 7))(x),
    "squeeze and excitation": lambda x: (
        x * layers.Dense(16, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    ),
    "strip pooling": lambda x: ops.mean(x, 1, keepdims=True) + ops.mean(x, 2, keepdims=True),
    "max pooling with indices and unpooling": lambda x: _unpooled(x),
}


def _unpooled(x: Any) -> Any:
    def there_and_back(t: Any) -> Any:
        pooled, places = tf.nn.max_pool_with_argmax(t, 2, 2, "SAME", include_batch_in_index=True)
        shape = tf.shape(t, out_type=tf.int64)
        flat = tf.scatter_nd(tf.reshape(places, (-1, 1)), tf.reshape(pooled, (-1,)), [tf.reduce_prod(shape)])
        return tf.reshape(flat, shape)

    return _named(there_and_back, "PoolAndUnpool")(x)


def _resized(method: str, antialias: bool = False) -> Construct:
    return lambda x: ops.image.resize(x, (80, 112), interpolation=method, antialias=antialias)


_RESIZING: dict[str, Construct] = {
    "UpSampling2D, nearest": lambda x: layers.UpSampling2D(2)(x),
    "UpSampling2D, bilinear": lambda x: layers.UpSampling2D(2, interpolation="bilinear")(x),
    "bilinear, corners aligned": lambda x: _named(
        lambda t: tf.compat.v1.image.resize_bilinear(t, (63, 95), align_corners=True), "Interp"
    )(x),
    "bicubic": _resized("bicubic"),
    "Lanczos": _resized("lanczos5"),
    "bilinear, antialiased, smaller": lambda x: ops.image.resize(x, (20, 30), antialias=True),
    "area": lambda x: _named(lambda t: tf.image.resize(t, (20, 30), "area"), "Area")(x),
    "resize to another map's size": lambda x: _named(lambda t: tf.image.resize(_half(t), tf.shape(t)[1:3]), "Like")(x),
    "nearest by repeat": lambda x: ops.repeat(ops.repeat(x, 2, axis=1), 2, axis=2),
}


def _half(t: Any) -> Any:
    return tf.nn.avg_pool2d(t, 2, 2, "SAME")


def _windows(x: Any) -> Any:
    """Attend within windows of 8x8 that are shifted by 4 (Swin)."""
    rows = ops.reshape(ops.roll(x, (-4, -4), axis=(1, 2)), (-1, 4, 8, 6, 8, 16))
    tokens = ops.reshape(ops.transpose(rows, (0, 1, 3, 2, 4, 5)), (-1, 64, 16))
    attended = layers.MultiHeadAttention(2, 8)(tokens, tokens)
    back = ops.transpose(ops.reshape(attended, (-1, 4, 6, 8, 8, 16)), (0, 1, 3, 2, 4, 5))
    return x + ops.roll(ops.reshape(back, (-1, 32, 48, 16)), (4, 4), axis=(1, 2))


def _reduced_attention(x: Any) -> Any:
    """Attend from every pixel to a map reduced by 4 (SegFormer)."""
    reduced = ops.reshape(layers.Conv2D(16, 4, strides=4)(x), (-1, 8 * 12, 16))
    pixels = ops.reshape(x, (-1, 32 * 48, 16))
    attended = layers.MultiHeadAttention(2, 8)(pixels, layers.LayerNormalization()(reduced))
    return x + ops.reshape(attended, (-1, 32, 48, 16))


def _object_context(x: Any) -> Any:
    """Gather the features of soft regions and give them back to the pixels (OCR)."""
    pixels = ops.reshape(x, (-1, 32 * 48, 16))
    regions = ops.softmax(ops.reshape(_conv(5, 1)(x), (-1, 32 * 48, 5)), axis=1)
    features = ops.matmul(ops.transpose(regions, (0, 2, 1)), pixels)
    weights = ops.softmax(ops.matmul(pixels, ops.transpose(features, (0, 2, 1))), axis=-1)
    return ops.concatenate([x, ops.reshape(ops.matmul(weights, features), (-1, 32, 48, 16))], -1)


def _attention_gate(x: Any) -> Any:
    return x * layers.Activation("sigmoid")(_conv(1, 1)(layers.ReLU()(_conv(8, 1)(x) + _conv(8, 1)(x))))


_ATTENTION: dict[str, Construct] = {
    "attention with reduced keys (SegFormer)": _reduced_attention,
    "shifted windows (Swin)": _windows,
    "object context (OCRNet)": _object_context,
    "attention gate (Attention U-Net)": _attention_gate,
    "channel and spatial attention (CBAM)": lambda x: (
        x
        * layers.Conv2D(1, 7, padding="same", activation="sigmoid")(
            ops.concatenate([ops.mean(x, -1, keepdims=True), ops.max(x, -1, keepdims=True)], -1)
        )
    ),
    "einsum over pixels": lambda x: ops.einsum("bhwc,bhwd,bhwd->bhwc", x, x, _conv(16, 1)(x)),
    "patches as tokens (extract_patches)": lambda x: layers.Dense(16)(ops.image.extract_patches(x, 4)),
}

_INDEXING: dict[str, Construct] = {
    "argmax and one_hot inside": lambda x: ops.concatenate([x, ops.one_hot(ops.argmax(x, -1), 16)], -1),
    "strided slices x[:, ::2, ::2]": lambda x: x[:, ::2, ::2] + x[:, 1::2, 1::2],
    "channels reversed x[..., ::-1]": lambda x: _conv(16)(x[..., ::-1]),
    "take of channels": lambda x: ops.take(x, [3, 1, 2, 0, 5, 4], axis=-1),
    "where and comparison": lambda x: ops.where(x > 0.1, x, 0.3 * x * x),
    "top_k of the channels": lambda x: ops.top_k(x, 4)[0],
    "cumulative sum over rows": lambda x: ops.cumsum(x, axis=1) / 32,
    "standard deviation of a window": lambda x: ops.sqrt(ops.maximum(_mean(x * x) - _mean(x) * _mean(x), 1e-6)),
    "clip, power and log": lambda x: ops.log(1 + ops.clip(x, 0, 6) ** 1.5),
    "sine and cosine": lambda x: ops.concatenate([ops.sin(x), ops.cos(2 * x)], -1),
    "grid sample (gather_nd)": lambda x: _named(_flipped_by_gather, "FlipByGather")(x),
    "Fourier transform": lambda x: _named(
        lambda t: tf.math.real(tf.signal.ifft2d(tf.signal.fft2d(tf.cast(t, tf.complex64)))), "Fourier"
    )(x),
}


def _flipped_by_gather(t: Any) -> Any:
    places = np.mgrid[31:-1:-1, 0:48].transpose(1, 2, 0)[None].astype("int32")
    return tf.gather_nd(t, tf.tile(places, (tf.shape(t)[0], 1, 1, 1)), batch_dims=1)


def _mean(x: Any) -> Any:
    return ops.nn.average_pool(x, 3, 1, "same")


def _loop(t: Any) -> Any:
    return tf.while_loop(lambda i, v: i < 3, lambda i, v: (i + 1, tf.nn.relu(v - 0.05)), (tf.constant(0), t))[1]


def _shared(x: Any) -> Any:
    inputs = keras.Input((None, None, 16))
    inner = keras.Model(inputs, layers.ReLU()(_conv(16)(inputs)))
    return inner(x) + inner(-x)


class _Subclassed(keras.Model):  # type: ignore[misc]
    """A block as a subclassed model, which has no graph of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = _conv(16)
        self.norm = layers.BatchNormalization()

    def call(self, x: Any, training: bool = False) -> Any:
        return keras.activations.relu(self.norm(self.convolution(x), training=training)) + x


_WRITING: dict[str, Construct] = {
    "a nested model, called twice": _shared,
    "a subclassed model": lambda x: _Subclassed()(x),
    "tf.while_loop in a layer": lambda x: _named(_loop, "Loop")(x),
    "a Lambda (in memory)": lambda x: layers.Lambda(lambda t: t * tf.sigmoid(t))(x),
    "ConvLSTM over one frame": lambda x: layers.ConvLSTM2D(8, 3, padding="same")(ops.expand_dims(x, 1)),
    "GRU over rows (ReSeg)": lambda x: ops.reshape(
        layers.GRU(8, return_sequences=True)(ops.reshape(x, (-1, 48, 16))), (-1, 32, 48, 8)
    ),
    "dropout, noise and stochastic depth": lambda x: layers.GaussianNoise(0.1)(layers.SpatialDropout2D(0.3)(x)),
    "mixed precision": lambda x: layers.Conv2D(16, 3, padding="same", dtype="mixed_float16")(x),
}
