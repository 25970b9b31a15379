"""``resize``, ``shapes``, ``onnxruntime_basic``, ``normalizations``: what tf2onnx leaves.

Each repair on the smallest graph that needs it, and the numbers before and after.
"""

from __future__ import annotations

import itertools
from collections import Counter

import keras
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx_ir.passes.common import RemoveUnusedNodesPass, RemoveUnusedOpsetsPass

from edgeseg.choices import Precision
from edgeseg.models.layers import MaxPoolingWithArgmax2D, MaxUnpooling2D
from edgeseg.spec import ModelSpec, default_class_names, default_palette
from edgeseg_converters import Recipe, export_all
from edgeseg_converters.images import Samples, natural_noise
from edgeseg_converters.onnx.file import to_proto
from edgeseg_converters.onnx.passes.normalizations import JoinNormalizations
from edgeseg_converters.onnx.passes.onnxruntime_basic import RunBasicOptimizations
from edgeseg_converters.onnx.passes.resize import DropEmptyScales, ExactSizes
from edgeseg_converters.onnx.passes.shapes import DropShapes, InferShapes
from edgeseg_converters.options import ExportOptions


@keras.saving.register_keras_serializable(package="test")
class Resize(keras.layers.Layer):  # type: ignore[misc]
    def __init__(self, size: tuple[int, int], align_corners: bool = False) -> None:
        super().__init__()
        self.size, self.align_corners = size, align_corners

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.compat.v1.image.resize_bilinear(
            x, self.size, align_corners=self.align_corners, half_pixel_centers=not self.align_corners
        )


@pytest.mark.parametrize("align_corners", [False, True])
def test_sizes_that_float_scales_miss_are_right(align_corners: bool) -> None:
    """7 to 31 as a float scale is 30 in ONNX Runtime; the second resize reads what the first made."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((7, 9, 3))
    x = Resize((31, 40), align_corners)(layers.Conv2D(4, 3, padding="same")(inputs))
    model = keras.Model(inputs, layers.Conv2D(5, 1)(Resize((67, 91), align_corners)(x)))
    spec = ModelSpec(name="resized", input_size=(7, 9), class_names=default_class_names(5), palette=default_palette(5))
    samples = Samples((natural_noise(0, (7, 9)),), "noise")
    (result,) = export_all(
        model, spec, [Recipe("onnx", "fp32")], samples=samples, options=ExportOptions(output_kind="logits")
    )
    assert result.verification is not None
    assert result.verification.passed, result.verification.reason
    resizes = [node for node in onnx.load_from_string(result.data).graph.node if node.op_type == "Resize"]
    assert [len(node.input) for node in resizes] == [4, 4]


class ResizeLike(keras.layers.Layer):  # type: ignore[misc]
    def call(self, maps: list[tf.Tensor]) -> tf.Tensor:
        unknown = [tf.TensorSpec((None, None, None, x.shape[-1])) for x in maps]
        return tf.function(lambda x, like: tf.image.resize(x, tf.shape(like)[1:3]), input_signature=unknown)(*maps)

    def compute_output_shape(self, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
        return (*shapes[1][:3], shapes[0][3])


def test_sizes_that_are_computed_are_proven_in_fp16() -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 12, 3))
    small = layers.Conv2D(4, 3, strides=2, padding="same")(inputs)
    model = keras.Model(inputs, layers.Conv2D(5, 1)(ResizeLike()([small, inputs])))
    spec = ModelSpec(name="resized", input_size=(8, 12), class_names=default_class_names(5), palette=default_palette(5))
    samples = Samples((natural_noise(0, (8, 12)),), "noise")
    (result,) = export_all(
        model, spec, [Recipe("onnx", "fp16")], samples=samples, options=ExportOptions(output_kind="logits")
    )
    assert result.verification is not None
    assert result.verification.passed, result.verification.reason


def test_shapes_are_inferred_once_without_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three resizes that floor to one pixel less, the second and the third of what the one before made."""
    sides = (7, 31, 67, 101)
    nodes, constants = [], {"kernel": np.ones((64, 64, 3, 3), np.float32)}
    for index, (side, larger) in enumerate(itertools.pairwise(sides)):
        scale = np.nextafter(np.float32(larger / side), np.float32(0))  # as some sides round
        constants[f"scales_{index}"] = np.array([1, 1, scale, 2], np.float32)
        nodes.append(helper.make_node("Resize", [f"t{index}", "", f"scales_{index}"], [f"t{index + 1}"], mode="linear"))
    nodes[0].input[0], nodes[-1].output[0] = "conv", "y"
    nodes.insert(0, helper.make_node("Conv", ["x", "kernel"], ["conv"], pads=[1, 1, 1, 1]))
    model = _model(nodes, constants, (1, 64, 7, 3), (1, 64, 101, 24))
    sizes: list[int] = []
    infer = onnx.shape_inference.infer_shapes

    def noted(model: onnx.ModelProto, **options: bool) -> onnx.ModelProto:
        sizes.append(model.ByteSize())
        return infer(model, **options)

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", noted)
    result = ExactSizes()(ir.from_proto(model))
    model = to_proto(result.model)
    assert result.modified
    assert [len(node.input) for node in model.graph.node if node.op_type == "Resize"] == [4] * 3
    assert len(sizes) == 1
    assert sizes[0] < constants["kernel"].nbytes / 10
    assert _run(model).shape == (1, 64, 101, 24)


