"""Tiny TFLite models whose nodes are known, made by TensorFlow's own converter."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np
import pytest
import tensorflow as tf

Layer = Callable[[keras.KerasTensor], keras.KerasTensor]


class _Nearest(keras.layers.Layer):  # type: ignore[misc]
    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.compat.v1.image.resize_nearest_neighbor(x, (32, 32))


class _ArgMax(keras.layers.Layer):  # type: ignore[misc]
    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.argmax(x, -1, output_type=tf.int32), tf.uint8)


class _Broadcast(keras.layers.Layer):  # type: ignore[misc]
    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.broadcast_to(tf.reduce_mean(x, (1, 2), keepdims=True), (1, 16, 16, x.shape[-1]))


def _convert(layers: Sequence[Layer], *, fp16: bool = False, int8: bool = False) -> bytes:
    keras.utils.set_random_seed(0)
    inputs = x = keras.Input((16, 16, 3), batch_size=1)
    for layer in layers:
        x = layer(x)
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(inputs, x))
    if fp16 or int8:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if fp16:
        converter.target_spec.supported_types = [tf.float16]
    if int8:
        images = np.random.default_rng(0).random((4, 1, 16, 16, 3), np.float32)
        converter.representative_dataset = lambda: ([image] for image in images)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    data: bytes = converter.convert()
    return data


def _conv(filters: int) -> Layer:
    layer: Layer = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")
    return layer


@pytest.fixture(scope="session")
def argmax_model() -> bytes:
    """CONV_2D, CONV_2D, ARG_MAX, CAST."""
    return _convert([_conv(4), _conv(5), _ArgMax()])


@pytest.fixture(scope="session")
def nearest_model() -> bytes:
    """CONV_2D, RESIZE_NEAREST_NEIGHBOR, CONV_2D."""
    return _convert([_conv(4), _Nearest(), _conv(5)])


@pytest.fixture(scope="session")
def nearest_fp16_model() -> bytes:
    """The same with half-precision weights: a DEQUANTIZE for each of the four constants."""
    return _convert([_conv(4), _Nearest(), _conv(5)], fp16=True)


@pytest.fixture(scope="session")
def pool_int8_model() -> bytes:
    """QUANTIZE, CONV_2D, AVERAGE_POOL_2D, CONV_2D, DEQUANTIZE."""
    return _convert([_conv(4), keras.layers.AveragePooling2D(2), _conv(5)], int8=True)


@pytest.fixture(scope="session")
def broadcast_model() -> bytes:
    """CONV_2D, MEAN, BROADCAST_TO, CONV_2D."""
    return _convert([_conv(4), _Broadcast(), _conv(5)])


@pytest.fixture(scope="session")
def upsampling_model() -> bytes:
    """CONV_2D, the RESHAPE and TILE of five dimensions that Keras makes of a nearest UpSampling2D, CONV_2D."""
    return _convert([_conv(4), keras.layers.UpSampling2D(2), _conv(5)])
