"""``export``, ``_export_results`` and ``edgeseg_converters.report.build``: ``edgeseg export --precision int8`` as a
user runs it, on a small real model and a small real data set.
"""

from __future__ import annotations

import json
from pathlib import Path

import keras
import pytest

from edgeseg.cli import main
from edgeseg.tflite.graph import read_graph

MODEL = ("export", "unet_mini", "--imgsz", "32,48", "--num-classes", "3", "--num-images", "1")
INT8 = (*MODEL, "--precision", "int8", "--num-calibration-samples", "8")


@pytest.fixture(autouse=True)
def _the_same_weights_every_time() -> None:
    """A zoo model without weights is random; one that gives a single class everywhere loses nothing in 8 bits."""
    keras.utils.set_random_seed(1)


def test_both_formats_with_report(shapes_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Random weights: what they score is chance, so the gate is wide open; the share of equal pixels is not chance.
    gate = ("--max-drop", "100", "--max-class-drop", "100")
    where = ("--data", str(shapes_dataset), "--output-dir", str(tmp_path))
    args = (*INT8, "--format", "tflite,onnx", "--ptq", "off", *gate, *where)
    assert main([*args, "--no-verify", "--json"]) == 0
    artifacts = json.loads(capsys.readouterr().out)["artifacts"]
    assert [Path(artifact["path"]).name for artifact in artifacts] == ["unet_mini.int8.tflite", "unet_mini.int8.onnx"]
    made_by = (("litert-quantizer", "percentile"), ("onnxruntime", "percentile"))
    for artifact, (engine, method) in zip(artifacts, made_by, strict=True):
        told = artifact["quantization"]
        assert (told["engine"], told["calibration_method"]) == (engine, method)
        assert (told["calibration"]["num_images"], told["calibration"]["seed"]) == (8, 0)
        accuracy = told["accuracy"]
        assert set(accuracy["per_class_iou"]) == {"wall", "red", "blue"}
        assert accuracy["num_images"] == 4
        assert accuracy["argmax_agreement"] > 0.9
        assert accuracy["passed"] is True
    report = json.loads((tmp_path / "unet_mini.report.json").read_text())
    names = [(entry["precision"], entry["format"]) for entry in report["artifacts"]]
    assert sorted(names) == [("fp32", "onnx"), ("fp32", "tflite"), ("int8", "onnx"), ("int8", "tflite")]
    assert all(entry["latency"]["summary"]["median_ms"] > 0 for entry in report["artifacts"])
    page = (tmp_path / "unet_mini.report.html").read_text()
    assert all(name in page for name in ("wall", "red", "blue"))
    graph = read_graph((tmp_path / "unet_mini.int8.tflite").read_bytes())
    names = {graph.model.subgraphs[0].tensors[node.outputs[0]].name.decode() for node in graph.nodes}
    errors = json.loads((tmp_path / "unet_mini.int8.tflite.errors.node-data.json").read_text())["results"]
    assert len(errors) > len(graph.nodes) / 2 and set(errors) <= names  # each value is of a node of that file
    # A second time nothing is overwritten unasked, and nothing was done for nothing.
    assert main([*args, "--no-verify"]) == 2
    assert "exists" in capsys.readouterr().err


@pytest.mark.slow
def test_a_gate_that_fails_exits_1_and_keeps_the_report(
    shapes_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = shapes_dataset / "train" / "images"
    args = (*INT8, "--data", str(images), "--min-agreement", "1", "--output-dir", str(tmp_path), "--no-verify")
    assert main(list(args)) == 1
    assert "failed its accuracy gate: only" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "unet_mini.int8.tflite.errors.node-data.json", "unet_mini.int8.tflite.rejected",
        "unet_mini.report.html", "unet_mini.report.json",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((), "int8 needs images to calibrate with"),
        (("--data", "few"), "has 3 images; calibration needs at least 8"),
        (("--data", "corrupt"), "05.png"),
        (
            ("--data", "good", "--output-kind", "logits"),
            "int8 gives a class map of bytes; of two classes it also gives",
        ),
        (("--data", "good", "--output-kind", "softmax"), "int8 gives scores of two classes, this model has 3: omit"),
        (("--data", "good", "--target", "edgetpu", "--rescue"), "which the target edgetpu does not run"),
        (("--rescue",), "a rescue needs images"),
        (
            ("--data", "good", "--target", "edgetpu", "--calibration-method", "entropy"),
            "int8 for the target edgetpu is calibrated by the whole measured range, not by entropy",
        ),
    ],
)
def test_what_cannot_be_made_is_said_in_one_line(
    options: tuple[str, ...],
    reason: str,
    shapes_dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sources = sorted((shapes_dataset / "train" / "images").iterdir())
    for name, count in (("few", 3), ("corrupt", 10), ("good", 10)):
        (tmp_path / name).mkdir()
        for source in sources[:count]:
            cut = 40 if name == "corrupt" and source.name == "05.png" else None
            (tmp_path / name / source.name).write_bytes(source.read_bytes()[:cut])
    output = tmp_path / "out"
    output.mkdir()
    given = [str(tmp_path / option) if (tmp_path / option).is_dir() else option for option in options]
    assert main([*INT8, *given, "--output-dir", str(output), "--no-verify"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert reason in error
    assert not list(output.iterdir())
