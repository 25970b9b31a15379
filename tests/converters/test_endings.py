"""Models that end in something else than logits or a last activation: their classes and scores are still their own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from keras import layers

from edgeseg.choices import Format, OutputKind
from edgeseg.errors import InputError, UnsupportedModel
from edgeseg.runtime import open_artifact
from edgeseg.spec import ModelSpec, default_class_names, default_palette
from edgeseg_converters import ExportResult, Recipe, export, export_all
from edgeseg_converters.images import Samples
from edgeseg_converters.keras_model.output_head import Head
from edgeseg_converters.keras_model.prepare import PreparedModel
from edgeseg_converters.options import ExportOptions
from edgeseg_converters.verification.comparison import of_one_kind

SIZE = (16, 24)
IMAGES = Samples(tuple(np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3), np.uint8)), "white noise")
# As the default spec feeds the first of them.
IMAGE = (IMAGES.images[0][None].astype(np.float32) - 127.5) / 127.5
SPECS = {
    count: ModelSpec(
        name="own", input_size=SIZE, class_names=default_class_names(count), palette=default_palette(count)
    )
    for count in (2, 3)
}
both_formats = pytest.mark.parametrize("file_format", ["tflite", "onnx"])


def model_of(end: Callable[[Any], Any], name: str = "own") -> keras.Model:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((*SIZE, 3))
    return keras.Model(inputs, end(inputs), name=name)


def proven(model: keras.Model, file_format: Format, output_kind: OutputKind = "argmax") -> ExportResult:
    spec = SPECS[max(model.output_shape[-1], 2)]
    (result,) = export_all(
        model, spec, [Recipe(file_format, "fp32")], samples=IMAGES, options=ExportOptions(output_kind=output_kind)
    )
    assert result.verification is not None
    assert result.verification.passed, result.verification.reason
    return result


def answer(result: ExportResult, image: Any = IMAGE) -> Any:
    backend = open_artifact(result.data, result.recipe.format)
    try:
        return np.array(backend.run(image))
    finally:
        backend.close()


def head_of(model: keras.Model, output_kind: OutputKind = "argmax") -> Head:
    spec = SPECS[max(model.output_shape[-1], 2)]
    return PreparedModel.of(model, spec.replace(output_kind=output_kind), samples=IMAGES).head


def enlarged(channels: int, activation: str | None) -> Callable[[Any], Any]:
    def end(x: Any) -> Any:
        x = layers.Conv2D(channels, 3, strides=2, padding="same", activation=activation)(x)
        return layers.UpSampling2D(2, interpolation="bilinear")(x)

    return end


@pytest.mark.parametrize("activation", ["sigmoid", "hard_sigmoid"])
@both_formats
def test_an_enlarged_probability_is_foreground_above_one_half(file_format: Format, activation: str) -> None:
    model = model_of(enlarged(1, activation))
    foreground = model.predict_on_batch(IMAGE)[..., 0] > 0.5
    assert 0.1 < foreground.mean() < 0.9  # all of it is above 0
    np.testing.assert_array_equal(answer(proven(model, file_format)), foreground)


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_a_single_channel_becomes_integers(activation: str | None, tmp_path: Path) -> None:
    for index, image in enumerate(np.random.default_rng(1).integers(0, 256, (8, *SIZE, 3), np.uint8)):
        cv2.imwrite(str(tmp_path / f"{index}.png"), image)
    model = model_of(enlarged(1, activation))
    result = export(model, precision="int8", spec=SPECS[2], data=tmp_path, verify=False)
    output = model.predict_on_batch(IMAGE)[..., 0] - (0.5 if activation else 0)
    differs = answer(result, IMAGES.images[0][None]) != (output > 0)
    # Both activations are rounded to 1/255 of their ranges, as the pixels were before: a few steps at the end.
    assert np.abs(output[differs]).max(initial=0) < 8 / 255 * np.ptp(output)


@both_formats
def test_scores_of_an_enlarged_softmax_are_the_models_own(file_format: Format) -> None:
    model = model_of(enlarged(3, "softmax"))
    expected = model.predict_on_batch(IMAGE)
    # The same float32 ops in another library: a few ulp of values below 1.
    np.testing.assert_allclose(answer(proven(model, file_format, "softmax")), expected, atol=1e-6)
    np.testing.assert_array_equal(answer(proven(model, file_format)), expected.argmax(-1))
    with pytest.raises(UnsupportedModel, match=r"no logits.*`output_kind='softmax'`"):
        proven(model, file_format, "logits")


def test_scores_of_an_enlarged_sigmoid_are_both_classes() -> None:
    model = model_of(enlarged(1, "sigmoid"))
    expected = model.predict_on_batch(IMAGE)
    np.testing.assert_allclose(
        answer(proven(model, "onnx", "softmax")), np.concatenate([1 - expected, expected], -1), atol=1e-6
    )


def test_sigmoids_of_several_classes_have_no_softmax_behind_a_resize_either() -> None:
    with pytest.raises(UnsupportedModel, match=r"do not sum to 1.*ask for argmax"):
        head_of(model_of(enlarged(3, "sigmoid")), "softmax")


class Cumulative(layers.Layer):  # type: ignore[misc]
    """Of a normal distribution: a probability by an op that nothing is known of."""

    def call(self, x: Any) -> Any:
        return 0.5 * (1 + tf.math.erf(x))


class OwnSoftmax(layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        powers = tf.exp(x)
        return powers / tf.reduce_sum(powers, axis=-1, keepdims=True)


@pytest.mark.parametrize(
    ("layer", "channels", "kind", "said"),
    [
        (Cumulative(), 1, "argmax", "lie in [0, 1]: they are taken as probabilities, with the foreground above 0.5"),
        (OwnSoftmax(), 3, "softmax", "lie in [0, 1] and sum to 1: they are taken as the probabilities of a softmax"),
    ],
)
def test_what_is_not_recognized_is_told_by_its_values_and_said(
    layer: Any, channels: int, kind: OutputKind, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = model_of(lambda x: layer(layers.Conv2D(channels, 1)(x)))
    with caplog.at_level(logging.WARNING):
        head = head_of(model, kind)
    assert head.probabilities
    (record,) = caplog.records
    assert record.getMessage() == f"'own' ends in ops that are not recognized; its values on white noise {said}"
    if channels == 1:
        output = model.predict_on_batch(IMAGE)
        np.testing.assert_array_equal(head.class_map(output), output[..., 0] > 0.5)


def test_logits_are_never_judged_by_their_values(caplog: pytest.LogCaptureFixture) -> None:
    model = model_of(layers.Conv2D(1, 1, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(0.3)))
    assert not head_of(model).probabilities
    assert not caplog.records


def test_bytes_are_neither_logits_nor_probabilities() -> None:
    with pytest.raises(UnsupportedModel, match=r"never negative and goes up to \d+.*end it in a sigmoid"):
        head_of(model_of(lambda x: 255 * layers.Conv2D(1, 1, activation="sigmoid")(x)))


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis -1")
def test_a_softmax_over_one_channel_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match=r"softmax over one channel.*a model of one channel ends in a sigmoid"):
        head_of(model_of(layers.Conv2D(1, 1, activation="softmax")))


@both_formats
def test_a_final_log_softmax_is_taken_off(file_format: Format) -> None:
    model = model_of(layers.Conv2D(3, 3, padding="same", activation="log_softmax"))
    np.testing.assert_array_equal(answer(proven(model, file_format)), model.predict_on_batch(IMAGE).argmax(-1))


class Chosen(layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        return tf.one_hot(tf.argmax(x, axis=-1), 4)


@both_formats
def test_an_argmax_inside_is_not_taken_for_the_last(file_format: Format) -> None:
    model = model_of(lambda x: layers.Conv2D(3, 3, padding="same")(Chosen()(layers.Conv2D(4, 3, padding="same")(x))))
    np.testing.assert_array_equal(answer(proven(model, file_format)), model.predict_on_batch(IMAGE).argmax(-1))


def test_class_ids_as_one_hot_are_refused_too() -> None:
    model = model_of(lambda x: keras.ops.one_hot(keras.ops.argmax(layers.Conv2D(3, 1)(x), axis=-1), 3))
    with pytest.raises(UnsupportedModel, match=r"gives class ids.*remove the argmax"):
        export(model, verify=False)


@pytest.mark.parametrize("dtype", ["int32", "float32"])
@pytest.mark.parametrize("keepdims", [True, False])
def test_a_model_of_class_ids_is_refused(dtype: str, keepdims: bool) -> None:
    def end(x: Any) -> Any:
        return keras.ops.cast(keras.ops.argmax(layers.Conv2D(3, 1)(x), axis=-1, keepdims=keepdims), dtype)

    with pytest.raises(UnsupportedModel, match=r"gives class ids.*remove the argmax") as caught:
        export(model_of(end), spec=SPECS[2], verify=False)
    assert "\n" not in str(caught.value)


def test_a_binary_model_asks_for_two_names() -> None:
    spec = ModelSpec(name="own", input_size=SIZE, class_names=("foreground",), palette=default_palette(1))
    with pytest.raises(InputError, match="two class names, the background's first, got 1"):
        export(model_of(layers.Conv2D(1, 1)), spec=spec, verify=False)


def test_a_reference_of_one_class_is_said(caplog: pytest.LogCaptureFixture) -> None:
    model = model_of(layers.Conv2D(2, 1, bias_initializer=lambda *_, **__: np.array([9.0, 0.0])))
    with caplog.at_level(logging.WARNING):
        proven(model, "onnx")
    (record,) = caplog.records
    assert "gives every pixel of white noise the class 'class_0'" in record.getMessage()


def test_a_head_that_two_maps_share_is_cut_at_the_last_only() -> None:
    head = layers.Conv2D(3, 1, activation="softmax", name="head")
    model = model_of(lambda x: head(layers.Conv2D(3, 3, padding="same")(head(x))))
    proven(model, "onnx")
    cut = head_of(model).model
    probabilities = keras.ops.softmax(cut.predict_on_batch(IMAGE))
    # The same softmax of the same float32 numbers: a few ulp of values below 1.
    np.testing.assert_allclose(probabilities, model.predict_on_batch(IMAGE), atol=1e-6)
    assert head.activation is keras.activations.softmax


class Recast(layers.Layer):  # type: ignore[misc]
    """A softmax and what follows it, in one layer's code, with a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = layers.Conv2D(3, 1)

    def call(self, x: Any) -> Any:
        return tf.reshape(tf.cast(tf.nn.softmax(self.scores(x)), tf.float32), (-1, *SIZE, 3))


