from __future__ import annotations

import sys
from pathlib import Path
from subprocess import run
from typing import Any

import pytest

from edgeseg.errors import InputError
from edgeseg_converters import Exporter, ExportOptions, Quantization, Recipe

INT8 = Recipe("tflite", "int8")


@pytest.mark.parametrize(
    ("recipes", "options", "quantization", "message"),
    [
        ([INT8], {}, {}, "int8 needs images to calibrate with"),
        (
            [INT8],
            {"output_kind": "logits"},
            {"data": "d"},
            "int8 gives a class map of bytes; of two classes it also gives .* Omit `output_kind='logits'`",
        ),
        (
            [Recipe("tflite", "w8a16")],
            {"output_kind": "softmax"},
            {"data": "d"},
            "w8a16 gives a class map of bytes. Omit `output_kind='softmax'`",
        ),
        ([INT8], {"target": "nnapi"}, {"data": "d", "method": "entropy"}, "not by entropy; omit `method`"),
        ([INT8], {"target": "nnapi"}, {"data": "d", "rescue": True}, "which the target nnapi does not run"),
        ([Recipe("onnx", "fp32")], {"target": "xnnpack"}, {}, "target"),
        ([Recipe("onnx", "fp32")], {"opset": 19}, {}, "opset 19 is not written; accepted: 13 to 18"),
        ([Recipe("onnx", "fp32"), INT8], {"layout": "nchw"}, {"data": "d"}, "export onnx alone"),
    ],
)
def test_what_cannot_be_made_is_refused_before_there_is_a_model(
    recipes: list[Recipe], options: dict[str, Any], quantization: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Exporter(recipes, options=ExportOptions(**options), quantization=Quantization(**quantization))


def test_settings_are_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []
    monkeypatch.setattr(ExportOptions, "check", lambda *arguments: checked.append(arguments))
    exporter = Exporter([INT8], options=ExportOptions(target="gpu"))
    assert [arguments[0] for arguments in checked] == [exporter.options]


def test_another_backend_is_refused() -> None:
    program = (
        "from edgeseg_converters import Exporter, Recipe\n"
        "try:\n    Exporter([Recipe('tflite', 'fp32')])\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
    )
    root = Path(__file__).parents[2]
    environment = {"KERAS_BACKEND": "numpy", "PYTHONPATH": f"{root}:{root / 'converters'}"}
    done = run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("InputError export needs Keras' TensorFlow backend, this is numpy"), done.stderr


def test_the_options_load_neither_keras_nor_tensorflow() -> None:
    root = Path(__file__).parents[2]
    program = "import edgeseg_converters.options, sys; print({'keras', 'tensorflow', 'cv2'} & set(sys.modules))"
    environment = {"PYTHONPATH": f"{root}:{root / 'converters'}"}
    done = run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
