"""``--opset`` and ``--layout``: what the file says, that the device side feeds it right, and what is refused."""

from __future__ import annotations

import logging
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest

from edgeseg.choices import Format, Layout, OutputKind, Precision
from edgeseg.errors import InputError
from edgeseg.models import create
from edgeseg.models.zoo.table import ZOO
from edgeseg.runtime.keras import KerasBackend
from edgeseg.segmenter import Segmenter
from edgeseg_converters import Recipe, export, export_all
from edgeseg_converters.images import Samples, natural_noise
from edgeseg_converters.options import ExportOptions, Quantization
from edgeseg_converters.recipes import OPSETS

SIZE = (32, 64)
SPEC = ZOO["unet_mini"].default_spec(5, SIZE)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(7)
    return create("unet_mini", num_classes=5, input_size=SIZE)


@pytest.fixture(scope="module")
def samples() -> Samples:
    return Samples((natural_noise(3, (40, 60)),), "noise")


@pytest.mark.parametrize("opset", OPSETS)
def test_every_opset_is_written_and_proven(opset: int, model: keras.Model, samples: Samples) -> None:
    (result,) = export_all(model, SPEC, [Recipe("onnx", "fp32")], samples=samples, options=ExportOptions(opset=opset))
    assert result.verification is not None
    assert result.verification.passed, result.verification.reason
    assert [(o.domain, o.version) for o in onnx.load_from_string(result.data).opset_import] == [("", opset)]


def test_the_loggers_of_the_process_keep_their_levels(model: keras.Model) -> None:
    loggers = [logging.getLogger(name) for name in ("tf2onnx", "tensorflow")]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.INFO)
        export(model, format="onnx", verify=False)
        assert [logger.level for logger in loggers] == [logging.INFO] * 2
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@pytest.mark.parametrize(
    ("output_kind", "precision"), [("argmax", "fp32"), ("argmax", "fp16"), ("softmax", "fp32"), ("logits", "fp32")]
)
def test_nchw_end_to_end(
    output_kind: OutputKind, precision: Precision, model: keras.Model, samples: Samples, tmp_path: Path
) -> None:
    recipe = Recipe("onnx", precision)
    (result,) = export_all(
        model, SPEC, [recipe], samples=samples, options=ExportOptions(layout="nchw", output_kind=output_kind)
    )
    assert result.verification is not None
    assert result.verification.passed, result.verification.reason
    assert "Transpose" not in [node.op_type for node in onnx.load_from_string(result.data).graph.node]
    with Segmenter(result.save(tmp_path)) as segmenter:
        assert segmenter.spec.layout == "nchw"
        assert segmenter.backend.inputs[0].shape == (1, 3, *SIZE)
        assert segmenter.backend.outputs[0].shape == ((1, *SIZE) if output_kind == "argmax" else (1, 5, *SIZE))
        got = segmenter(samples.images[0]).class_map
    keras_scores = Segmenter(KerasBackend(model, SPEC))(samples.images[0]).score_map
    assert keras_scores is not None
    expected = keras_scores.nearest_class_map() if output_kind == "argmax" else keras_scores.class_map()
    assert np.mean(got == expected) >= recipe.gate.min_agreement


@pytest.mark.parametrize(
    ("file_format", "layout", "opset", "message"),
    [
        ("tflite", "nchw", None, "tflite has no layout nchw: its convolutions read NHWC"),
        ("tflite", "nhwc", 17, "tflite has no opset; omit `opset`"),
        ("onnx", "nhwc", 12, "opset 12 is not written; accepted: 13 to 18, 17 by default"),
        ("onnx", "nhwc", 19, "opset 19 is not written; accepted: 13 to 18"),
        ("onnx", "chw", None, "unknown layout 'chw'; accepted: nhwc, nchw"),
    ],
)
def test_what_a_format_does_not_have_is_refused(
    file_format: Format, layout: Layout, opset: int | None, message: str, model: keras.Model
) -> None:
    with pytest.raises(InputError, match=message):
        export(model, format=file_format, verify=False, options=ExportOptions(layout=layout, opset=opset))


def test_nchw_beside_tflite_is_refused_as_well() -> None:
    with pytest.raises(InputError, match="export onnx alone"):
        ExportOptions(layout="nchw").check([Recipe("onnx", "fp32"), Recipe("tflite", "fp32")], Quantization())
