from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from edgeseg.errors import InputError
from edgeseg.models.keras_files.custom_objects import KNOWN, BilinearUpsampling, load_custom_objects
from edgeseg.models.layers import MaxPoolingWithArgmax2D, MaxUnpooling2D, ResizeBilinear, UpsampleLike

BASE = {"name": "x", "trainable": True, "dtype": "float32"}  # all that a class without get_config leaves in a file


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def numpy(x: object) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(x))


# --- the well-known ones ---


@pytest.mark.parametrize("more", [{}, {"data_format": None}, {"data_format": "channels_last"}])
def test_upsample_like(more: dict[str, object]) -> None:
    layer = KNOWN["UpsampleLike"].from_config({**BASE, **more})
    assert type(layer) is UpsampleLike
    small, large = image(1, 3, 4, 2), image(1, 7, 8, 5)
    expected = tf.compat.v1.image.resize_nearest_neighbor(small, (7, 8))
    np.testing.assert_array_equal(numpy(layer([small, large])), expected)


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ({"upsampling": [2, 4], "output_size": None, "data_format": "channels_last"}, (6, 16)),
        ({"upsampling": None, "output_size": [5, 9], "data_format": "channels_last"}, (5, 9)),
        ({"upsampling": 3}, (9, 12)),
    ],
)
def test_bilinear_upsampling(config: dict[str, object], size: tuple[int, int]) -> None:
    layer = KNOWN["BilinearUpsampling"].from_config({**BASE, **config})
    assert isinstance(layer, ResizeBilinear | BilinearUpsampling)
    x = image(2, 3, 4, 2)
    expected = tf.compat.v1.image.resize_bilinear(x, size, align_corners=True)
    np.testing.assert_array_equal(numpy(layer(x)), expected)
    model = keras.Sequential([keras.Input((3, 4, 2)), layer])
    assert model.output_shape == (None, *size, 2)


def test_bilinear_upsampling_of_any_size_and_again_from_its_config() -> None:
    inputs = keras.Input((None, None, 2))
    model = keras.Model(inputs, BilinearUpsampling((2, 3))(inputs))
    assert model.output_shape == (None, None, None, 2)
    again = keras.models.clone_model(model)
    x = image(1, 3, 4, 2)
    np.testing.assert_array_equal(numpy(again(x)), tf.compat.v1.image.resize_bilinear(x, (6, 12), align_corners=True))


@pytest.mark.parametrize("pool", [{}, {"pool_size": [2, 2], "strides": [2, 2], "padding": "SAME"}])
@pytest.mark.parametrize("unpool", [{}, {"size": [2, 2]}, {"up_size": 2}])
@pytest.mark.parametrize("name", ["MaxUnpooling2D", "MaxUnPooling2D"])
def test_pooling_indices(pool: dict[str, object], unpool: dict[str, object], name: str) -> None:
    pooling = KNOWN["MaxPoolingWithArgmax2D"].from_config({**BASE, **pool})
    unpooling = KNOWN[name].from_config({**BASE, **unpool})
    assert (type(pooling), type(unpooling)) == (MaxPoolingWithArgmax2D, MaxUnpooling2D)
    x = image(2, 4, 6, 3)
    values, index = pooling(x)
    restored = numpy(unpooling([values, index]))
    windows = x.reshape(2, 2, 2, 3, 2, 3)
    is_largest = windows == windows.max(axis=(2, 4), keepdims=True)
    np.testing.assert_array_equal(restored, np.where(is_largest, windows, 0).reshape(x.shape))


