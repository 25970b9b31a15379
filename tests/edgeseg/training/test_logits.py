"""``edgeseg.models.ending`` as well: what training removes from the end of a model is what an export finds there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from edgeseg.errors import UnsupportedModel
from edgeseg.models.ending import final_activation, steps_of
from edgeseg.training import logits as training_logits
from edgeseg.training.logits import logits_clone, require_logits
from edgeseg_converters.keras_model.graph import Graph

SIZE = (8, 12)
IMAGE = np.random.default_rng(0).normal(size=(2, *SIZE, 3)).astype(np.float32)


class OwnSoftmax(layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        return tf.cast(tf.nn.softmax(x), tf.float32)


class OwnHead(layers.Layer):  # type: ignore[misc]
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scores = layers.Conv2D(3, 1)

    def call(self, x: Any) -> Any:
        return tf.nn.softmax(self.scores(x))


def scores(x: Any, activation: Any = None) -> Any:
    return layers.Conv2D(3, 1, activation=activation)(x)


def nested(x: Any) -> Any:
    inner = keras.Input(x.shape[1:])
    return keras.Model(inner, ops.softmax(scores(inner)))(x)


def in_rows(x: Any) -> Any:
    return layers.Reshape((*SIZE, 3))(layers.Softmax()(layers.Reshape((-1, 3))(scores(x))))


ENDINGS: dict[str, tuple[Callable[[Any], Any], list[str]]] = {
    "keras.ops.softmax": (lambda x: ops.softmax(scores(x)), ["softmax"]),
    "keras.ops.sigmoid": (lambda x: ops.sigmoid(scores(x)), ["sigmoid"]),
    "keras.ops.log_softmax": (lambda x: ops.log_softmax(scores(x)), ["log_softmax"]),
    "a layer of one's own": (lambda x: OwnSoftmax()(scores(x)), ["softmax"]),
    "before a linear": (lambda x: layers.Activation("linear", dtype="float32")(scores(x, "softmax")), ["softmax"]),
    "before a cast": (lambda x: ops.cast(layers.Softmax()(scores(x)), "float32"), ["softmax"]),
    "before a Dropout": (lambda x: layers.Dropout(0.1)(scores(x, "sigmoid")), ["sigmoid"]),
    "over rows of pixels": (in_rows, ["softmax"]),
    "before a nearest enlargement": (
        lambda x: layers.Cropping2D(((0, 8), (0, 12)))(layers.UpSampling2D(2)(scores(x, "softmax"))),
        ["softmax"],
    ),
    "in a nested model": (nested, ["softmax"]),
    "twice": (lambda x: ops.softmax(layers.Softmax()(scores(x))), ["softmax", "softmax"]),
}


def model_of(end: Callable[[Any], Any]) -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    return keras.Model(inputs, end(layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)), name="own")


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_activation_at_the_end_is_removed_however_it_is_written_and_an_export_finds_the_same(
    ending: str, tmp_path: Path
) -> None:
    build, names = ENDINGS[ending]
    model = model_of(build)
    made = logits_clone(model)
    require_logits("own", made)
    again = keras.ops.convert_to_tensor(made(IMAGE, training=False))
    assert float(ops.max(again)) > 1 or float(ops.min(again)) < 0
    made.save(tmp_path / "own.keras")
    # Without custom objects: what was in code is gone.
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "own.keras")(IMAGE, training=False), again)
    for name in names:
        again = keras.activations.get(name)(again)
    # The same activations of the same float32 numbers: a few ulp of values below 10.
    np.testing.assert_allclose(again, model(IMAGE, training=False), atol=1e-5)
    # An export finds the same.
    graph = Graph.from_model(model)
    ours = final_activation(model.outputs[0], steps_of(model))
    theirs = final_activation(graph.outputs[0], graph.producer)
    assert ours is not None and theirs is not None
    assert (ours.name, ours.step.operation) == (theirs.name, theirs.step.operation) == (names[-1], ours.step.operation)


def test_a_rounding_after_the_softmax_is_a_step_of_its_own() -> None:
    """In float16 more classes are equally likely, and the first of them is taken."""
    model = model_of(lambda x: ops.cast(ops.softmax(scores(x)), "float16"))
    assert final_activation(model.outputs[0], steps_of(model)) is None


def test_every_output_is_given_as_logits() -> None:
    def ends(x: Any) -> Any:
        return {"main": ops.softmax(scores(x)), "half": scores(layers.MaxPooling2D()(x), "softmax"), "edge": scores(x)}

    model = model_of(ends)
    made = logits_clone(model)
    got, expected = made(IMAGE), model(IMAGE)
    assert set(got) == set(expected)
    for name in ("main", "half"):
        np.testing.assert_allclose(ops.softmax(got[name]), expected[name], atol=1e-6)
    np.testing.assert_allclose(got["edge"], expected["edge"], atol=1e-6)


def test_a_subclass_with_layers_in_another_order_starts_from_its_own_logits(permuted_class: type) -> None:
    model, logits = permuted_class(activation="softmax"), permuted_class()
    image = np.random.default_rng(0).normal(size=(1, 16, 24, 3)).astype(np.float32)
    # The same layers on the same float32 numbers; weights that are swapped differ by the size of the logits.
    np.testing.assert_allclose(logits_clone(model)(image), logits(image), atol=1e-4)


def shared_head(x: Any) -> Any:
    head = layers.Conv2D(3, 1, activation="softmax", name="head")
    return head(layers.Conv2D(4, 3, padding="same")(head(x)))


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (
            lambda x: OwnHead(name="theirs")(x),
            r"ends in a softmax in the code of 'theirs' \(OwnHead\).*layer of its own",
        ),
        (lambda x: scores(x, lambda y: ops.softmax(2 * y)), r"ends in a softmax in the code of 'conv2d.*\(Conv2D\)"),
        (shared_head, "ends in the softmax of 'head', which it calls in another place too"),
    ],
    ids=["with a convolution", "with a temperature", "shared"],
)
def test_an_activation_that_cannot_be_removed_is_refused(end: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(UnsupportedModel, match=message) as caught:
        logits_clone(model_of(end))
    assert "\n" not in str(caught.value)


def by_sums(x: Any) -> Any:
    powers = ops.exp(scores(x))
    return powers / ops.sum(powers, -1, keepdims=True)


@pytest.mark.parametrize(
    ("end", "name"),
    [
        (by_sums, "softmax"),
        (lambda x: layers.UpSampling2D(2, interpolation="bilinear")(scores(x, "softmax")), "softmax"),
        (lambda x: layers.UpSampling2D(2, interpolation="bilinear")(scores(x, "sigmoid")), "sigmoid"),
        (lambda x: ops.tanh(scores(x)) / 2 + 0.5, "sigmoid"),
    ],
    ids=["by exp and sum", "a resized softmax", "a resized sigmoid", "by tanh"],
)
def test_probabilities_that_stay_are_refused(end: Callable[[Any], Any], name: str) -> None:
    with pytest.raises(UnsupportedModel, match=f"'own' has a {name} inside, the loss takes logits"):
        require_logits("own", logits_clone(model_of(end)))


def test_logits_that_are_small_before_training_are_taken() -> None:
    bias = keras.initializers.Constant(0.3)
    require_logits("own", model_of(layers.Conv2D(2, 1, kernel_initializer="zeros", bias_initializer=bias)))


@pytest.mark.parametrize(
    "ending", ["keras.ops.softmax", "before a linear", "before a Dropout", "twice", "over rows of pixels"]
)
def test_on_another_backend_the_layers_of_keras_are_known_by_their_classes(
    ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(ENDINGS[ending][0])
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert training_logits.Endings.of(model).names == {0: ENDINGS[ending][1]}
