"""MediaPipe's Image Segmenter on our artifact: opened by its metadata alone, with the same classes for each pixel.

mediapipe brings opencv-contrib-python, whose files lie in the same folder as opencv-python's; so it gets an environment
of its own.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeseg.imaging import preprocess
from edgeseg.models.opening import load_model
from edgeseg.segmenter import Segmenter
from edgeseg.sources import frames
from edgeseg_converters import ExportResult, Recipe, export_all
from edgeseg_converters.options import ExportOptions

# 1.2 is the first that was tried; from there on pip resolves it on Python 3.10 to 3.13.
REQUIREMENT = "mediapipe>=1.2"

THEIRS = """
import json, sys
import numpy as np
import mediapipe
from mediapipe.tasks.python import BaseOptions, vision

model, image, category_mask = sys.argv[1:]
image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.load(image))
options = vision.ImageSegmenterOptions(
    base_options=BaseOptions(model_asset_path=model), output_category_mask=True, output_confidence_masks=True
)
with vision.ImageSegmenter.create_from_options(options) as segmenter:
    result = segmenter.segment(image)
    np.save(category_mask, result.category_mask.numpy_view())
    print(json.dumps({"labels": list(segmenter.labels), "masks": len(result.confidence_masks)}))
"""


@pytest.fixture(scope="module")
def python(new_environment: Callable[..., Path]) -> Path:
    python = new_environment(REQUIREMENT) / "python"
    load = "from mediapipe.tasks.python import vision"
    done = subprocess.run([python, "-c", load], capture_output=True, text=True, check=False)
    missing = next((name for name in ("libGLESv2", "libEGL", "libGL.so", "libportaudio") if name in done.stderr), None)
    if missing:
        pytest.skip(f"mediapipe needs {missing}, which this machine has not")
    assert done.returncode == 0, done.stderr
    return python


@pytest.fixture(scope="module")
def artifact() -> ExportResult:
    opened = load_model()
    (result,) = export_all(
        opened.model, opened.spec, [Recipe("tflite", "fp32")], options=ExportOptions(output_kind="softmax")
    )
    return result


@pytest.mark.slow
def test_mediapipe_sees_what_we_see(python: Path, artifact: ExportResult, street_clip: Path, tmp_path: Path) -> None:
    model = artifact.save(tmp_path)
    height, width = artifact.spec.input_size
    # At the model's own size neither side resizes: MediaPipe does it in another way than OpenCV.
    image = cv2.resize(next(frames([str(street_clip)], start=150)).image_rgb, (width, height))
    np.save(tmp_path / "image.npy", image)
    command = [python, "-c", THEIRS, model, tmp_path / "image.npy", tmp_path / "theirs.npy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {"labels": list(artifact.spec.class_names), "masks": artifact.spec.num_classes}
    theirs = np.load(tmp_path / "theirs.npy")[..., 0]
    with Segmenter(model) as segmenter:
        ours = segmenter(image).class_map
        scores = np.sort(segmenter.backend.run(preprocess(image, artifact.spec)[0])[0], axis=-1)
    # The same file on another build of the same kernels: a pixel may flip only where two scores tie but for rounding.
    # None does here; 1e-4 is a thousand float32 steps below 1.
    tied = scores[..., -1] - scores[..., -2] < 1e-4
    assert np.all((ours == theirs) | tied)
    assert tied.mean() < 1e-3
    assert len(np.unique(ours)) > 3
