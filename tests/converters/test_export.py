"""``edgeseg_converters``, ``exporter``, ``recipes``, ``verification``, ``tflite.convert``: all formats and precisions
on its real runtime, through one tester; and the proof catching what it must.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args, get_type_hints

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import edgeseg_converters
from edgeseg.choices import Format, OutputKind, Precision
from edgeseg.errors import InputError, UnsupportedModel, VerificationFailed
from edgeseg.imaging import preprocess
from edgeseg.models import create
from edgeseg.models.zoo.table import ZOO
from edgeseg.runtime.keras import KerasBackend
from edgeseg.segmenter import Segmenter, to_class_map
from edgeseg_converters import Quantization, Recipe, export, export_all
from edgeseg_converters.images import Samples, natural_noise
from edgeseg_converters.keras_model.prepare import PreparedModel
from edgeseg_converters.options import ExportOptions
from edgeseg_converters.recipes import GATES
from edgeseg_converters.verification.comparison import reference, verify

SIZE = (64, 96)
RECIPES = [Recipe(f, p) for f in ("tflite", "onnx") for p in ("fp32", "fp16")]


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(7)
    return create("unet_mini", num_classes=5, input_size=SIZE)


@pytest.fixture(scope="module")
def samples() -> Samples:
    return Samples(tuple(natural_noise(seed, SIZE) for seed in range(2)), "noise")


def test_what_export_all_takes_is_exported_beside_it() -> None:
    hints = [*get_type_hints(export_all).values(), Quantization.__dataclass_fields__["gate"].default_factory]
    taken = {kind for hint in hints for kind in (get_args(hint) or [hint]) if isinstance(kind, type)}
    taken = {kind for kind in taken if kind.__module__.startswith("edgeseg_converters.")}
    names = {"AccuracyGate", "ExportOptions", "Quantization", "Recipe", "Samples"}
    assert names <= {kind.__name__ for kind in taken}
    assert all(getattr(edgeseg_converters, kind.__name__) is kind for kind in taken)


def test_a_tflite_file_has_a_signature_with_readable_names(model: keras.Model) -> None:
    # Tools that feed a model by name (run_by_name, calibration) look for it.
    spec = ZOO["unet_mini"].default_spec(5, SIZE)
    (result,) = export_all(model, spec, [Recipe("tflite", "fp32")], options=ExportOptions(output_kind="logits"))
    runner = Interpreter(model_content=result.data).get_signature_runner("serving_default")
    assert runner(image=np.zeros((1, *SIZE, 3), np.float32))["logits"].shape == (1, *SIZE, 5)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: f"{r.format}-{r.precision}")
def test_artifact_says_how_to_feed_it_and_agrees_with_keras(
    recipe: Recipe, model: keras.Model, samples: Samples, tmp_path: Path
) -> None:
    spec = ZOO["unet_mini"].default_spec(5, SIZE)
    (result,) = export_all(model, spec, [recipe], samples=samples)
    assert result.verification is not None
    assert result.verification.passed, result.verification.reason
    path = result.save(tmp_path)
    assert path.name == f"unet_mini.{recipe.precision}.{recipe.format}"

    with Segmenter(path) as segmenter:
        inside = segmenter.spec
        assert (inside.input_size, inside.num_classes, inside.mean) == (SIZE, 5, (127.5,) * 3)
        assert (inside.output_kind, inside.provenance.precision) == ("argmax", recipe.precision)
        # Of the Keras model's scores, so that a file of ids has it too. Its 3x3 convolutions at 1, 1/2 and 1/4, twice
        # up and down, reach 22 pixels at most from an edge where its strides begin again.
        assert inside.receptive_radius == result.spec.receptive_radius
        assert isinstance(inside.receptive_radius, tuple)
        assert 10 <= min(inside.receptive_radius) <= max(inside.receptive_radius) <= 22
        assert inside.provenance.tools["tensorflow"]
        assert segmenter.backend.inputs[0].name == "image"
        assert segmenter.backend.outputs[0].name == "class_map"
        assert segmenter.backend.outputs[0].dtype == "uint8"
        got = segmenter(samples.images[0]).class_map
    scores = Segmenter(KerasBackend(model, spec))(samples.images[0]).score_map
    assert scores is not None
    assert np.mean(got == scores.nearest_class_map()) >= recipe.gate.min_agreement


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
@pytest.mark.parametrize("output_kind", ["logits", "softmax"])
def test_scores_are_the_models(
    file_format: Format, output_kind: OutputKind, model: keras.Model, samples: Samples, tmp_path: Path
) -> None:
    spec = ZOO["unet_mini"].default_spec(5, SIZE)
    (result,) = export_all(
        model, spec, [Recipe(file_format, "fp32")], samples=samples, options=ExportOptions(output_kind=output_kind)
    )
    assert result.verification is not None
    assert result.verification.passed
    with Segmenter(result.save(tmp_path)) as segmenter:
        tensor, _ = preprocess(samples.images[0], spec)
        scores = segmenter.backend.run(tensor)
        logits = model.predict_on_batch(tensor)
        expected = logits if output_kind == "logits" else keras.ops.convert_to_numpy(keras.ops.softmax(logits))
        # Twelve float32 convolutions summed in another order: 1e-4 of logits near 1 is a hundred times their ulp.
        np.testing.assert_allclose(scores, expected, atol=1e-4)
        np.testing.assert_array_equal(to_class_map(scores, segmenter.spec), expected[0].argmax(-1))


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_fp16_halves_the_file(file_format: Format, model: keras.Model) -> None:
    full, half = (export(model, format=file_format, precision=p, verify=False) for p in ("fp32", "fp16"))
    # Weights are nine tenths of this file; the graph and the spec stay as they are.
    assert len(half.data) < 0.6 * len(full.data)


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_proof_fails_for_the_weights_of_another_model(file_format: Format, samples: Samples) -> None:
    spec = ZOO["unet_mini"].default_spec(5, SIZE)
    models = []
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        models.append(create("unet_mini", num_classes=5, input_size=SIZE))
    recipe = Recipe(file_format, "fp32")
    (artifact,) = export_all(models[0], spec, [recipe])
    expected = reference(PreparedModel.of(models[1], spec.replace(output_kind="argmax"), samples=samples), samples)
    proof = verify(expected, artifact.data, recipe)
    assert not proof.passed
    assert "of the pixels have the class that Keras gives" in proof.reason


def test_proof_sees_an_error_that_flips_no_pixel(model: keras.Model, samples: Samples) -> None:
    """All logits twice as large: every class is the same, the logits are not."""
    spec = ZOO["unet_mini"].default_spec(5, SIZE)
    doubled = create("unet_mini", num_classes=5, input_size=SIZE)
    doubled.set_weights(model.get_weights())
    last = doubled.layers[-1]
    last.set_weights([2 * w for w in last.get_weights()])
    recipe = Recipe("tflite", "fp32")
    (artifact,) = export_all(doubled, spec, [recipe])
    proof = verify(
        reference(PreparedModel.of(model, spec.replace(output_kind="argmax"), samples=samples), samples),
        artifact.data,
        recipe,
    )
    assert proof.argmax_agreement > 0.999
    assert not proof.passed
    assert "a logit differs by" in proof.reason


def test_export_raises_when_the_proof_fails(monkeypatch: pytest.MonkeyPatch, model: keras.Model) -> None:
    impossible = GATES["fp32"].__class__(min_agreement=1.1, max_relative_error=None)
    monkeypatch.setitem(GATES, "fp32", impossible)
    with pytest.raises(VerificationFailed, match=r"unet_mini\.fp32\.tflite failed its verification: only"):
        export(model)


def test_an_op_without_a_builtin_is_refused_by_name_never_flexed() -> None:
    import tensorflow as tf

    @keras.saving.register_keras_serializable(package="test")
    class PoolIndices(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: tf.Tensor) -> tf.Tensor:
            return tf.cast(tf.nn.max_pool_with_argmax(x, 2, 2, "VALID").argmax, tf.float32)

    inputs = keras.Input((16, 16, 3))
    foreign = keras.Model(inputs, PoolIndices()(inputs))
    with pytest.raises(UnsupportedModel, match="TFLite has no builtin for: MaxPoolWithArgmax"):
        export(foreign, verify=False)


@pytest.mark.parametrize(("file_format", "precision"), [("tflit", "fp32"), ("tflite", "fp15")])
def test_unknown_recipe_is_refused(file_format: Format, precision: Precision) -> None:
    with pytest.raises(InputError, match=r"unknown .*accepted:"):
        Recipe(file_format, precision)


def test_existing_file_is_kept(model: keras.Model, tmp_path: Path) -> None:
    result = export(model, verify=False)
    path = result.save(tmp_path / "a.tflite")
    path.write_bytes(b"precious")
    with pytest.raises(InputError, match="exists; give `overwrite=True`"):
        result.save(path)
    assert path.read_bytes() == b"precious"
    result.save(path, overwrite=True)
    assert path.read_bytes() == result.data
