"""What segmentation_models builds in Keras 2: saved there, exported here, the files held against Keras 2's answers."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseg.models.opening import load_model
from edgeseg_converters import Recipe, export_all
from edgeseg_converters.options import ExportOptions

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
#: Each architecture and each family of backbones once; of EfficientNet, PSPNet has only the first half.
MODELS = ("Unet:vgg16", "FPN:mobilenetv2", "Linknet:resnet18", "PSPNet:efficientnetb0")
FEW = MODELS[3:]

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("segmentation_models") is None, reason="segmentation-models is not installed"
)


def written(name: str, folder: Path) -> Path:
    """A model of Keras 2, from a process of its own: it must not have loaded Keras 3."""
    command = [sys.executable, BENCHMARKS / "segmentation_models_grid.py", name, "--cache", folder, "--write"]
    # Keras 2 has no other backend; a session that tests JAX must not reach it.
    clean = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    done = subprocess.run(command, capture_output=True, text=True, env=clean)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / f"{name}.h5".replace(":", "_")


@pytest.fixture(scope="module")
def grid() -> Any:
    """The benchmark's functions: it runs files without edgeseg."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import segmentation_models_grid
    finally:
        sys.path.remove(str(BENCHMARKS))
    return segmentation_models_grid


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in FEW else pytest.mark.slow) for name in MODELS])
def test_the_files_say_what_keras2_said(name: str, tmp_path: Path, grid: Any) -> None:
    path = written(name, tmp_path)
    with np.load(path.with_suffix(".npz")) as arrays:
        x, expected = arrays["x"], arrays["y"]
    assert len(np.unique(expected.argmax(-1))) > 1  # else any file would agree
    opened = load_model(str(path))
    # ONNX of one model: its converter starts from the same frozen function, and the benchmark has all.
    recipes = [Recipe("tflite", "fp32"), *([Recipe("onnx", "fp32")] if name == MODELS[1] else [])]
    # Without the speed-ups, whose proofs take longest; the benchmark has them.
    options = ExportOptions(output_kind="softmax", optimize=False)
    for result in export_all(opened.model, opened.spec, recipes, options=options):
        scores = grid.run(result.recipe.format, result.data, x)
        # Float32 sums in another order, through up to 100 layers; the benchmark has measured 6e-4.
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-3, err_msg=result.recipe.format)
        assert (scores.argmax(-1) == expected.argmax(-1)).mean() >= 0.999
