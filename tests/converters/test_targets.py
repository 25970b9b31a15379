"""``rewrites.targets`` and ``tflite.split_activations``: what a target is for: every family of the zoo whole on XNNPACK
and on the GPU, and the tables of the others.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import keras
import pytest
from keras import layers

from edgeseg.choices import Format, OutputKind, Target
from edgeseg.coverage import coverage, gpu
from edgeseg.errors import InputError
from edgeseg.models import create
from edgeseg.models.zoo.deeplab import deeplabv3plus_xception
from edgeseg.models.zoo.hrnet import hrnetv2
from edgeseg.models.zoo.table import ZOO
from edgeseg_converters import Recipe, export_all
from edgeseg_converters.options import ExportOptions
from edgeseg_converters.recipes import TARGETS
from edgeseg_converters.rewrites import RULES, rules_for

SIZE = (32, 32)


# A family's own builder where the graph itself is long.
_SHORT: dict[str, Callable[..., keras.Model]] = {
    "hrnetv2_w18": functools.partial(hrnetv2, width=18, modules=(1, 1), blocks=1),
    "deeplabv3plus_xception": functools.partial(deeplabv3plus_xception, middle_units=1),
}


# The wider HRNets and the deeper ResNet are the same graph.
_TWINS = ("hrnetv2_w32", "hrnetv2_w48", "deeplabv3plus_resnet101")
_FEW = ("unet_mini", "segnet")


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[] if name in _FEW else pytest.mark.slow) for name in ZOO if name not in _TWINS],
)
def model(request: pytest.FixtureRequest, thin: Callable[[keras.Model], keras.Model]) -> Iterator[keras.Model]:
    keras.utils.set_random_seed(0)
    name = request.param
    build = _SHORT.get(name) or functools.partial(create, name)
    built = build(num_classes=4, input_size=SIZE)
    yield thin(built) if ZOO[name].parameters > 10_000_000 else built
    keras.backend.clear_session()


def artifact(model: keras.Model, target: Target, *, kind: OutputKind = "logits", optimize: bool = True) -> bytes:
    spec = ZOO["unet_mini"].default_spec(4, model.input_shape[1:3])
    (result,) = export_all(
        model,
        spec,
        [Recipe("tflite", "fp32")],
        options=ExportOptions(target=target, output_kind=kind, optimize=optimize),
    )
    return result.data


def test_the_zoo_is_whole_on_xnnpack(model: keras.Model) -> None:
    found = coverage(artifact(model, "xnnpack"), "xnnpack")
    assert found.left == ()
    assert (found.delegated, found.partitions, found.cut) == (found.total, 1, False)


def test_the_zoo_is_whole_on_the_gpu(model: keras.Model) -> None:
    if isinstance(gpu._driver(), str):
        pytest.skip(f"the GPU accelerator is not asked: {gpu._driver()}")
    found = coverage(artifact(model, "gpu", kind="argmax"), "gpu")
    assert found.left == ()
    assert (found.delegated, found.partitions, found.cut) == (found.total, 1, False)


@pytest.fixture(scope="module")
def unet() -> keras.Model:
    keras.utils.set_random_seed(0)
    return create("unet_mini", num_classes=4, input_size=(32, 32))


@pytest.mark.parametrize("target", ["generic", "xnnpack", "gpu"])
def test_transposed_convolutions_with_activations_are_whole_on_both(target: Target) -> None:
    """The converter fuses the activation, into a version of the op that the GPU does not have."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    x = layers.Conv2D(8, 3, strides=4, padding="same")(inputs)
    for activation in ("relu", "relu6"):
        x = layers.Conv2DTranspose(8, 3, strides=2, padding="same", bias_initializer="normal", activation=activation)(x)
    data = artifact(keras.Model(inputs, layers.Conv2DTranspose(4, 2, bias_initializer="normal")(x)), target)
    assert coverage(data, "cpu").left == ()
    if not isinstance(gpu._driver(), str):
        assert coverage(data, "gpu").left == ()


def test_of_a_class_map_xnnpack_leaves_the_end_alone(unet: keras.Model) -> None:
    found = coverage(artifact(unet, "xnnpack", kind="argmax"), "xnnpack")
    assert [node.op for node in found.left] == ["ARG_MAX", "CAST"]
    assert (found.partitions, found.cut) == (1, False)


@pytest.mark.parametrize("target", ["xnnpack", "gpu"])
def test_whole_without_the_speed_ups_too(unet: keras.Model, target: Target) -> None:
    if target == "gpu" and isinstance(gpu._driver(), str):
        pytest.skip(f"the GPU accelerator is not asked: {gpu._driver()}")
    assert coverage(artifact(unet, target, optimize=False), target).left == ()


@pytest.mark.parametrize(
    ("target", "left"),
    [
        ("nnapi", []),
        ("coreml", ["RESIZE_NEAREST_NEIGHBOR"]),  # it has no nearest resize and nothing that could stand for one
        ("qnn", []),
    ],
)
def test_what_the_tables_of_other_delegates_leave(unet: keras.Model, target: Target, left: list[str]) -> None:
    assert [node.op for node in coverage(artifact(unet, target), target).left] == left


def test_edge_tpu_is_given_ops_of_its_table(unet: keras.Model) -> None:
    """Float32 is left whatever the op; the reason of no node is the op itself."""
    reasons = {node.reason for node in coverage(artifact(unet, "edgetpu"), "edgetpu").left}
    assert reasons == {"Edge TPU takes int8 and uint8, not float32"}


def test_every_target_has_its_rules() -> None:
    for by_target in RULES.values():
        for rules in by_target.values():
            assert rules.in_order(optimize=False) == (*rules.swaps, *rules.lowerings)
            assert set(rules.speed_ups) <= set(rules.in_order(optimize=True))
    with pytest.raises(InputError, match="unknown target 'xnnpack' for onnx; accepted: generic"):
        rules_for("onnx", "xnnpack")


def test_the_targets_that_are_checked_before_keras_loads_are_those_that_have_rules() -> None:
    assert {name: set(targets) for name, targets in TARGETS.items()} == {name: set(r) for name, r in RULES.items()}


@pytest.mark.parametrize("file_format", ["tflite", "onnx", "openvino"])
def test_a_model_that_learned_its_rounding_is_not_rounded_elsewhere(file_format: Format) -> None:
    rules = rules_for(file_format)
    usual = rules.in_order(optimize=True, precision="int8")
    learned = rules.in_order(optimize=True, precision="int8", learned=True)
    assert [rule for rule in usual if not rule.moves_rounding] == list(learned)
    assert {"PointwiseBeforeResize", "ConcatOfResizesToSum"} <= {rule.name for rule in usual if rule.moves_rounding}
    assert "NormToDepthwise" in {rule.name for rule in learned}  # as the training has it
