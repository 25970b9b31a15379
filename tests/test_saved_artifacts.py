"""Artifacts that an earlier edgeseg wrote still open, on a device too: see ``scripts/make-saved-files``."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from edgeseg import Segmenter

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def answers() -> dict[str, np.ndarray]:
    with np.load(DATA / "saved_answers.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize(
    "name",
    [
        *("saved.fp32.tflite", "saved.int8.tflite", "saved.fp32.onnx", "saved.int8.onnx"),
        pytest.param("saved.fp32.mnn", marks=pytest.mark.skipif(not find_spec("MNN"), reason="MNN is not installed")),
        pytest.param(
            "saved.fp32.xml", marks=pytest.mark.skipif(not find_spec("openvino"), reason="OpenVINO is not installed")
        ),
    ],
)
def test_artifacts_give_the_classes_that_they_gave(answers: dict[str, np.ndarray], name: str) -> None:
    with Segmenter(DATA / name) as segmenter:
        assert segmenter.spec.class_names == ("wall", "red", "blue")
        assert segmenter.spec.ignore_index == 255
        class_map = segmenter(answers["image"]).class_map
    # The recording machine's kernels may sum in another order; a tie of two classes is the only pixel that may differ.
    # In integers more scores tie: onnxruntime 1.20 has another class than 1.32 for 12 of the 5,120 pixels.
    recorded = answers[name if name in answers else "saved.fp32.onnx"]  # which the MNN and OpenVINO files are made of
    assert np.mean(class_map == recorded) >= (0.995 if "int8" in name else 0.999)


def test_the_channel_order_of_an_old_spec_is_read(answers: dict[str, np.ndarray]) -> None:
    """Read as RGB the same file gives other classes: what tells whether the field was skipped."""
    with Segmenter(DATA / "saved.fp32.tflite") as segmenter:
        swapped = segmenter(np.ascontiguousarray(answers["image"][..., ::-1])).class_map
    assert np.mean(swapped == answers["saved.fp32.tflite"]) < 0.99
