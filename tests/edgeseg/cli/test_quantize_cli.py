"""``edgeseg.cli.quantize``, ``edgeseg.cli._artifact_files``: a float file of any origin, and what runs its integers."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from edgeseg.cli import main
from edgeseg.downloads.models import PUBLISHED
from edgeseg.downloads.npm import download
from edgeseg.errors import InputError
from edgeseg.sources import frames
from edgeseg.tflite.graph import count_ops

DATA = Path(__file__).parents[2] / "data"
QUICK = ("--rounds", "1", "--num-runs", "2", "--min-secs", "0", "--max-secs", "5")


def test_the_file_runs_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw = runpy.run_path(str(DATA / "pytorch_models.py"))["draw"]
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(8):
        cv2.imwrite(str(photos / f"{seed}.png"), draw(seed)[0][..., ::-1])
    out = tmp_path / "out"
    command = ["quantize", str(DATA / "pytorch_deeplab.onnx"), "--data", str(photos), "--output-dir", str(out)]
    how = ["--mean", "0", "--std", "255", "--labels", "wall,red,blue", "--ptq", "off", "--name", "lab"]
    assert main([*command, *how, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    (entry,) = printed["artifacts"]
    artifact = Path(entry["path"])
    assert artifact == out / "lab.int8.onnx" and entry["rewrites"] == []
    assert entry["verification"]["model"] == "the float file" and entry["quantization"]["accuracy"]["passed"]
    assert {path.name for path in out.iterdir()} == {
        artifact.name, "lab.card.md", "lab.proof.zip", "lab.report.html", "lab.report.json",
    }  # fmt: skip
    assert printed["card"] == str(out / "lab.card.md")
    card = (out / "lab.card.md").read_text()
    assert "edgeseg quantize pytorch_deeplab.onnx --data photos" in card and "the float file, pixel by pixel" in card
    assert "--license" in card and str(tmp_path) not in card
    assert "against the float file, on 8 images" in " ".join((out / "lab.report.html").read_text().split())
    assert main(["verify", str(artifact), "--repeat", "2"]) == 0
    assert main(["benchmark", str(artifact), *QUICK, "--output", str(tmp_path / "result.json")]) == 0
    assert main(["predict", str(artifact), str(photos / "0.png"), "--json"]) == 0
    assert main(["camera", str(artifact), "--source", str(photos), "--no-show", "--save", str(tmp_path / "drawn")]) == 0
    capsys.readouterr()
    assert main([*command, *how]) == 2
    assert "exists; give --overwrite" in capsys.readouterr().err
    assert main([*command, *how, "--license", "to be said"]) == 2
    assert "--license 'to be said' is no identifier of a license" in capsys.readouterr().err
    assert main([*command, "--name", "other"]) == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert "does not say how its input is normalized: give --mean and --std" in line
    assert not (out / "other.int8.onnx").exists()


def test_the_rejected_file_is_kept_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Logits about 100000, of which 255 steps tell none apart."""
    model = onnx.load(DATA / "pytorch_unet.onnx")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32([1e5]), "far"))
    last = next(node for node in model.graph.node if "output" in node.output)
    last.output[0] = "near"
    model.graph.node.append(onnx.helper.make_node("Add", ["near", "far"], ["output"]))
    onnx.save(model, tmp_path / "far.onnx")
    draw = runpy.run_path(str(DATA / "pytorch_models.py"))["draw"]
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(8):
        cv2.imwrite(str(photos / f"{seed}.png"), draw(seed)[0][..., ::-1])
    out = tmp_path / "out"
    how = ["--mean", "0", "--std", "255", "--ptq", "off", "--no-report", "--imgsz", "48,64", "--output-dir", str(out)]
    assert main(["quantize", str(tmp_path / "far.onnx"), "--data", str(photos), *how]) == 1
    assert "far.int8.onnx.rejected failed its verification: only" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["far.int8.onnx.rejected"]


@pytest.mark.slow
def test_mediapipes_selfie(street_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The published file, with MediaPipe's own op and float16 weights, becomes integers that any interpreter runs."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    model = PUBLISHED["selfie"]
    try:
        content = download(model.package, [model.file])[model.file]
    except InputError as error:
        pytest.skip(f"the npm registry is not reached: {error}")
    published = tmp_path / "selfie.tflite"
    published.write_bytes(content)
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, frame in enumerate(frames([str(street_clip.with_name("carphone_pristine.mp4"))], stride=12)):
        if number < 8:
            cv2.imwrite(str(photos / f"{number}.png"), cv2.resize(frame.image_rgb, (176, 144))[..., ::-1])
    command = ["quantize", str(published), "--data", str(photos), "--output-dir", str(tmp_path), "--ptq", "off"]
    how = ["--mean", "0", "--std", "255", "--fit", "stretch", "--labels", "person", "--output-kind", "softmax"]
    assert main([*command, *how, "--no-report", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["artifacts"]
    artifact = Path(entry["path"])
    assert "Convolution2DTransposeBias" not in count_ops(artifact.read_bytes())
    plain = Interpreter(str(artifact), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    plain.allocate_tensors()
    assert plain.get_input_details()[0]["dtype"].__name__ == plain.get_output_details()[0]["dtype"].__name__ == "uint8"
    plain.invoke()
    assert entry["quantization"]["accuracy"]["argmax_agreement"] > 0.97
    assert main(["verify", str(artifact), "--repeat", "2"]) == 0
    assert main(["web", str(artifact), "--output-dir", str(tmp_path / "page")]) == 0