class InFunction(layers.Layer):  # type: ignore[misc]
    @tf.function
    def _softmax(self, x: Any) -> Any:
        return tf.nn.softmax(x)

    def call(self, x: Any) -> Any:
        return self._softmax(x)


def scores(x: Any, activation: str | None = None, channels: int = 3) -> Any:
    return layers.Conv2D(channels, 3, padding="same", activation=activation)(x)


def nested_and_repeated(x: Any) -> Any:
    inner = keras.Input(x.shape[1:])
    smaller = keras.Model(inner, layers.Conv2D(3, 2, strides=2, activation="softmax")(inner))(x)
    return layers.UpSampling2D(2)(smaller)


# What is computed, the activation that is found, and whether it is removed.
FOLLOWED: dict[str, tuple[Callable[[Any], Any], str | None]] = {
    "a linear": (lambda x: layers.Activation("linear", dtype="float32")(scores(x, "softmax")), "softmax"),
    "a cast": (lambda x: keras.ops.cast(layers.Softmax()(scores(x)), "float32"), "softmax"),
    "a Dropout": (lambda x: layers.Dropout(0.1)(scores(x, "softmax")), "softmax"),
    "another softmax": (lambda x: layers.Softmax()(scores(x, "softmax")), "softmax"),
    "a softmax of a sigmoid": (lambda x: layers.Softmax()(scores(x, "sigmoid")), "softmax"),
    "rows of pixels and back": (
        lambda x: keras.ops.reshape(keras.ops.reshape(scores(x, "softmax"), (-1, 16 * 24, 3)), (-1, *SIZE, 3)),
        "softmax",
    ),
    "a repetition": (nested_and_repeated, "softmax"),
    "a log_softmax and a cast": (lambda x: keras.ops.cast(scores(x, "log_softmax"), "float32"), "log_softmax"),
    "code of one layer": (lambda x: Recast()(x), "softmax"),
    "one channel, squeezed and expanded": (
        lambda x: keras.ops.expand_dims(keras.ops.squeeze(scores(x, "sigmoid", 1), -1), -1),
        "sigmoid",
    ),
    "one channel, reshaped": (
        lambda x: layers.Reshape((*SIZE, 1))(layers.Flatten()(scores(x, "sigmoid", 1))),
        "sigmoid",
    ),
    # Kept, so that probabilities are compared with probabilities.
    "a linear layer": (lambda x: scores(scores(x, "log_softmax")), None),
    "a concatenation": (
        lambda x: layers.Concatenate(axis=1)([scores(x, "softmax")[:, :8], scores(x, "softmax")[:, 8:]]),
        None,
    ),
    "a tf.function around it": (lambda x: InFunction()(scores(x)), None),
    "exp and sum": (lambda x: OwnSoftmax()(scores(x)), None),
}  # fmt: skip


