"""Models in mixed precision are exported as float32 ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from keras import layers

from edgeseg.errors import UnsupportedModel
from edgeseg.models.layers import UpsampleLike
from edgeseg.models.opening import assumed_spec
from edgeseg_converters import Recipe, export_all
from edgeseg_converters.images import Samples
from edgeseg_converters.keras_model.prepare import PreparedModel
from edgeseg_converters.options import ExportOptions

SIZE = (16, 24)
IMAGES = Samples((np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8),), "white noise")
policies = pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])


@pytest.fixture(autouse=True)
def own_policy() -> Iterator[None]:
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


class Pair(layers.Layer):  # type: ignore[misc]
    """A layer made of layers, which take the policy that is set where they are made."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.first, self.second = layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization()

    def call(self, x: Any) -> Any:
        return self.second(self.first(x))


def mixed(policy: str) -> keras.Model:
    """A nested model, a layer made of layers, a wrapper and a layer that a rewrite replaces; the policy stays set."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    inner = keras.Input((*SIZE, 3))
    x = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[0.3, 0.2, 0.1])(inner)
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, strides=2, padding="same")(x))
    stem = keras.Model(inner, layers.ReLU()(x), name="stem")
    inputs = keras.Input((*SIZE, 3))
    x = layers.TimeDistributed(layers.Dense(4))(Pair(name="pair")(stem(inputs)))
    x = UpsampleLike()([keras.ops.relu(x), inputs])
    return keras.Model(inputs, layers.Conv2D(3, 1, activation="softmax", name="scores")(x), name="mixed")


@policies
def test_a_mixed_model_is_proven_in_both_formats(policy: str) -> None:
    model = mixed(policy)
    before = [(layer.compute_dtype, len(layer._inbound_nodes)) for layer in model._flatten_layers()]
    recipes = [Recipe("tflite", "fp32"), Recipe("onnx", "fp32")]
    results = list(
        export_all(
            model, assumed_spec("own", SIZE, 3), recipes, samples=IMAGES, options=ExportOptions(output_kind="logits")
        )
    )
    for result in results:
        assert result.verification is not None and result.verification.passed, result.failure
        assert result.spec.provenance.rewrites[0] == ("UpsampleLikeToNearestResize", 1)
    graph = onnx.load_from_string(results[1].data).graph
    assert {tensor.type.tensor_type.elem_type for tensor in (*graph.input, *graph.output)} == {onnx.TensorProto.FLOAT}
    assert not {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16} & {w.data_type for w in graph.initializer}
    assert [(layer.compute_dtype, len(layer._inbound_nodes)) for layer in model._flatten_layers()] == before
    assert keras.config.dtype_policy().name == policy


@policies
def test_a_mixed_model_is_itself_but_for_its_rounding(policy: str) -> None:
    model = mixed(policy)
    made = PreparedModel.of(model).model
    keras.config.set_dtype_policy("float32")
    exact = mixed("float32")  # the same seed, the same weights
    image = np.random.default_rng(0).normal(size=(1, *SIZE, 3)).astype(np.float32)
    # The same float32 numbers through the same layers; float16 would be off by 1e-3.
    np.testing.assert_allclose(made(image), exact(image), atol=1e-6)
    # Shares of a softmax: bfloat16 has 8 bits, and the sum of some roundings on the way is below 0.05.
    np.testing.assert_allclose(made(image), np.asarray(model(image)).astype(np.float32), atol=0.05)


def test_a_layer_around_a_subclass_with_layers_in_another_order_is_itself(permuted_class: type) -> None:
    class Around(layers.Layer):  # type: ignore[misc]
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.inner = permuted_class((*SIZE, 3))

        def call(self, x: Any) -> Any:
            return self.inner(x)

    inputs = keras.Input((*SIZE, 3))
    image = np.random.default_rng(0).normal(size=(1, *SIZE, 3)).astype(np.float32)
    keras.config.set_dtype_policy("mixed_float16")
    made = PreparedModel.of(keras.Model(inputs, Around()(inputs))).model
    keras.config.set_dtype_policy("float32")
    # The same float32 numbers through the same layers; weights that are swapped differ by the size of the logits.
    np.testing.assert_allclose(made(image), permuted_class((*SIZE, 3))(image), atol=1e-4)


def test_a_float32_model_is_left_alone() -> None:
    model = mixed("float32")
    assert PreparedModel.of(model).model is model


def test_a_layer_that_does_not_know_its_config_is_named_in_one_line() -> None:
    class NoConfig(Pair):
        def __init__(self, width: int) -> None:
            super().__init__(name="theirs")

    keras.config.set_dtype_policy("mixed_float16")
    inputs = keras.Input((*SIZE, 3))
    model = keras.Model(inputs, NoConfig(4)(inputs))
    with pytest.raises(
        UnsupportedModel, match=r"'theirs' \(NoConfig\) computes in float16 and cannot be rebuilt"
    ) as caught:
        PreparedModel.of(model)
    assert "\n" not in str(caught.value)
