"""``edgeseg.opening``: Keras models with a ModelSpec whose scores are one channel, or a flattened map."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from edgeseg.errors import InputError
from edgeseg.models.keras_files.load import save_model
from edgeseg.opening import InputDescription, open_segmenter
from edgeseg.runtime import RuntimeOptions
from edgeseg.segmenter import Segmenter, to_class_map
from edgeseg.spec import ModelSpec, default_palette

SIZE = (16, 24)
IMAGE = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)


def saved(folder: Path, channels: int, end: Callable[[Any], Any]) -> Path:
    """A file whose scores are the normalized colors, red first."""
    inputs = keras.Input((*SIZE, 3))
    colors = layers.Conv2D(channels, 1, use_bias=False)
    spec = ModelSpec(
        name="own",
        input_size=SIZE,
        class_names=("a", "b", "c")[: max(channels, 2)],
        palette=default_palette(max(channels, 2)),
    )
    colors.build((None, *SIZE, 3))
    colors.set_weights([np.eye(3, channels, dtype=np.float32)[None, None]])
    save_model(keras.Model(inputs, end(colors(inputs))), folder / "own.keras", spec)
    return folder / "own.keras"


def opened(path: Path, threshold: float | None = None) -> Segmenter:
    return open_segmenter(path, RuntimeOptions(), InputDescription(threshold=threshold))


ONE_CHANNEL: dict[str, Callable[[Any], Any]] = {
    "logits": lambda x: x,
    "a sigmoid": layers.Activation("sigmoid"),
    "a sigmoid in an operation": ops.sigmoid,
    "what training makes of a sigmoid": layers.Activation("linear"),
    "enlarged logits": lambda x: layers.UpSampling2D(2)(layers.Cropping2D(((0, 8), (0, 12)))(x)),
    "rows of logits": layers.Reshape((-1, 1)),
    "rows of probabilities": lambda x: layers.Activation("sigmoid")(layers.Reshape((-1, 1))(x)),
    "no axis of the channel": layers.Reshape(SIZE),
}


@pytest.mark.parametrize("end", ONE_CHANNEL)
def test_one_channel_is_the_second_class_above_its_threshold(end: str, tmp_path: Path) -> None:
    with opened(saved(tmp_path, 1, ONE_CHANNEL[end])) as segmenter:
        class_map = segmenter(IMAGE).class_map
    red = IMAGE[..., 0] > 127.5
    if end == "enlarged logits":
        red = np.kron(red[:8, :12], np.ones((2, 2), bool))
    np.testing.assert_array_equal(class_map, red)
    assert segmenter.spec.class_names == ("a", "b")


def test_a_threshold_is_for_one_channel_and_needed_where_the_layers_do_not_say(tmp_path: Path) -> None:
    path = saved(tmp_path, 1, ops.exp)
    with pytest.raises(InputError, match=r"do not say of which kind: give `threshold=0\.5`"):
        opened(path)
    with opened(path, threshold=1.0) as segmenter:
        np.testing.assert_array_equal(segmenter(IMAGE).class_map, IMAGE[..., 0] > 127.5)
    with pytest.raises(InputError, match="has 3 channels of scores: `threshold` is for a model of one"):
        opened(saved(tmp_path / "three", 3, lambda x: x), threshold=1.0)


def test_a_flattened_map_is_read_as_the_map(tmp_path: Path) -> None:
    path = saved(tmp_path, 3, lambda x: layers.Softmax()(layers.Reshape((-1, 3))(x)))
    with opened(path) as segmenter:
        np.testing.assert_array_equal(segmenter(IMAGE).class_map, IMAGE.argmax(-1))
        spec = segmenter.spec
    with pytest.raises(InputError, match=r"gives \(1, 384, 3\), which is no map of scores; .*open_segmenter reads"):
        to_class_map(np.zeros((1, 384, 3), np.float32), spec)
