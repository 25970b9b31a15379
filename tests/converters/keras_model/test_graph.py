from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from edgeseg.errors import UnsupportedModel
from edgeseg.models import create
from edgeseg.models.zoo.table import ZOO
from edgeseg_converters.keras_model.graph import Graph, run


def same_variables(a: keras.Model, b: keras.Model) -> bool:
    return {id(v) for v in a.variables} == {id(v) for v in b.variables}


def outputs_equal(a: keras.Model, b: keras.Model) -> bool:
    shape = [2 if side is None else side for side in a.input_shape]
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return all(np.array_equal(u, v) for u, v in zip(*map(keras.tree.flatten, (a(x), b(x))), strict=True))


@pytest.mark.parametrize("name", ["unet_mini", "segnet", "efficientnet_lite0_unet"])
def test_there_and_back_is_the_same_model(name: str) -> None:
    model = create(name, num_classes=3, input_size=(32, 64))
    again = Graph.from_model(model).to_model()
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    assert again.name == model.name
    assert same_variables(again, model)
    assert outputs_equal(again, model)


def test_the_model_it_was_read_from_stays_as_it_is() -> None:
    model = create("unet_mini", num_classes=3, input_size=(32, 32))
    before = [(layer, len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in model.layers]
    Graph.from_model(model).to_model()
    assert before == [(layer, len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in model.layers]
    assert model.layers[1].output is not None  # raises for a layer with two places


def test_nested_models_are_flattened_and_equal_names_told_apart() -> None:
    inner_input = keras.Input((8, 8, 4))
    inner = keras.Model(inner_input, layers.Conv2D(4, 3, padding="same", name="conv")(inner_input), name="inner")
    sequential = keras.Sequential([keras.Input((8, 8, 4)), layers.Conv2D(4, 1, name="last")], name="tail")
    inputs = keras.Input((8, 8, 4))
    model = keras.Model(inputs, sequential(inner(layers.Conv2D(4, 1, name="conv")(inputs))), name="outer")

    again = Graph.from_model(model).to_model()
    assert [layer.name for layer in again.layers[1:]] == ["conv", "inner.conv", "last"]
    assert outputs_equal(again, model)


def test_a_nested_layer_with_the_name_of_the_outer_input_gets_another() -> None:
    inner_input = keras.Input((8, 8, 4))
    inner = keras.Model(inner_input, layers.Conv2D(4, 3, padding="same", name="image")(inner_input), name="inner")
    inputs = keras.Input((8, 8, 4), name="image")
    model = keras.Model(inputs, inner(inputs))

    again = Graph.from_model(model).to_model()
    assert [layer.name for layer in again.layers] == ["image", "inner.image"]
    assert outputs_equal(again, model)


def test_a_shared_layer_and_a_shared_model_stay_shared() -> None:
    inner_input = keras.Input((8, 8, 4))
    inner = keras.Model(inner_input, layers.Conv2D(4, 3, padding="same", name="shared")(inner_input))
    twice = layers.Conv2D(4, 1, name="twice")
    inputs = keras.Input((8, 8, 4))
    model = keras.Model(inputs, inner(twice(inner(twice(inputs)))))

    again = Graph.from_model(model).to_model()
    assert [layer.name for layer in again.layers[1:]] == ["twice", "shared"]
    assert same_variables(again, model)
    assert outputs_equal(again, model)


def test_operations_keyword_arguments_and_several_outputs_are_kept() -> None:
    inputs = keras.Input((8, 8, 4))
    left, right = ops.split(inputs, 2, axis=-1)
    attention = layers.MultiHeadAttention(1, 2, name="attention")
    joined = attention(query=ops.reshape(left, (-1, 64, 2)), value=ops.reshape(right, (-1, 64, 2)))
    model = keras.Model(inputs, {"a": joined, "b": left + 2.0 * right})

    again = Graph.from_model(model).to_model()
    assert set(again.output) == {"a", "b"}
    assert outputs_equal(again, model)


def test_nodes_run_on_tensors() -> None:
    model = create("unet_mini", num_classes=3, input_size=(16, 16))
    graph = Graph.from_model(model)
    x = np.random.default_rng(0).normal(size=(1, 16, 16, 3)).astype(np.float32)
    values = run(graph.nodes, {graph.inputs[0]: keras.ops.convert_to_tensor(x)})
    np.testing.assert_array_equal(values[graph.outputs[0]], model(x))


def test_producers_users_and_the_boundary_of_a_part() -> None:
    graph = Graph.from_model(create("unet_mini", num_classes=3, input_size=(16, 16)))
    first, *_, last = graph.nodes
    assert graph.producer(graph.inputs[0]) is None
    assert graph.users(graph.inputs[0]) == [first]
    assert graph.producer(graph.outputs[0]) is last
    assert graph.boundary([first]) == (graph.inputs, first.outputs)
    assert graph.boundary(graph.nodes) == (graph.inputs, graph.outputs)


def test_a_subclassed_model_is_refused() -> None:
    class Subclassed(keras.Model):  # type: ignore[misc]
        def call(self, x: object) -> object:
            return x

    with pytest.raises(UnsupportedModel, match=r"subclassed or unbuilt model.*build it with keras\.Model"):
        Graph.from_model(Subclassed(name="mine"))


def test_operations_are_those_of_the_filters() -> None:
    inputs = keras.Input((16, 24, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(inputs)  # 8 x 12 pixels
    x = keras.layers.DepthwiseConv2D(5, padding="same")(x)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Conv2DTranspose(4, 2, strides=2)(x)  # of 8 x 12 pixels
    graph = Graph.from_model(keras.Model(inputs, x))
    assert graph.operations() == 2 * 8 * 12 * (3 * 3 * 3 * 8 + 5 * 5 * 8 + 2 * 2 * 8 * 4)


@pytest.mark.parametrize("name", ["unet_mini", "efficientnet_lite0_unet"])
def test_operations_of_the_zoo_are_about_those_of_its_table(name: str) -> None:
    graph = Graph.from_model(create(name, num_classes=21))
    # The table has those of additions, normalizations and resizes too, which are few.
    assert 0.85 < graph.operations() / (ZOO[name].gflops * 1e9) < 1.05
