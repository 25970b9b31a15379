from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def proven_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model of scores as .tflite and .onnx, with the proof of both."""
    keras = pytest.importorskip("keras")
    from edgeseg.models import create
    from edgeseg.spec import ModelSpec, default_class_names, default_palette
    from edgeseg_converters import ExportOptions, Recipe, export_all
    from edgeseg_converters.images import Samples, natural_noise

    folder = tmp_path_factory.mktemp("proven")
    keras.utils.set_random_seed(3)
    model = create("unet_mini", num_classes=5, input_size=(32, 48))
    samples = Samples(tuple(natural_noise(seed, (40, 48)) for seed in range(3)), "noise")
    recipes = [Recipe("tflite", "fp32"), Recipe("onnx", "fp32")]
    options = ExportOptions(output_kind="logits")
    spec = ModelSpec(
        name="unet_mini", input_size=(32, 48), class_names=default_class_names(5), palette=default_palette(5)
    )
    results = list(export_all(model, spec, recipes, samples=samples, options=options))
    proof = results[0].proof()
    for result in results:
        result.save(folder)
        proof = proof.with_artifacts(result.proof().artifacts)
    proof.save(folder / "unet_mini.proof.zip")
    return folder


@pytest.fixture
def proven(proven_once: Path, tmp_path: Path) -> Path:
    """A copy of that folder, which a test may change."""
    return Path(shutil.copytree(proven_once, tmp_path / "proven"))
