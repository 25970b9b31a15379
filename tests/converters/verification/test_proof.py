"""``edgeseg_converters.verification.proof``: the proof that an export makes, and adds to."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeseg._internal.files import sha256
from edgeseg._internal.locks import SUFFIX as LOCK_SUFFIX
from edgeseg._internal.locks import exclusive
from edgeseg.errors import InputError
from edgeseg.models import create
from edgeseg.models.layers import MaxPoolingWithArgmax2D, MaxUnpooling2D
from edgeseg.models.zoo.table import ZOO
from edgeseg.proof import read_proof, verify
from edgeseg_converters import AccuracyGate, ExportOptions, ExportResult, Quantization, Recipe, export_all
from edgeseg_converters.images import Samples, natural_noise
from edgeseg_converters.keras_model.prepare import PreparedModel
from edgeseg_converters.recipes import GATES
from edgeseg_converters.verification import proof as proofs
from edgeseg_converters.verification.comparison import Reference, reference
from edgeseg_converters.verification.proof import existing_proof, make_proof, save_proof

SIZE = (32, 48)
NAME = "unet_mini"


def exported(model: keras.Model, *recipes: Recipe, **settings: Any) -> list[ExportResult]:
    samples = Samples(tuple(natural_noise(seed, (40, 44)) for seed in range(3)), "noise")
    return list(export_all(model, ZOO[NAME].default_spec(5, SIZE), recipes, samples=samples, **settings))


@pytest.fixture(scope="module")
def results() -> list[ExportResult]:
    keras.utils.set_random_seed(3)
    return exported(create(NAME, num_classes=5, input_size=SIZE), Recipe("tflite", "fp32"), Recipe("tflite", "fp16"))


@pytest.fixture(scope="module")
def expected(results: list[ExportResult]) -> Reference:
    assert results[0].reference is not None
    return results[0].reference


def test_a_proof_has_what_keras_says_of_the_images_as_they_are_fed(expected: Reference) -> None:
    proof = make_proof(expected)
    assert proof.source == "noise"
    assert proof.spec.input_size == SIZE
    assert {name: gate.min_agreement for name, gate in proof.gates.items()} == {
        name: gate.min_agreement for name, gate in GATES.items()
    }
    for image, answer in zip(proof.images, expected.answers, strict=True):
        assert image.image_rgb.shape == (*SIZE, 3)
        assert np.array_equal(image.class_map, answer.class_map)
        exact = answer.leads() / expected.largest
        assert (image.margins <= exact + 1e-6).all()  # rounded down, in float32
        assert np.abs(np.sqrt(image.margins) - np.sqrt(exact)).max() <= 16 / 255 + 1e-3
    for gate in proof.gates.values():
        decided = np.mean([image.margins >= gate.decided_from for image in proof.images])
        assert decided >= 0.25


def test_where_every_lead_is_small_a_quarter_is_decided(expected: Reference) -> None:
    flat = [dataclasses.replace(answer, scores=10 + answer.scores / 1e5) for answer in expected.answers]
    proof = make_proof(dataclasses.replace(expected, answers=tuple(flat)))
    for gate in proof.gates.values():
        assert 0 < gate.decided_from < 1e-3
    margins = np.concatenate([image.margins.ravel() for image in proof.images])
    assert np.mean(margins >= proof.gates["int8"].decided_from) >= 0.25 or (margins == 0).mean() > 0.75


def test_images_are_omitted_until_the_proof_is_small(expected: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(make_proof(expected).to_bytes())
    monkeypatch.setattr(proofs, "MAX_BYTES", size - 1)
    assert len(make_proof(expected).images) == 2
    monkeypatch.setattr(proofs, "MAX_BYTES", 10)
    assert len(make_proof(expected).images) == 1


def test_pixels_that_keras_decides_by_rounding_are_no_part_of_it() -> None:
    # Bars of equal pixels: every window of the pooling is a tie, and the noise of the probe takes another place.
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3))
    pooled, indices = MaxPoolingWithArgmax2D()(keras.layers.Conv2D(4, 3, padding="same")(image))
    scores = keras.layers.Conv2D(3, 3, padding="same")(MaxUnpooling2D()([pooled, indices]))
    model = keras.Model(image, scores)
    noise = natural_noise(0, (32, 32))
    noise[:16] = 128
    spec = ZOO[NAME].default_spec(3, (32, 32))
    samples = Samples((noise,), "noise")
    prepared = PreparedModel.of(model, spec, ExportOptions(), samples)
    (image_of_proof,) = make_proof(reference(prepared, samples)).images
    assert (image_of_proof.margins[2:14] == 0).mean() > 0.9
    assert (image_of_proof.margins[18:30] > 0).mean() > 0.5


def test_files_of_one_model_share_a_proof(results: list[ExportResult], expected: Reference, tmp_path: Path) -> None:
    for result in results:
        path = result.save(tmp_path)
        save_proof(expected, NAME, dict(result.proof().artifacts), tmp_path, overwrite=False)
        assert verify(path, repeat=1).passed
    assert set(read_proof(tmp_path / f"{NAME}.proof.zip").artifacts) == {r.file_name for r in results}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{NAME}.fp16.tflite", f"{NAME}.fp32.tflite", f"{NAME}.proof.zip",
    ]  # fmt: skip


def test_an_export_on_other_images_adds_to_the_proof_that_is_there(
    results: list[ExportResult], expected: Reference, tmp_path: Path
) -> None:
    first, second = (result.save(tmp_path) for result in results)
    path = save_proof(expected, NAME, {first.name: sha256(first.read_bytes())}, tmp_path, overwrite=False)
    before = read_proof(path)
    images = Samples(expected.samples.images[:1], "one")
    other = dataclasses.replace(expected, samples=images, answers=expected.answers[:1])
    save_proof(other, NAME, {second.name: sha256(second.read_bytes())}, tmp_path, overwrite=False)
    read = read_proof(path)
    assert read.asks_the_same(before)
    assert set(read.artifacts) == {first.name, second.name}
    assert verify(second, repeat=1).passed


def test_the_proof_of_another_model_is_replaced_only_when_asked(
    results: list[ExportResult], expected: Reference, tmp_path: Path
) -> None:
    artifact = results[0].save(tmp_path)
    digests = {artifact.name: sha256(artifact.read_bytes())}
    flipped = tuple(dataclasses.replace(one, class_map=(one.class_map + 1) % 5) for one in expected.answers)
    other = dataclasses.replace(expected, answers=flipped)
    path = save_proof(other, NAME, {"a": "a" * 64}, tmp_path, overwrite=False)
    with pytest.raises(InputError, match=r"is of another model, .* of its decided pixels agree"):
        save_proof(expected, NAME, digests, tmp_path, overwrite=False)
    assert set(read_proof(path).artifacts) == {"a"}
    save_proof(expected, NAME, digests, tmp_path, overwrite=True)
    assert dict(read_proof(path).artifacts) == digests
    # One of the same model on other images is replaced too, and what answers the new one stays in it.
    images = Samples(expected.samples.images[:1], "one")
    second = results[1].save(tmp_path)
    fewer = dataclasses.replace(expected, samples=images, answers=expected.answers[:1])
    more = {second.name: sha256(second.read_bytes())}
    save_proof(fewer, NAME, more, tmp_path, overwrite=True)
    assert dict(read_proof(path).artifacts) == {**digests, **more}
    assert len(read_proof(path).images) == 1
    path.write_bytes(b"mine")
    with pytest.raises(InputError, match="no proof of edgeseg"):
        save_proof(expected, NAME, digests, tmp_path, overwrite=False)


def test_a_file_that_is_no_proof_is_seen_before_the_work(tmp_path: Path) -> None:
    assert existing_proof(tmp_path, NAME, overwrite=False) is None
    (tmp_path / f"{NAME}.proof.zip").write_bytes(b"mine")
    with pytest.raises(InputError, match="overwrite=True"):
        existing_proof(tmp_path, NAME, overwrite=False)
    assert existing_proof(tmp_path, NAME, overwrite=True) is None


def test_two_exports_at_once_lose_no_artifact(expected: Reference, tmp_path: Path) -> None:
    lock = tmp_path / f".{NAME}.proof.zip{LOCK_SUFFIX}"
    with exclusive(lock, "it"), pytest.raises(InputError, match="process"):
        save_proof(expected, NAME, {}, tmp_path, overwrite=False)


def test_what_was_not_proven_has_no_proof(results: list[ExportResult]) -> None:
    with pytest.raises(InputError, match="needs `verify=True`"):
        dataclasses.replace(results[0], reference=None).proof()
    assert results[0].verification is not None
    failed = dataclasses.replace(results[0].verification, passed=False, reason="it is wrong")
    with pytest.raises(InputError, match="it is wrong, so that there is no proof"):
        dataclasses.replace(results[0], verification=failed).proof()


def test_an_int8_file_passes_its_own_gate(shapes_dataset: Path) -> None:
    keras.utils.set_random_seed(3)
    model = create(NAME, num_classes=3, input_size=SIZE)
    quantization = Quantization(data=shapes_dataset, gate=AccuracyGate(100, 100, 0))
    spec = ZOO[NAME].default_spec(3, SIZE)
    samples = Samples(tuple(natural_noise(seed, SIZE) for seed in range(2)), "noise")
    (result,) = export_all(model, spec, [Recipe("tflite", "int8")], samples=samples, quantization=quantization)
    proof = result.proof()
    assert proof.gates["int8"].min_agreement == 0.9
    assert proof.spec.dtype == "float32"  # the model's; the file takes bytes
    assert result.spec.dtype == "uint8"
