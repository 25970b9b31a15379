"""A proof runs the model and the artifact as often as it must, which is most of the time of a large model's export."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.runtime.keras import KerasBackend
from edgeseg.runtime.litert import LiteRTBackend
from edgeseg_converters.images import Samples, natural_noise
from edgeseg_converters.keras_model.freeze import freeze
from edgeseg_converters.keras_model.prepare import PreparedModel
from edgeseg_converters.options import ExportOptions
from edgeseg_converters.recipes import Recipe
from edgeseg_converters.tflite.convert import to_tflite
from edgeseg_converters.verification import comparison as verification

IMAGES = Samples(tuple(natural_noise(seed, (16, 24)) for seed in range(3)), "noise")


@pytest.fixture(scope="module")
def prepared() -> PreparedModel:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 24, 3))
    outputs = layers.Conv2D(4, 3, padding="same", activation="softmax")(inputs)
    return PreparedModel.of(keras.Model(inputs, outputs, name="tiny"), None, ExportOptions())


def counted(monkeypatch: pytest.MonkeyPatch, backend: type[Any]) -> list[Any]:
    """Return the images that a backend was run on, as they come."""
    ran: list[Any] = []
    run = backend.run

    def counting(self: Any, image: Any) -> Any:
        ran.append(image)
        return run(self, image)

    monkeypatch.setattr(backend, "run", counting)
    return ran


def test_a_model_runs_once_for_an_image_after_its_softmax_was_seen_to_be_its_last_step(
    prepared: PreparedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = counted(monkeypatch, KerasBackend)
    expected = verification.reference(prepared, IMAGES)
    # The given model, three times the one without softmax, and twice that for the receptive field.
    assert len(ran) == 6
    for image, answer in zip(ran[:4:2], expected.answers, strict=False):
        given = prepared.model.predict_on_batch(image)
        np.testing.assert_array_equal(given.argmax(-1)[0], answer.class_map)


def test_where_the_two_differ_both_run_on_every_image(prepared: PreparedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(verification._ACTIVATIONS, "softmax", lambda scores: scores)
    ran = counted(monkeypatch, KerasBackend)
    verification.reference(prepared, IMAGES)
    assert len(ran) == 10


def test_a_class_map_is_taken_from_the_logits_after_it_was_seen_to_be_theirs(
    prepared: PreparedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = verification.reference(prepared, IMAGES)
    artifact = to_tflite(freeze(prepared.model, prepared.spec), prepared.spec)
    ran = counted(monkeypatch, LiteRTBackend)
    proof = verification.verify(expected, artifact, Recipe("tflite", "fp32"))
    assert (proof.passed, proof.num_images, len(ran)) == (True, 3, 4)


def test_an_artifact_whose_class_map_is_not_that_of_its_logits_runs_on_every_image(
    prepared: PreparedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = verification.reference(prepared, IMAGES)
    artifact = to_tflite(freeze(prepared.model, prepared.spec), prepared.spec)
    right = verification.to_class_map
    monkeypatch.setattr(verification, "to_class_map", lambda *args: (right(*args) + 1) % 4)
    ran = counted(monkeypatch, LiteRTBackend)
    proof = verification.verify(expected, artifact, Recipe("tflite", "fp32"))
    assert (proof.passed, proof.argmax_agreement, len(ran)) == (False, 0.0, 6)