@pytest.mark.parametrize("ending", FOLLOWED)
def test_what_follows_an_activation_does_not_reject_the_file(ending: str) -> None:
    build, activation = FOLLOWED[ending]
    model = model_of(build)
    output = model.predict_on_batch(IMAGE)
    expected = output.argmax(-1) if output.shape[-1] > 1 else output[..., 0] > 0.5
    recipes = [Recipe("tflite", "fp32"), Recipe("onnx", "fp32")]
    for result in export_all(model, SPECS[max(output.shape[-1], 2)], recipes, samples=IMAGES):
        assert result.verification is not None
        assert result.verification.passed, result.verification.reason
        # Where two classes are equally likely in float32, the logits may still differ.
        assert np.mean(answer(result) == expected) > 0.999
    assert head_of(model).activation == activation
    if activation is not None:
        operators = {node.op_type for node in onnx.load_from_string(result.data).graph.node}
        assert not {"Softmax", "Sigmoid", "LogSoftmax"} & operators


@pytest.mark.parametrize("ending", ["a linear", "another softmax", "rows of pixels and back"])
def test_scores_of_a_softmax_that_something_follows_are_the_models_own(ending: str) -> None:
    model = model_of(FOLLOWED[ending][0])
    # The same float32 ops in another library: a few ulp of values below 1.
    np.testing.assert_allclose(answer(proven(model, "onnx", "softmax")), model.predict_on_batch(IMAGE), atol=1e-6)


def test_a_wrong_artifact_of_probabilities_is_still_rejected() -> None:
    """What the converter omits is put back before the comparison, which then sees another temperature."""
    probabilities = np.float32([[[[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]]])
    np.testing.assert_allclose(of_one_kind(np.log(probabilities) + 3, probabilities), probabilities, atol=1e-6)
    assert np.abs(of_one_kind(2 * np.log(probabilities), probabilities) - probabilities).max() > 0.1
    logits = np.float32([[[[3, -2, 1], [0, 5, 1]]]])
    assert of_one_kind(logits + 1, logits) is not logits and np.all(of_one_kind(logits + 1, logits) == logits + 1)
