"""The mechanism, with rules made for the test."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.errors import RewriteRefused
from edgeseg_converters.keras_model.graph import Graph, Node
from edgeseg_converters.rewrites import Rewrite, Site, rewrite
from edgeseg_converters.rewrites.base import Tensors, tied_values


class DoubleToAdd(Rewrite):
    """``Double(x)`` becomes ``x + x``, two layers in place of one."""

    layer_class = "Double"
    atol = 0.0

    def replacement(self, site: Site, tensors: Tensors) -> Tensors:
        (node,) = site.nodes
        x = layers.Identity()(tensors[node.inputs[0]])
        return {node.outputs[0]: layers.Add(name=node.name)([x, x])}


class ConvBeforeUpsampling(Rewrite):
    """A pattern of two nodes, ``UpSampling2D`` and the convolution that alone reads it."""

    layer_class = "UpSampling2D"
    atol = 1e-6

    def match(self, graph: Graph, node: Node) -> Site | None:
        users = graph.users(node.outputs[0]) if node.kind == self.layer_class else []
        return Site.of(graph, [node, *users]) if [user.kind for user in users] == ["Conv2D"] else None

    def check(self, site: Site) -> None:
        if site.nodes[1].operation.kernel_size != (1, 1):
            raise RewriteRefused("the kernel is not 1x1")

    def replacement(self, site: Site, tensors: Tensors) -> Tensors:
        up, conv = (node.operation for node in site.nodes)
        small_conv = layers.Conv2D(conv.filters, 1, name=conv.name)
        small = small_conv(tensors[site.inputs[0]])
        small_conv.set_weights(conv.get_weights())
        return {site.outputs[0]: layers.UpSampling2D(up.size, name=up.name)(small)}


@keras.saving.register_keras_serializable(package="test_rewrites")
class Double(layers.Layer):  # type: ignore[misc]
    def __init__(self, factor: float = 2.0, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x: object) -> object:
        return x * self.factor


def doubles(*factors: float) -> keras.Model:
    inputs = x = keras.Input((4, 4, 2))
    for index, factor in enumerate(factors):
        x = Double(factor, name=f"double_{index}")(x)
    return keras.Model(inputs, x)


def test_one_layer_becomes_several_and_the_proof_is_recorded() -> None:
    model = doubles(2.0, 2.0)
    result = rewrite(model, [DoubleToAdd()])
    assert [(a.rule, a.site, a.max_abs_error) for a in result.applied] == [
        ("DoubleToAdd", "double_0", 0.0),
        ("DoubleToAdd", "double_1", 0.0),
    ]
    assert result.counts() == (("DoubleToAdd", 2),)
    names = [layer.name for layer in result.model.layers[1:]]
    assert len(set(names)) == 4
    assert {"double_0", "double_1"} < set(names)
    x = tied_values((2, 4, 4, 2))
    np.testing.assert_array_equal(result.model(x), 4 * x)
    assert [type(layer).__name__ for layer in model.layers[1:]] == ["Double", "Double"]


def test_a_layer_that_does_something_else_under_the_name_stays_and_is_refused() -> None:
    result = rewrite(doubles(2.0, 3.0), [DoubleToAdd()])
    assert result.counts() == (("DoubleToAdd", 1),)
    (refused,) = result.refused
    assert refused.site == "double_1"
    assert "on random input (at most 0e+00); this Double does something else" in refused.reason
    np.testing.assert_array_equal(result.model(np.ones((1, 4, 4, 2))), np.full((1, 4, 4, 2), 6))


class DoubleToNan(DoubleToAdd):
    """What it puts there is NaN for every ``x``."""

    def replacement(self, site: Site, tensors: Tensors) -> Tensors:
        (node,) = site.nodes
        return {node.outputs[0]: keras.ops.sqrt(-1 - keras.ops.square(tensors[node.inputs[0]]))}


def test_nan_is_no_proof() -> None:
    """The largest of 0.0 and NaN is 0.0 to ``max``, so a replacement of nothing but NaN would pass."""
    result = rewrite(doubles(2.0), [DoubleToNan()])
    assert [refused.reason for refused in result.refused] == [
        "the replacement gives NaN or infinity on random input, which proves nothing"
    ]
    model = doubles(float("nan"))
    assert rewrite(model, [DoubleToAdd()]).model is model


class Broken(DoubleToAdd):
    """Fails in one of its three parts."""

    def __init__(self, part: str) -> None:
        self.part = part

    def match(self, graph: Graph, node: Node) -> Site | None:
        return self.tried("match", super().match(graph, node), node.kind == "Double")

    def check(self, site: Site) -> None:
        self.tried("check", None)

    def replacement(self, site: Site, tensors: Tensors) -> Tensors:
        return self.tried("replacement", super().replacement(site, tensors))

    def tried(self, part: str, result: Any, fails: bool = True) -> Any:
        if part == self.part and fails:
            raise AttributeError("it has no\n'kernel_size'")
        return result


@pytest.mark.parametrize("part", ["match", "check", "replacement"])
def test_a_rule_that_fails_is_told_of_and_stops_nothing(part: str, caplog: pytest.LogCaptureFixture) -> None:
    result = rewrite(doubles(2.0), [Broken(part), DoubleToAdd()])
    assert result.counts() == (("DoubleToAdd", 1),)
    (refused,) = result.refused
    assert (refused.rule, refused.site) == ("Broken", "double_0")
    assert refused.reason == "the rule failed: AttributeError: it has no 'kernel_size'"
    assert "'double_0' stays as it is; please report that Broken failed" in caplog.text


def test_nothing_to_do_gives_the_model_itself() -> None:
    inputs = keras.Input((4, 4, 2))
    model = keras.Model(inputs, layers.ReLU()(inputs))
    result = rewrite(model, [DoubleToAdd()])
    assert result.model is model
    assert (result.applied, result.refused) == ((), ())


def test_a_size_that_is_not_fixed_is_refused_as_there_is_nothing_to_prove_it_on() -> None:
    inputs = keras.Input((None, None, 2))
    result = rewrite(keras.Model(inputs, Double()(inputs)), [DoubleToAdd()])
    assert result.refused[0].reason == "its input has no fixed size; export with a fixed input size"


@pytest.mark.parametrize(("kernel", "replaced"), [(1, 1), (3, 0)])
def test_a_pattern_of_two_nodes(kernel: int, replaced: int) -> None:
    inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(3, kernel, padding="same", name="conv")(layers.UpSampling2D(2, name="up")(inputs))
    model = keras.Model(inputs, layers.ReLU()(x))
    result = rewrite(model, [ConvBeforeUpsampling()])
    assert (len(result.applied), len(result.refused)) == (replaced, 1 - replaced)
    assert [layer.name for layer in result.model.layers[1:3]] == (["conv", "up"] if replaced else ["up", "conv"])
    x = tied_values((2, 4, 4, 2))
    np.testing.assert_allclose(result.model(x), model(x), atol=1e-6)


def test_tied_values_have_ties() -> None:
    x = tied_values((1, 32, 32, 4)).reshape(1, 16, 2, 16, 2, 4)
    windows = x.transpose(0, 1, 3, 5, 2, 4).reshape(-1, 4)
    maxima = windows == windows.max(axis=1, keepdims=True)
    assert (maxima.sum(1) > 1).mean() > 0.08  # all-zero windows alone are 1 in 16
    assert (x == 0).mean() > 0.4
