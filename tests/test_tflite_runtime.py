"""The old device: edgeseg beside ``tflite-runtime`` and numpy 1, in an environment of its own; no ai-edge-litert."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from edgeseg.models import create
from edgeseg.segmenter import Segmenter
from edgeseg_converters import export

# The last wheels: Linux, Python 3.11 and older, built against numpy 1.
REQUIREMENTS = ("tflite-runtime==2.14.0", "numpy<2")


@pytest.fixture(scope="module")
def old_device(wheel: Path, new_environment: Callable[..., Path]) -> Path:
    """Folder of the environment's programs."""
    python = sys.executable if sys.version_info < (3, 12) else shutil.which("python3.11") or shutil.which("python3.10")
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64", "armv7l") or python is None:
        pytest.skip("tflite-runtime has wheels for Linux on x86-64 and ARM, for Python 3.11 and older")
    return new_environment(wheel, *REQUIREMENTS, python=python)


@pytest.mark.slow
def test_it_predicts_what_the_new_runtime_does(old_device: Path, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    artifact = export(create("unet_mini", num_classes=3, input_size=(32, 48)), verify=False).save(tmp_path)
    photo = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "p.png"), photo[..., ::-1])

    def predict(*options: str) -> subprocess.CompletedProcess[str]:
        command = [old_device / "edgeseg", "predict", artifact, tmp_path / "p.png", "--json", *options]
        return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)

    done = predict()
    assert done.returncode == 0, done.stderr
    assert "ai-edge-litert is not installed; running on tflite-runtime 2.14.0" in done.stderr
    (image,) = json.loads(done.stdout)["images"]
    expected = Segmenter(artifact)(photo).counts()
    # Three years of kernels lie between the two: scores differ by some ulp, and so may a class where two of them tie.
    assert sum(abs(image["counts"][name] - expected[name]) for name in expected) <= 0.002 * photo[..., 0].size * 2
    by_name = predict("--backend", "tflite-runtime")
    assert by_name.returncode == 0, by_name.stderr
    assert json.loads(by_name.stdout)["images"] == [image]
    assert "not installed" not in by_name.stderr  # it is what was asked for
    refused = predict("--accelerator", "gpu")
    assert refused.returncode == 2
    assert 'pip install "edgeseg[tflite]"' in refused.stderr