def test_whole_scales_stay() -> None:
    model = _model(
        [helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="nearest")],
        {"scales": np.array([1, 1, 2, 3], np.float32)},
        (1, 4, 5, 6),
        (1, 4, 10, 18),
    )
    assert not ExactSizes()(ir.from_proto(model)).modified


def test_a_resize_to_a_size_reads_no_scales() -> None:
    nodes = [helper.make_node("Resize", ["x", "none", "none", "sizes"], ["y"], mode="nearest")]
    constants = {"none": np.zeros(0, np.float32), "sizes": np.array([1, 4, 10, 18])}
    model = _model(nodes, constants, (1, 4, 5, 6), (1, 4, 10, 18))
    result = DropEmptyScales()(ir.from_proto(model))
    assert result.modified
    assert not DropEmptyScales()(result.model).modified
    written = to_proto(result.model)
    assert list(written.graph.node[0].input) == ["x", "", "", "sizes"]
    np.testing.assert_array_equal(_run(written), _run(model))


def test_constants_keep_their_order_and_no_shape_is_written() -> None:
    """onnx-ir infers without the larger constants, and puts them back after the others."""
    constants = {"large": np.ones((1, 3, 40, 50), np.float32), "small": np.ones((3, 1, 1), np.float32)}
    nodes = [helper.make_node("Add", ["x", "large"], ["a"]), helper.make_node("Mul", ["a", "small"], ["y"])]
    model = ir.from_proto(_model(nodes, constants, (1, 3, 40, 50), (1, 3, 40, 50)))
    assert InferShapes()(model).modified
    assert model.graph[0].outputs[0].shape == ir.Shape([1, 3, 40, 50])
    assert list(model.graph.initializers) == ["large", "small"]
    assert DropShapes()(model).modified
    assert not DropShapes()(model).modified
    assert not to_proto(model).graph.value_info


def test_passes_leave_the_numbers_and_only_standard_ops() -> None:
    """A Pad, a Mul and an Add around a convolution, and a Transpose there and back."""
    rng = np.random.default_rng(0)
    model = _model(
        [
            helper.make_node("Transpose", ["x"], ["nhwc"], perm=[0, 2, 3, 1]),
            helper.make_node("Relu", ["nhwc"], ["relu"]),
            helper.make_node("Transpose", ["relu"], ["nchw"], perm=[0, 3, 1, 2]),
            helper.make_node("Pad", ["nchw", "pads"], ["padded"]),
            helper.make_node("Conv", ["padded", "kernel"], ["conv"]),
            helper.make_node("Mul", ["conv", "scale"], ["scaled"]),
            helper.make_node("Add", ["scaled", "offset"], ["y"]),
        ],
        {
            "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
            "kernel": rng.normal(size=(6, 4, 3, 3)).astype(np.float32),
            "scale": rng.normal(size=(6, 1, 1)).astype(np.float32),
            "offset": rng.normal(size=(6, 1, 1)).astype(np.float32),
        },
        (1, 4, 8, 8),
        (1, 6, 8, 8),
    )
    passed = _optimize(model)
    assert sorted(node.op_type for node in passed.graph.node) == ["Conv", "Relu"]
    assert [(opset.domain, opset.version) for opset in passed.opset_import] == [("", 17)]
    # The scale is multiplied into the kernel: 36 products of values near 1 in another order.
    np.testing.assert_allclose(_run(passed), _run(model), rtol=0, atol=1e-4)


