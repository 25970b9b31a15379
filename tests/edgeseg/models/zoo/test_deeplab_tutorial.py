"""``edgeseg.models.architecture.normal_form``: weights of the DeepLabv3+ tutorial's own code, and what they compute.

Its trunk is a nested model of ``keras.applications`` that is called twice, its convolutions have a bias, and Keras
named its head.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.models import ZOO
from edgeseg.models.opening import ModelRequest, load_model

NAME, SIZE, CLASSES, FILTERS = "deeplabv3plus_xception", (96, 128), 3, 8
VARIANT = next(each for each in ZOO[NAME].variants if each.of == "the DeepLabv3+ tutorial")
#: What the tensors do not show.
RESULT = {key: VARIANT.options[key] for key in ("pooling", "align_corners", "bn_epsilon")}
SHOWN = {"trunk": "applications", "separable": False, "use_bias": True, "filters": FILTERS}


def tutorial(k: Any) -> Any:
    """The tutorial's model in Keras 3 or tf-keras, with fewer channels."""
    layers = k.layers
    whole = k.applications.Xception(include_top=False, weights=None, input_shape=(SIZE[0] + 4, SIZE[1] + 4, 3))
    ends = [whole.get_layer(name).output for name in ("block13_sepconv2_bn", "block3_sepconv2_bn")]
    trunk = k.Model(whole.input, ends)
    trunk.trainable = False

    def conv(x: Any, filters: int, kernel: int, rate: int = 1, *, learns: bool = False) -> Any:
        x = layers.Conv2D(filters, kernel, padding="same", dilation_rate=rate)(x)
        return layers.Activation("relu")(layers.BatchNormalization(trainable=learns)(x))

    inputs = layers.Input((*SIZE, 3))
    padded = layers.ZeroPadding2D(2)(inputs)
    x = trunk(padded)[0]
    pooled = layers.UpSampling2D(interpolation="bilinear")(conv(layers.AveragePooling2D(2)(x), FILTERS, 1))
    branches = [pooled, conv(x, FILTERS, 1, learns=True), *(conv(x, FILTERS, 3, rate) for rate in (6, 12, 18))]
    x = conv(layers.Concatenate()(branches), FILTERS, 1)
    x = layers.UpSampling2D(4, interpolation="bilinear")(x)
    x = layers.Concatenate()([x, conv(trunk(padded)[1], 48, 1)])
    x = layers.Dropout(0.2)(conv(conv(x, FILTERS, 3), FILTERS, 3))
    x = layers.UpSampling2D(4, interpolation="bilinear")(x)
    return k.Model(inputs, layers.Conv2D(CLASSES, 1, padding="same", activation="softmax")(x))


@dataclass(frozen=True, kw_only=True)
class Files:
    """What the tutorial's code wrote, and what its model computes."""

    weights: Path
    full: Path
    image: np.ndarray
    logits: np.ndarray


@pytest.fixture(scope="module", params=["keras", pytest.param("tf_keras", marks=pytest.mark.slow)])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files]:
    k = pytest.importorskip(request.param)
    k.backend.clear_session()
    k.utils.set_random_seed(0)
    model = tutorial(k)
    rng = np.random.default_rng(0)
    vectors = {1: lambda shape: rng.uniform(0.5, 1.5, shape)}  # biases and statistics unlike those of a new model
    model.set_weights([vectors.get(w.ndim, lambda _, w=w: w)(w.shape) for w in model.get_weights()])
    folder = tmp_path_factory.mktemp("tutorial")
    weights = folder / ("theirs.weights.h5" if k is keras else "theirs.h5")
    model.save_weights(weights)
    model.save(folder / "full.h5", include_optimizer=False)
    model.layers[-1].activation = k.activations.linear
    image = rng.uniform(-1, 1, (1, *SIZE, 3)).astype(np.float32)
    logits = np.asarray(model(image, training=False))
    assert logits.std() > 0.01
    yield Files(weights=weights, full=folder / "full.h5", image=image, logits=logits)
    weights.unlink()
    (folder / "full.h5").unlink()  # 80 MB each


def opened(files: Files, path: Path, **options: Any) -> Any:
    request = ModelRequest(weights=path, num_classes=CLASSES, input_size=SIZE, model_options=options)
    model = load_model(NAME, request)
    actual = keras.ops.convert_to_numpy(model.model(files.image, training=False))
    return model, float(np.abs(actual - files.logits).max() / np.abs(files.logits).max())


def test_weights_with_the_options_of_the_tutorial_give_its_logits(files: Files) -> None:
    model, error = opened(files, files.weights, **RESULT)
    # The same operations but for the last convolution, which comes before the resize: float32 rounding.
    assert error < 1e-5
    assert model.spec.provenance.model_options == {**RESULT, **SHOWN}
    assert len(model.weights_report.matched) == len(model.model.weights)
    assert not model.weights_report.left_over


@pytest.mark.slow
@pytest.mark.parametrize("files", ["tf_keras"], indirect=True)
def test_a_whole_model_says_all_the_options_itself(files: Files) -> None:
    model, error = opened(files, files.full)
    assert error < 1e-5
    assert model.spec.provenance.model_options == {**RESULT, **SHOWN}
    assert not model.weights_report.notes


@pytest.mark.slow
@pytest.mark.parametrize("files", ["keras"], indirect=True)
def test_a_whole_model_is_compared_and_has_no_difference(files: Files) -> None:
    model, error = opened(files, files.full, **RESULT)
    assert error < 1e-5
    assert not model.weights_report.notes
    with pytest.raises(InputError, match=r"was made with bn_epsilon=0\.001"):
        opened(files, files.full, **{**RESULT, "bn_epsilon": 1e-5})


@pytest.mark.parametrize("files", ["keras"], indirect=True)
def test_options_that_the_tensors_contradict_are_refused(files: Files) -> None:
    with pytest.raises(InputError) as caught:
        opened(files, files.weights, **RESULT, use_bias=False)
    assert "Its tensors say use_bias=true: Omit `model_options={'use_bias': False}`" in str(caught.value)
    assert "\n" not in str(caught.value)