@pytest.mark.parametrize(
    ("name", "config", "text"),
    [
        ("BilinearUpsampling", {"size": [2, 2]}, "has 'size'"),  # an earlier class: without align_corners
        ("BilinearUpsampling", {"target_size": [8, 8]}, "has 'target_size'"),
        ("BilinearUpsampling", {}, "neither upsampling nor output_size"),
        ("BilinearUpsampling", {"upsampling": [0, 2]}, "upsampling must be a positive whole number"),
        ("UpsampleLike", {"data_format": "channels_first"}, "channels_first"),
        ("MaxUnpooling2D", {"pool_size": [2, 2]}, "has 'pool_size'"),
        ("MaxPoolingWithArgmax2D", {"padding": "full"}, "padding must be"),
    ],
)
def test_what_is_not_known_of_a_known_name_is_refused(name: str, config: dict[str, object], text: str) -> None:
    with pytest.raises(InputError, match=text) as caught:
        KNOWN[name].from_config({**BASE, **config})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("relu6", lambda x: np.clip(x, 0, 6)),
        ("swish", lambda x: x / (1 + np.exp(-x))),
        ("hard_sigmoid", lambda x: np.clip(x + 3, 0, 6) / 6),
        ("hard_swish", lambda x: x * np.clip(x + 3, 0, 6) / 6),
    ],
)
def test_activations(name: str, formula: Callable[[np.ndarray], np.ndarray]) -> None:
    x = np.linspace(-8, 8, 101, dtype=np.float32)
    # float32 rounding of values up to 8
    np.testing.assert_allclose(numpy(KNOWN[name](x)), formula(x), rtol=1e-6, atol=1e-6)


# --- a user's file ---


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "my layers.py"
        path.write_text(text)
        return path

    return write


def test_layers_functions_and_the_dict_are_collected(file: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("import keras\nclass Beside(keras.layers.Layer): pass\ndef not_mine(): pass\n")
    path = file(
        """
from dataclasses import dataclass
from keras import layers
from keras.layers import *
from beside import Beside, not_mine

@dataclass
class Option:
    value: int

class Mine(Layer):
    pass

class Hidden(layers.Conv2D):
    pass

def activation(x):
    return x * FACTOR

def _helper(x):
    return x

FACTOR = 3
CUSTOM_OBJECTS = {"Hidden": Mine, "lambda_1": Hidden, "option": Option(1)}
"""
    )
    before = list(sys.path)
    found = load_custom_objects(path)
    assert set(found) == {"Mine", "Hidden", "Beside", "activation", "lambda_1", "option"}
    assert found["Hidden"] is found["Mine"]  # the dict wins
    assert found["activation"](2) == 6
    assert sys.path == before
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix == ".py") == ["beside.py", "my layers.py"]
    sys.modules.pop("beside")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class Mine(:\n", "SyntaxError in line 1"),
        ("x = 1\n\ny = x / 0\n", "ZeroDivisionError in line 3: division by zero"),
        ("import no_such_module\n", "ModuleNotFoundError in line 1: No module named 'no_such_module'"),
        ("class Odd(Exception): pass\nraise Odd('two\\nlines')\n", "Odd in line 2: two lines"),
        ("import sys\nsys.exit(3)\n", "SystemExit in line 2: 3"),
        ("def f():\n    assert 0\nf()\n", "AssertionError in line 2: no message"),
        ("import tensorflow as tf\ntf.ensure_shape([1], [2])\n", "InvalidArgumentError in line 2"),
        ("x = '\\xff'.encode() and '\\0'\n\0", "does not run"),
    ],
)
def test_a_file_that_does_not_run_is_one_line(file: Callable[[str], Path], text: str, message: str) -> None:
    before = list(sys.path)
    with pytest.raises(InputError) as caught:
        load_custom_objects(file(text))
    assert "my layers.py' does not run" in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None
    assert sys.path == before


def test_an_interrupt_is_no_fault_of_the_file(file: Callable[[str], Path]) -> None:
    with pytest.raises(KeyboardInterrupt):
        load_custom_objects(file("raise KeyboardInterrupt\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "has no Keras layer class, no function and no dict CUSTOM_OBJECTS"),
        ("from keras.layers import *\nimport numpy as np\n", "has no Keras layer class"),
        ("CUSTOM_OBJECTS = ['Mine']\n", "must be a dict"),
        ("CUSTOM_OBJECTS = {1: 2}\n", "must be a dict from names"),
    ],
)
def test_a_file_without_anything_is_refused(file: Callable[[str], Path], text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_custom_objects(file(text))


def test_a_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.py", tmp_path):
        with pytest.raises(InputError, match="does not exist"):
            load_custom_objects(path)
