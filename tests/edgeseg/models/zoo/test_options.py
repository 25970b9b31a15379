"""``options``: what is declared of each architecture is what its builder takes, and what a wrong value is told."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from typing import Any

import keras
import pytest

from edgeseg.errors import InputError
from edgeseg.models import ZOO, create
from edgeseg.models.zoo.deeplab_head import HeadOptions
from edgeseg.models.zoo.entry import ZooModel
from edgeseg.models.zoo.options import ModelOption, WeightShapes, option_texts, read_options


@pytest.mark.parametrize("entry", ZOO.values(), ids=list(ZOO))
def test_the_declared_options_are_the_arguments_of_the_builder(entry: ZooModel) -> None:
    module, function = entry.builder.split(":")
    parameters = dict(inspect.signature(getattr(importlib.import_module(module), function)).parameters)
    arguments = {name: each.default for name, each in parameters.items() if name not in ("num_classes", "input_size")}
    if arguments.pop("head", None) is inspect.Parameter.empty:  # the rest of DeepLab's are the fields of a dataclass
        arguments |= {field.name: field.default for field in dataclasses.fields(HeadOptions)}
    assert {option.name: option.default for option in entry.options} == arguments
    for option in entry.options:
        assert option.read(option.default) == option.default
        assert option.choices is None or option.default in option.choices
        assert bool(option.changes) == (option.effect == "result")
    for variant in entry.variants:
        assert entry.not_default(entry.read_options(variant.options)) == dict(variant.options)


def test_every_option_that_weights_show_is_found_in_them() -> None:
    shown = {name: {o.name for o in entry.options if o.effect == "tensors"} for name, entry in ZOO.items()}
    assert {name for name, options in shown.items() if options} == {n for n, e in ZOO.items() if e.options_in}


def test_weights_do_not_show_what_changes_the_result_alone() -> None:
    name, changes = "deeplabv3plus_mobilenetv2", {"output_stride": 8, "pooling": "average", "align_corners": False}
    models = [
        create(name, num_classes=3, input_size=(32, 64), alpha=0.1, filters=8, **options) for options in ({}, changes)
    ]
    assert {option.effect for option in ZOO[name].options if option.name in changes} == {"result"}
    usual, changed = (
        [(weight.path.partition("/")[0], tuple(weight.shape)) for weight in model.weights] for model in models
    )
    assert changed == usual


@pytest.mark.parametrize(
    ("name", "kernels", "biased", "found"),
    [
        (
            "deeplabv3plus_xception",
            {
                "block1_conv1": (3, 3, 3, 32),
                "aspp0": (1, 1, 1024, 64),
                "aspp1": (3, 3, 1024, 64),
            },
            set(),
            {"filters": 64, "use_bias": False, "separable": False, "trunk": "applications"},
        ),
        (  # whoever left the names to Keras: ASPP has three 3x3 convolutions of one shape, the decoder two others
            "deeplabv3plus_resnet50",
            {
                "conv2_block1_2_conv": (3, 3, 64, 64),
                **{f"conv2d_{n}": (3, 3, 2048, 32) for n in (7, 8, 9)},
                "conv2d_10": (3, 3, 80, 32),
                "conv2d_11": (3, 3, 32, 32),
            },
            {"conv2d_7", "conv2d_8", "conv2d_9"},
            {"filters": 32, "use_bias": True, "separable": False},
        ),
        (
            "deeplabv3plus_vgg16",
            {"aspp0": (1, 1, 512, 16), "aspp1_depthwise": (3, 3, 512, 1), "decoder_transposed": (8, 8, 16, 16)},
            {"aspp0"},
            {"filters": 16, "use_bias": True, "separable": True, "upsampling": "transposed"},
        ),
        (
            "deeplabv3plus_xception",
            {
                "entry_flow_conv1_1": (3, 3, 3, 16),
                "middle_flow_unit_1_separable_conv1_pointwise": (1, 1, 368, 368),
                "middle_flow_unit_2_separable_conv1_pointwise": (1, 1, 368, 368),
                "exit_flow_block2_separable_conv3_pointwise": (1, 1, 768, 1024),
            },
            set(),
            {"trunk": "modified", "middle_units": 2, "alpha": 0.5},
        ),
        ("deeplabv3plus_mobilenetv2", {"expanded_conv_16_project": (1, 1, 336, 112)}, set(), {"alpha": 0.35}),
        ("deeplabv3plus_mobilenetv2", {"expanded_conv_16_project": (1, 1, 288, 32)}, set(), {"alpha": 0.1}),
        (
            "resnet50_segnet",
            {f"conv2d_{n}": shape for n, shape in enumerate([(3, 3, 2048, 512), (3, 3, 512, 256)] * 3, start=3)},
            set(),
            {"n_up": 4, "encoder_level": 4},
        ),
        ("efficientnet_lite0_unet", {"stem_conv": (3, 3, 3, 32)}, set(), {}),
    ],
)
def test_options_that_the_shapes_say(
    name: str, kernels: dict[str, tuple[int, ...]], biased: set[str], found: dict[str, Any]
) -> None:
    module, function = ZOO[name].options_in.split(":")
    options = getattr(importlib.import_module(module), function)(WeightShapes(kernels, frozenset(biased)))
    assert options == found
    assert ZOO[name].read_options(options) == found


OPTIONS = (
    ModelOption(name="stride", default=16, choices=(16, 8), effect="result", meaning=""),
    ModelOption(name="plain", default=True, choices=(True, False), effect="tensors", meaning=""),
    ModelOption(name="trunk", default="modified", choices=("modified", "applications"), effect="tensors", meaning=""),
    ModelOption(name="rate", default=0.1, at_least=0, below=1, effect="training", meaning=""),
    ModelOption(name="width", default=64, effect="tensors", meaning=""),
    ModelOption(name="widths", default=(8, 4), effect="tensors", meaning=""),
    ModelOption(name="epsilon", default=1e-5, choices=(1e-5, 1e-3), effect="result", meaning=""),
)


def test_texts_and_values_are_read_alike() -> None:
    texts = {"stride": "8", "plain": "False", "trunk": "applications", "rate": "0", "width": "32", "widths": "3, 5"}
    texts["epsilon"] = "1e-3"
    values = {
        "stride": 8,
        "plain": False,
        "trunk": "applications",
        "rate": 0,
        "width": 32,
        "widths": [3, 5],
        "epsilon": 0.001,
    }
    expected = {**values, "rate": 0.0, "widths": (3, 5)}
    assert read_options("m", OPTIONS, texts) == read_options("m", OPTIONS, values) == expected
    assert (
        option_texts(expected)
        == "stride=8, plain=false, trunk=applications, rate=0.0, width=32, widths=3,5, epsilon=0.001"
    )


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "strid",
            "8",
            "m has no option 'strid'. Did you mean 'stride'? It takes stride, plain, trunk, rate, width, widths, "
            "epsilon.",
        ),
        ("stride", "4", "stride must be 16 or 8, got 4."),
        ("stride", True, "stride must be 16 or 8, got true."),
        ("plain", "maybe", "plain must be true or false, got maybe."),
        ("plain", 1, "plain must be true or false, got 1."),
        (
            "trunk",
            "application",
            "trunk must be modified or applications, got application. Did you mean 'applications'?",
        ),
        ("rate", "1", "rate must be a number from 0 to below 1, got 1."),
        ("rate", "nan", "rate must be a number from 0 to below 1, got nan."),
        ("width", "0", "width must be a whole number from 1, got 0."),
        ("width", "1.5", "width must be a whole number from 1, got 1.5."),
        ("widths", "1", "widths must be 2 whole numbers from 1, with commas between, got 1."),
        ("epsilon", "1", "epsilon must be 1e-05 or 0.001, got 1."),
        ("widths", (1, 0), "widths must be 2 whole numbers from 1, with commas between, got 1,0."),
    ],
)
def test_what_is_not_accepted_is_refused_with_what_is(name: str, value: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_options("m", OPTIONS, {name: value})
    assert str(caught.value) == message


def test_create_takes_the_options_of_its_architecture_alone() -> None:
    with pytest.raises(InputError, match=r"unet_vgg16 has no option 'alpha'\. It takes none\."):
        create("unet_vgg16", num_classes=3, alpha=0.5)
    with pytest.raises(InputError, match="pool_padding must be zeros or same, got valid"):
        create("unet_resnet50", num_classes=3, pool_padding="valid")
    model = create("unet_mini", num_classes=3, input_size=(8, 8), dropout="0.5")
    assert next(layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)).rate == 0.5
