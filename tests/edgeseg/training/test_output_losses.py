"""``output_losses`` and ``loss_names``: which output of a model learns by which loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.datasets import Classes
from edgeseg.errors import InputError
from edgeseg.spec import default_palette
from edgeseg.training.building import RunModels, build_models
from edgeseg.training.config import TrainConfig
from edgeseg.training.objective.losses import SegmentationLoss
from edgeseg.training.output_losses import OutputLosses

SIZE = (8, 8)
CLASSES = Classes(names=("no", "yes"), palette=default_palette(2), ignore_index=255)


def several(as_dict: bool = True) -> keras.Model:
    """Two channels of scores, and one of them twice, as the notes on Keras have several predictions."""
    inputs = keras.Input((*SIZE, 3))
    outputs = {
        "pred1": layers.Conv2D(2, 1, name="pred1")(inputs),
        "pred2": layers.Conv2D(1, 1, activation="sigmoid", name="pred2")(inputs),
        "pred3": layers.Conv2D(1, 2, strides=2, activation="sigmoid", name="pred3")(inputs),
    }
    return keras.Model(inputs, outputs if as_dict else list(outputs.values()))


def made(chosen: Any = None, as_dict: bool = True, **settings: Any) -> tuple[OutputLosses, RunModels]:
    config = TrainConfig(model="several", data="data", mean=(0.0,) * 3, std=(1.0,) * 3, **settings)
    models = build_models(config, CLASSES, model=several(as_dict))
    return OutputLosses.of(config, models, None, chosen), models


def kinds(losses: OutputLosses) -> list[Any]:
    leaves = losses.compiled.values() if isinstance(losses.compiled, dict) else losses.compiled
    return [loss.get_config()["kind"] if isinstance(loss, SegmentationLoss) else loss for loss in leaves]


@pytest.mark.parametrize("as_dict", [True, False], ids=["dict", "list"])
@pytest.mark.parametrize("where", ["config", "train"])
def test_losses_are_given_by_the_names_of_the_outputs(where: str, as_dict: bool) -> None:
    chosen = {"pred3": "binary_crossentropy", "pred1": "focal+dice"}
    settings: dict[str, Any] = {"loss": chosen} if where == "config" else {}
    losses, models = made(
        None if settings else chosen, as_dict, class_weights=(1.0, 3.0), output_weights={"pred3": 0.2}, **settings
    )
    assert kinds(losses) == ["focal+dice", None, "cross-entropy"]
    assert losses.main.get_config()["class_weights"] == [1.0, 3.0]
    model = models.learning
    model.compile("rmsprop", losses.compiled, loss_weights=losses.weights, auto_scale_loss=False)
    rng = np.random.default_rng(0)
    images, ids = rng.normal(size=(2, *SIZE, 3)).astype(np.float32), rng.integers(0, 2, (2, *SIZE))
    labels = {"pred1": ids, "pred2": ids, "pred3": ids[:, ::2, ::2]}
    scores = keras.tree.flatten(model(images))
    expected = losses.main(ids, scores[0]) + 0.2 * SegmentationLoss(class_weights=[1.0, 3.0])(
        labels["pred3"], scores[2]
    )
    got = model.train_on_batch(images, labels if as_dict else list(labels.values()), return_dict=True)
    assert got["loss"] == pytest.approx(float(expected), rel=1e-5)  # sums of float32


def test_a_name_is_of_every_output_and_an_object_is_taken_as_it_is() -> None:
    assert kinds(made("cross-entropy")[0]) == ["cross-entropy"] * 3
    own: Callable[..., Any] = keras.losses.mean_squared_error
    assert kinds(made(own)[0]) == [own] * 3
    losses, _ = made(["dice", own, None], class_weights="none")
    assert kinds(losses) == ["dice", own, None]


@pytest.mark.parametrize(
    ("loss", "settings", "message"),
    [
        ({"pred": "dice"}, {}, r"the output 'pred'; the model has pred1, pred2, pred3\. Did you mean 'pred\d'\?"),
        (None, {"loss": {"pred4": "dice"}}, "a loss is given for the output 'pred4'"),
        ({"pred2": "dice"}, {}, "the output 'pred1' is what is validated and exported, and there is no loss for it"),
        ("binary_crossentropy", {}, "binary_crossentropy is not for the output 'pred1', which has 2 channels"),
        (
            {"pred1": "dice", "pred2": "categorical_crossentropy"},
            {},
            "'pred2', which has one channel; give binary_crossentropy, or cross-entropy, which fits any",
        ),
        ("mse", {}, "loss must be one of cross-entropy, .*, got mse"),
        (["dice", "dice"], {}, "2 losses for the outputs pred1, pred2, pred3; give one for each, or by name"),
        (None, {"output_weights": {"pred5": 1.0}}, "an output weight is given for the output 'pred5'"),
        ({"pred1": "dice"}, {"output_weights": {"pred2": 1.0}}, "weight of 'pred2' does nothing, as there is no loss"),
        (None, {"output_weights": (1.0, 2.0)}, "2 output weights for a model with 3 outputs"),
    ],
)
def test_what_fits_no_output_is_refused(loss: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        made(loss, **settings)