@pytest.mark.parametrize("with_offset", [True, False])
def test_scale_and_offset_of_channels_become_one_normalization(with_offset: bool) -> None:
    """One that was there before is not counted."""
    rng = np.random.default_rng(0)
    scale, offset = (rng.normal(size=(1, 3, 1, 1)).astype(np.float32) for _ in range(2))
    constants = {name: np.full(3, 0.5, np.float32) for name in ("gamma", "beta", "mean", "variance")}
    nodes = [helper.make_node("BatchNormalization", ["x", *constants], ["a"])]
    nodes.append(helper.make_node("Mul", ["scale", "a"], ["m"]))
    if with_offset:
        nodes.append(helper.make_node("Add", ["m", "offset"], ["n"]))
    nodes.append(helper.make_node("Relu", ["n" if with_offset else "m"], ["y"]))
    constants.update({"scale": scale, "offset": offset} if with_offset else {"scale": scale})
    model = _model(nodes, constants, (1, 3, 4, 5), (1, 3, 4, 5))
    expected = _run(model)
    model = _join(model)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["BatchNormalization", "BatchNormalization", "Relu"]
    # One rounding more or less: the runtime may fuse the product and the sum.
    np.testing.assert_allclose(_run(model), expected, rtol=0, atol=1e-6)


def test_a_product_that_is_read_twice_or_no_channel_scale_keeps_its_add() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "by_column"], ["m"]),  # (5,) is a value for each column, not for each channel
        helper.make_node("Mul", ["m", "scale"], ["s"]),
        helper.make_node("Add", ["s", "offset"], ["a"]),
        helper.make_node("Sub", ["a", "s"], ["y"]),
    ]
    constants = {name: np.full((3, 1, 1), 2, np.float32) for name in ("scale", "offset")}
    constants["by_column"] = np.arange(5, dtype=np.float32)
    model = _model(nodes, constants, (1, 3, 4, 5), (1, 3, 4, 5))
    expected = _run(model)
    model = _join(model)
    assert [node.op_type for node in model.graph.node] == ["Mul", "BatchNormalization", "Add", "Sub"]
    np.testing.assert_array_equal(_run(model), expected)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_nothing_of_keras_is_left_over(precision: Precision) -> None:
    """Borders, strided depthwise convolutions, normalizations behind activations, unpooling, a narrow upsampling.

    Left are the Transpose of the input and the products of the unpooling's masks.
    """
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 32, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", use_bias=False)(inputs)))
    x = layers.BatchNormalization()(x)
    pooled, index = MaxPoolingWithArgmax2D(2)(x)
    y = layers.DepthwiseConv2D(3, strides=2)(layers.ZeroPadding2D(((0, 1), (0, 1)))(pooled))
    y = layers.UpSampling2D(2)(layers.ReLU(6.0)(layers.BatchNormalization()(y)))
    y = MaxUnpooling2D(2)([layers.Conv2D(8, 3, padding="same")(y), index])
    model = keras.Model(inputs, layers.Conv2D(3, 1)(y))
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            rng = np.random.default_rng(0)
            layer.set_weights([weight + rng.uniform(0.1, 0.5, weight.shape) for weight in layer.get_weights()])
    spec = ModelSpec(
        name="leftovers", input_size=(16, 32), class_names=default_class_names(3), palette=default_palette(3)
    )
    samples = Samples((natural_noise(0, (16, 32)),), "noise")
    (result,) = export_all(model, spec, [Recipe("onnx", precision)], samples=samples)
    assert result.verification is not None
    assert result.verification.passed, result.verification.reason
    graph = onnx.load_from_string(result.data).graph
    ops = Counter(node.op_type for node in graph.node)
    assert not ops.keys() & {"Tile", "Unsqueeze", "Reshape", "Pad"}
    assert (ops["Transpose"], ops["Mul"], ops["Add"], ops["BatchNormalization"]) == (1, 3, 0, 0)
    assert {node.domain for node in graph.node} == {""}


def _optimize(model: onnx.ModelProto) -> onnx.ModelProto:
    passes = ir.passes.Sequential(RunBasicOptimizations(), RemoveUnusedOpsetsPass(), RemoveUnusedNodesPass())
    return to_proto(passes(ir.from_proto(model)).model)


def _join(model: onnx.ModelProto) -> onnx.ModelProto:
    passes = ir.passes.Sequential(InferShapes(), JoinNormalizations(), RemoveUnusedNodesPass())
    result = passes(ir.from_proto(model))
    assert result.modified
    return to_proto(result.model)


def _model(
    nodes: list[onnx.NodeProto],
    constants: dict[str, NDArray[np.generic]],
    source: tuple[int, ...],
    result: tuple[int, ...],
) -> onnx.ModelProto:
    """A model from ``x`` to ``y``, float32."""
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", source), ("y", result))]
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "test", values[:1], values[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _run(model: onnx.ModelProto) -> NDArray[np.float32]:
    """Its output for seeded noise, with ONNX Runtime's passes off: the graph itself is under test."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    output: NDArray[np.float32] = session.run(None, {"x": np.random.default_rng(1).normal(size=shape).astype("f4")})[0]
    return output
