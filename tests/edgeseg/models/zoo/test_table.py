"""``edgeseg.models``, ``creation``, ``entry`` and ``deeplab_entries``: what every architecture of the zoo promises, in
one tester; a new row of the table is tested without a line here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from edgeseg.errors import InputError
from edgeseg.models import create, find
from edgeseg.models.zoo.entry import ZooModel
from edgeseg.models.zoo.table import DEFAULT_MODEL, ZOO

#: The two wider HRNets and the deeper ResNet are the other one's code with other numbers, and TensorFlow takes half a
#: minute to trace them.
TWINS = ("hrnetv2_w32", "hrnetv2_w48", "deeplabv3plus_resnet101")
SLOW = (
    *TWINS,
    "hrnetv2_w18",
    "deeplabv3plus_mobilenetv2",
    "segnet",
    "deeplabv3plus_xception",
    "unet_resnet50",
    "resnet50_segnet",
    "deeplabv3plus_resnet50",
)


@pytest.mark.parametrize(
    "entry",
    [pytest.param(entry, id=name, marks=pytest.mark.slow if name in SLOW else []) for name, entry in ZOO.items()],
)
def test_builds_at_a_size_that_its_stride_allows_with_the_parameters_and_gflops_of_the_table(entry: ZooModel) -> None:
    """One model for all that is asked: to build and to trace one takes the time of this file."""
    side = entry.stride if entry.name in TWINS else max(entry.stride, 64)
    size = (side, 2 * side)
    model = create(entry.name, num_classes=21, input_size=size)
    assert model.count_params() == entry.parameters
    assert model.input_shape == (None, *size, 3)
    assert model.get_layer(entry.first_of_decoder).weights
    assert model.output_shape[-1] == 21
    assert size[0] % model.output_shape[1] == 0  # the input's size, or a whole fraction of it
    spec = entry.default_spec(21)
    assert (spec.replace(**entry.published_feeding) == spec) == (not entry.published_feeding)
    image = tf.zeros((1, *size, 3))
    if entry.name in TWINS:
        logits = model(image, training=False).numpy()
    else:
        traced = tf.function(lambda image: model(image, training=False), autograph=False).get_concrete_function(image)
        logits = traced(image).numpy()
        height, width = entry.default_size
        # Work grows with the area; dilated convolutions are padded to whole tiles, which weighs more on a small image.
        scaled = counted_flops(traced.graph) * height * width / (size[0] * size[1]) / 1e9
        assert scaled == pytest.approx(entry.gflops, rel=0.25 if "deeplab" in entry.name else 0.02)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
    assert not np.allclose(logits.sum(-1), 1)  # logits, no softmax


def counted_flops(graph: tf.Graph) -> int:
    """What TensorFlow counts in a graph."""
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    return int(tf.compat.v1.profiler.profile(graph, options={**options, "output": "none"}).total_float_ops)


@pytest.mark.parametrize("entry", [entry for entry in ZOO.values() if entry.stride > 1], ids=lambda entry: entry.name)
def test_size_against_the_stride_names_the_nearest(entry: ZooModel) -> None:
    height, width = entry.default_size
    with pytest.raises(InputError, match=rf"divisible by {entry.stride}, .*Nearest: {height},{width}\."):
        create(entry.name, num_classes=2, input_size=(height + 1, width - 1))


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match=r"unknown model 'unet-mini'\. Did you mean 'unet_mini'\?"):
        find("unet-mini")


def test_what_is_there_but_no_model_file_is_no_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a folder; a SavedModel has no layers.*model\.save\('NAME\.keras'\)"):
        find(str(tmp_path))
    (tmp_path / "old.hdf5").write_bytes(b"")
    with pytest.raises(InputError, match=r"old\.hdf5' is no \.keras or \.h5 file.*may be renamed to \.h5"):
        find(str(tmp_path / "old.hdf5"))


def test_one_class_is_refused() -> None:
    with pytest.raises(InputError, match="num_classes must be at least 2"):
        create("unet_mini", num_classes=1)


def test_the_default_model_is_in_the_zoo() -> None:
    assert DEFAULT_MODEL in ZOO


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize(
    "name",
    [
        "unet_mini",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("mobilenet_unet", "efficientnet_lite0_unet")),
    ],
)
def test_a_step_lowers_the_loss_and_a_round_trip_changes_nothing(
    name: str,
    assert_learns: Callable[[keras.Model], None],
    assert_round_trips: Callable[[keras.Model], None],
) -> None:
    """Those whose family has no file of its own here."""
    # Without dropout, whose masks differ from one call to the next.
    options = {"dropout": 0.0} if name == "unet_mini" else {}
    assert_learns(create(name, num_classes=3, input_size=(64, 96), **options))
    assert_round_trips(create(name, num_classes=3, input_size=(32, 64)))
