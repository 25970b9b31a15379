"""``edgeseg._internal.installation``, ``doctor``, ``_cameras``, ``evaluate``, ``inspect``, ``models``, ``predict``,
``edgeseg.inspection`` and ``edgeseg_converters.coverage``: the commands as a user runs them, on small real models.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeseg.cli import COMMANDS, main
from edgeseg.models.packaged_files import packaged_names
from edgeseg.models.zoo.table import ZOO
from edgeseg.spec import ModelSpec
from edgeseg.tflite.cpu import NO_LSE, Cpu
from edgeseg.tflite.half_arithmetic import HalfArithmetic


def run_json(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    assert main([*args, "--json"]) == 0
    value: dict[str, Any] = json.loads(capsys.readouterr().out)  # one object and nothing else
    return value


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)
    assert all(text in " ".join(out.split()) for text in COMMANDS.values())  # none is cut off


def test_models_lists_the_zoo(capsys: pytest.CaptureFixture[str]) -> None:
    listed = run_json(capsys, "models")["models"]
    assert [name for model in listed for name in model["packaged_files"]] == packaged_names()
    assert [model["name"] for model in listed] == list(ZOO)
    assert main(["models"]) == 0
    assert "unet_mini" in capsys.readouterr().out


def test_models_describes_one_with_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    (described,) = run_json(capsys, "models", "resnet50_segnet")["models"]
    padding = next(option for option in described["options"] if option["name"] == "pool_padding")
    assert (padding["default"], padding["choices"], padding["effect"]) == (
        "valid",
        ["valid", "same", "zeros"],
        "result",
    )
    assert main(["models", "resnet50_segnet", "--format", "md"]) == 0
    out = capsys.readouterr().out
    assert "| pool_padding | valid, same or zeros | valid |" in out
    assert "Semantic-Segmentation since 2021: --model-option pool_padding=same" in out
    for name, typed in (
        ("resnet50_segnet", "--fit stretch --resize bicubic-antialias"),
        ("hrnetv2_w18", "--resize bicubic-antialias --letterbox-rounding floor"),
    ):
        assert main(["models", name]) == 0
        assert f"published weights were trained on images by {typed}: give that" in capsys.readouterr().out
    assert main(["models", "efficientnet_lite0_unet"]) == 0  # which edgeseg trained as it feeds it
    assert "published weights" not in capsys.readouterr().out
    assert main(["models", "hrnetv2_w18"]) == 0
    assert "It has no options." in capsys.readouterr().out
    assert main(["models", "resnet-50-segnet"]) == 2
    assert "Did you mean 'resnet50_segnet'?" in capsys.readouterr().err


def test_models_counts_the_parameters_of_options(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--model-option", "alpha=0.1", "--model-option", "filters=8")
    (described,) = run_json(capsys, "models", "deeplabv3plus_mobilenetv2", *options)["models"]
    assert described["gflops"] is None
    assert described["parameters"] < ZOO["deeplabv3plus_mobilenetv2"].parameters / 10
    assert main(["models", "deeplabv3plus_mobilenetv2", "--model-option", "filters=0"]) == 2
    assert "filters must be a whole number from 1, got 0." in capsys.readouterr().err
    assert main(["models", "--model-option", "filters=8"]) == 2
    assert "--model-option goes with NAME" in capsys.readouterr().err


@pytest.mark.slow
def test_models_advises_on_data_and_measures_it_where_a_latency_is_given(
    capsys: pytest.CaptureFixture[str], shapes_dataset: Path, tmp_path: Path
) -> None:
    assert main(["models", "--advise", "--data", str(shapes_dataset)]) == 0
    out = capsys.readouterr().out
    assert "18 images, 3 classes; image sizes (HxW): all 64x80" in out
    typed = out.splitlines()[-1]
    assert typed.startswith(f"edgeseg train efficientnet_lite0_unet --data {shapes_dataset} --encoder-weights imagenet")
    flat = tmp_path / "my cells"
    shutil.copytree(shapes_dataset / "train", flat)
    shutil.copy(shapes_dataset / "classes.json", flat)
    # An hour is enough for any machine; the number is measured all the same.
    advice = run_json(capsys, "models", "--advise", "--data", str(flat), "--latency", "3600000")
    (measured,) = advice["measured"]
    assert measured["input_size"] == advice["input_size"] == [64, 96]
    assert measured["median_ms"] > 0
    split, train = advice["commands"]
    assert split == f"edgeseg data split '{flat}' --output-dir '{flat}-split'"
    assert f"--data '{flat}-split' " in train
    assert main(shlex.split(split)[1:]) == 0
    for wrong, said in (
        (["unet_mini", "--advise", "--data", "x"], "--advise says itself which model"),
        (["--advise"], "--advise goes with --data DIR"),
        (["--latency", "5"], "--data and --latency go with --advise"),
    ):
        assert main(["models", *wrong]) == 2
        assert said in capsys.readouterr().err


def test_export_json_has_the_promised_fields(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    result = run_json(
        capsys, "export", "unet_mini", "--imgsz", "32,48", "--num-classes", "3", "--format", "tflite,onnx",
        "--precision", "fp32,fp16", "--output-dir", str(tmp_path), "--num-images", "2", "--model-option", "dropout=0.5",
    )  # fmt: skip
    assert result["format_version"] == 1
    assert [(a["format"], a["precision"]) for a in result["artifacts"]] == [
        ("tflite", "fp32"), ("tflite", "fp16"), ("onnx", "fp32"), ("onnx", "fp16"),
    ]  # fmt: skip
    for artifact in result["artifacts"]:
        path = Path(artifact["path"])
        assert path.stat().st_size == artifact["size_bytes"]
        assert len(artifact["sha256"]) == 64
        (applied,) = artifact["rewrites"]
        assert (applied["rule"], applied["sites"]) == ("UpsampleConvToDifferences", 2)
        assert applied["max_abs_error"] < 1e-4
        cpu = artifact["coverage"][0]
        assert (cpu["accelerator"], cpu["source"]) == ("cpu", "asked")
        assert cpu["delegated"] == cpu["total"] - sum(left["count"] for left in cpu["left"])
        assert all(left["op"] and left["reason"] for left in cpu["left"])
        assert artifact["verification"]["passed"] is True
        assert artifact["verification"]["argmax_agreement"] >= 0.995
        assert artifact["verification"]["max_abs_error"] >= 0
        assert artifact["sha256"] in Path(result["card"]).read_text()
    path = result["artifacts"][0]["path"]
    assert run_json(capsys, "inspect", path)["spec"]["provenance"]["model_options"] == {"dropout": 0.5}
    assert main(["inspect", path]) == 0
    assert "dropout=0.5" in capsys.readouterr().out


def test_export_says_where_the_file_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["export", "unet_mini", "--imgsz", "32", "--output-dir", str(tmp_path), "--num-images", "1"]) == 0
    captured = capsys.readouterr()
    assert str(tmp_path / "unet_mini.fp32.tflite") in captured.out
    assert "Verified on 1 image (" in captured.out
    assert "Next: edgeseg inspect" in captured.out
    assert "random weights" in captured.err
    assert "unet_mini.fp32.tflite on cpu: delegated 63 of 65 nodes in 1 partition; left: ARG_MAX x1" in captured.out


def test_export_warns_of_a_model_that_an_accelerator_cuts_in_pieces(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    args = ["export", "unet_mini", "--imgsz", "32", "--output-dir", str(tmp_path), "--no-verify", "--no-optimize"]
    assert main(args) == 0
    captured = capsys.readouterr()
    assert "on cpu: delegated 15 of 19 nodes in 3 partitions; left: RESIZE_NEAREST_NEIGHBOR x2" in captured.out
    assert "unet_mini.fp32.tflite is cut in pieces on cpu" in captured.err
    assert "XNNPACK has no RESIZE_NEAREST_NEIGHBOR" in captured.err


def test_failed_gate_exits_1_and_keeps_the_file_out_of_the_way(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeseg_converters.recipes import GATES, VerificationGate

    monkeypatch.setitem(GATES, "fp32", VerificationGate(min_agreement=1.1, max_relative_error=None))
    args = ["export", "unet_mini", "--imgsz", "32", "--output-dir", str(tmp_path), "--num-images", "1"]
    assert main(args) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["unet_mini.fp32.tflite.rejected"]
    captured = capsys.readouterr()
    assert "FAILED" in captured.out
    assert "failed its verification: only" in captured.err
    # No command is offered for it, and one that is tried says why and what to do.
    assert "Next:" not in captured.out
    rejected = str(tmp_path / "unet_mini.fp32.tflite.rejected")
    image = str(tmp_path / "p.png")
    cv2.imwrite(image, np.zeros((8, 8, 3), np.uint8))
    for command in (["predict", rejected, image, "--count"], ["inspect", rejected], ["camera", rejected]):
        assert main(command) == 2
        assert "failed its verification, so no command opens it" in (error := capsys.readouterr().err)
        assert "rename 'unet_mini.fp32.tflite.rejected' to 'unet_mini.fp32.tflite'" in error


def test_json_of_a_model_that_gives_nan_has_no_nan(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import keras

    inputs = keras.Input((16, 16, 3))
    keras.Model(inputs, keras.layers.Conv2D(2, 1, bias_initializer=keras.initializers.Constant(np.nan))(inputs)).save(
        tmp_path / "nan.keras"
    )
    args = ["export", str(tmp_path / "nan.keras"), "--output-dir", str(tmp_path), "--num-images", "1", "--json"]
    assert main(args) == 1
    told = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    (artifact,) = told["artifacts"]
    assert artifact["verification"]["max_abs_error"] is None
    assert artifact["verification"]["reason"] == "the logits are not finite"


def test_export_of_a_users_keras_file_takes_its_names_from_the_data(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, shapes_dataset: Path
) -> None:
    import keras

    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    keras.Model(inputs, keras.layers.Conv2D(3, 1, activation="softmax")(x)).save(tmp_path / "mine.keras")
    result = run_json(
        capsys, "export", str(tmp_path / "mine.keras"), "--imgsz", "32,48", "--mean", "0", "--std", "255",
        "--data", str(shapes_dataset), "--output-dir", str(tmp_path), "--bands", "4,3,2", "--band-range", "0,3000",
    )  # fmt: skip
    (artifact,) = result["artifacts"]
    assert Path(artifact["path"]).name == "mine.fp32.tflite"
    inside = run_json(capsys, "inspect", artifact["path"])["spec"]
    classes = json.loads((shapes_dataset / "classes.json").read_text())
    assert inside["class_names"] == classes["names"]
    assert inside["ignore_index"] == classes["ignore_index"]
    assert (inside["mean"], inside["std"]) == ([0.0] * 3, [255.0] * 3)
    assert inside["receptive_radius"] == [1, 1]  # a 3x3 and a 1x1
    assert (inside["bands"], inside["band_range"]) == ([4, 3, 2], [0, 3000])
    assert main(["inspect", artifact["path"]]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"receptive field +3,3 \(H,W\)", shown)
    assert re.search(r"rasters +bands 4,3,2, values 0,3000\n", shown)
    assert "| Rasters | bands 4,3,2, values 0,3000 become red, green" in (tmp_path / "mine.card.md").read_text()
    assert main(["export", "--bands", "4,3", "--output-dir", str(tmp_path)]) == 2
    assert "--bands must be three numbers from 1, as a model takes RGB, got 4,3" in capsys.readouterr().err


def test_inspect_shows_ops_and_spec(capsys: pytest.CaptureFixture[str], artifact: Path) -> None:
    found = run_json(capsys, "inspect", str(artifact))
    assert (
        found["ops"]["CONV_2D"] == 19
    )  # eight 3x3 and the classifier; the two after an upsampling are four phases and a skip each
    assert found["ops"]["ARG_MAX"] == 1
    assert ModelSpec.from_json(json.dumps(found["spec"])).num_classes == 5
    assert main(["inspect", str(artifact)]) == 0
    assert "letterbox to 32,48" in capsys.readouterr().out


def test_inspect_says_what_an_accelerator_leaves_and_why(capsys: pytest.CaptureFixture[str], artifact: Path) -> None:
    found = run_json(capsys, "inspect", str(artifact), "--accelerator", "cpu,nnapi")
    # Without the rewrites two upsamplings cut this model in three; tests/edgeseg/coverage has models that stay cut.
    assert [(one["accelerator"], one["source"]) for one in found["coverage"]] == [("cpu", "asked"), ("nnapi", "table")]
    left = {node["op"]: node for node in found["coverage"][0]["left"]}
    assert left["ARG_MAX"]["reason"] == "XNNPACK has no ARG_MAX"
    assert left["ARG_MAX"]["count"] == found["ops"]["ARG_MAX"] == 1
    assert main(["inspect", str(artifact), "--accelerator", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "cpu: delegated 63 of 65 nodes in 1 partition, asked: ai-edge-litert" in out
    assert "    ARG_MAX x1: XNNPACK has no ARG_MAX" in out


def test_inspect_says_why_a_gpu_was_not_asked(
    capsys: pytest.CaptureFixture[str], artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeseg.coverage import gpu

    monkeypatch.setattr(gpu, "_driver", lambda: "no Vulkan driver")
    found = run_json(capsys, "inspect", str(artifact), "--accelerator", "gpu")
    assert (found["coverage"], found["not_asked"]) == ([], {"gpu": "no Vulkan driver"})
    assert main(["inspect", str(artifact), "--accelerator", "gpu"]) == 0
    assert "gpu: not asked: no Vulkan driver" in capsys.readouterr().out


def test_inspect_refuses_an_accelerator_it_does_not_know(capsys: pytest.CaptureFixture[str], artifact: Path) -> None:
    assert main(["inspect", str(artifact), "--accelerator", "cpu,cuda"]) == 2
    assert (
        capsys.readouterr().err.splitlines()[-1].startswith("edgeseg: unknown accelerator 'cuda' for tflite; accepted:")
    )


def test_predict_writes_each_view_at_the_images_size(
    capsys: pytest.CaptureFixture[str], artifact: Path, tmp_path: Path
) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), photo)
    result = run_json(
        capsys, "predict", str(artifact), str(tmp_path / "a.png"), "--save", str(tmp_path / "out"),
        "--visualize", "overlay,mask,cutout", "--classes", "class_0,class_1", "--no-legend",
    )  # fmt: skip
    (image,) = result["images"]
    assert sum(image["counts"].values()) == 50 * 70
    assert [Path(f).name for f in image["files"]] == ["a.overlay.png", "a.mask.png", "a.cutout.png"]
    for file, channels in zip(image["files"], (3, 3, 4), strict=True):
        assert cv2.imread(file, cv2.IMREAD_UNCHANGED).shape == (50, 70, channels)


def test_predict_writes_ids_and_anonymizes(capsys: pytest.CaptureFixture[str], artifact: Path, tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), photo)
    common = ("predict", str(artifact), str(tmp_path / "a.png"), "--no-legend", "--alpha", "0", "--save")
    result = run_json(capsys, *common, str(tmp_path / "out"), "--visualize", "overlay,ids", "--except", "class_0")
    ids = cv2.imread(result["images"][0]["files"][1], cv2.IMREAD_UNCHANGED)
    assert (ids.shape, ids.dtype) == ((50, 70), np.uint8)
    counts = result["images"][0]["counts"]
    assert [int((ids == index).sum()) for index in range(5)] == [counts[f"class_{index}"] for index in range(5)]
    most = max(counts, key=counts.__getitem__)
    clear = cv2.imread(result["images"][0]["files"][0])
    result = run_json(capsys, *common, str(tmp_path / "all"), "--except", "class_0", "--anonymize", most)
    area = ids == int(most[-1])
    hidden = cv2.imread(result["images"][0]["files"][0])
    assert (clear == photo).all()
    # Blocks of 8x8 at least: 9 by 7 colors in place of one a pixel.
    assert len(np.unique(clear[area], axis=0)) > 1000 > 63 >= len(np.unique(hidden[area], axis=0))
    assert main([*common, str(tmp_path / "no"), "--classes", "class_1", "--except", "class_2"]) == 2
    assert "do not go together" in capsys.readouterr().err
    assert main([*common, str(tmp_path / "no"), "--anonymize", "dog"]) == 2
    assert "unknown class 'dog'" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_predict_takes_one_frame_of_a_video(
    capsys: pytest.CaptureFixture[str], artifact: Path, street_clip: Path
) -> None:
    result = run_json(capsys, "predict", str(artifact), str(street_clip), "--start-frame", "150", "--max-frames", "1")
    assert [image["name"] for image in result["images"]] == ["bikes_000150"]


def test_train_evaluate_export_evaluate(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, shapes_dataset: Path
) -> None:
    """The whole way on small data, as a tutorial feeds it: what was trained and what was exported score the same."""
    result = run_json(
        capsys, "train", "unet_mini", "--data", str(shapes_dataset), "--imgsz", "44,64", "--epochs", "2",
        "--warmup-epochs", "0", "--batch-size", "5", "--output-dir", str(tmp_path / "run"),
        "--resize", "bicubic-antialias", "--letterbox-rounding", "floor",
    )  # fmt: skip
    assert len(result["history"]) == 2
    assert 0 <= result["best_mean_iou"] <= 1
    data = ("--data", str(shapes_dataset), "--split", "test")
    keras_score = run_json(capsys, "evaluate", result["best"], *data)
    (artifact,) = run_json(capsys, "export", result["best"], "--output-dir", str(tmp_path))["artifacts"]
    # The folder 'run' says nothing, and the architecture's name would say nothing of these classes.
    assert Path(artifact["path"]).name == f"{shapes_dataset.name}.fp32.tflite"
    (named,) = run_json(
        capsys, "export", result["best"], "--output-dir", str(tmp_path), "--name", "my shapes", "--no-verify"
    )["artifacts"]
    assert Path(named["path"]).name == "my shapes.fp32.tflite"
    assert run_json(capsys, "inspect", named["path"])["spec"]["name"] == "my shapes"
    artifact_score = run_json(capsys, "evaluate", artifact["path"], *data)
    assert keras_score["num_images"] == artifact_score["num_images"]
    assert set(keras_score["per_class_iou"]) == set(json.loads((shapes_dataset / "classes.json").read_text())["names"])
    # One code path and agreement of at least 99.9 % of the pixels: 0.2 points of mIoU.
    # The file gives class ids, which are enlarged by nearest neighbor.
    assert abs(keras_score["mean_iou_nearest"] - artifact_score["mean_iou"]) <= 0.002
    assert "mean_iou_nearest" not in artifact_score
    inside = run_json(capsys, "inspect", artifact["path"])["spec"]
    assert (inside["resize"], inside["letterbox_rounding"]) == ("bicubic-antialias", "floor")
    assert main(["inspect", artifact["path"]]) == 0
    assert "letterbox to 44,64 (H,W), sides by floor, bicubic-antialias, nhwc" in capsys.readouterr().out
    # The file says it, so nothing may say something else of it; of a .keras file an export may.
    image = str(next((shapes_dataset / "test" / "images").iterdir()))
    assert main(["predict", artifact["path"], image, "--count", "--resize", "area"]) == 2
    assert "--resize: only for a model without ModelSpec" in capsys.readouterr().err
    assert main(["export", result["best"], "--output-dir", str(tmp_path), "--fit", "stretch"]) == 2
    assert "'floor' does nothing with fit 'stretch'" in capsys.readouterr().err


def test_doctor_names_the_install_line_of_a_missing_part(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeseg._internal import installation

    real = installation.installed_version
    monkeypatch.setattr(installation, "installed_version", lambda name: None if name == "onnxruntime" else real(name))
    loaded: dict[str, str] = {}
    monkeypatch.setattr("edgeseg.cli._loading.load_errors", lambda packages, progress: loaded)  # has its own test
    parts = {part["package"]: part for part in run_json(capsys, "doctor")["parts"]}
    assert parts["onnxruntime"]["install"] == 'pip install --upgrade "edgeseg[onnx]"'
    assert parts["numpy"]["ok"]
    assert main(["doctor"]) == 0
    assert 'pip install --upgrade "edgeseg[onnx]"' in capsys.readouterr().out  # brackets and all
    loaded["grain"] = "grain cannot be loaded: x"
    assert main(["doctor"]) == 0  # not every user trains
    loaded["opencv-python"] = "OpenCV cannot be loaded: y"
    assert main(["doctor"]) == 1
    assert "OpenCV cannot be loaded: y" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("cpu", "said"),
    [
        (
            Cpu("aarch64", True, True),
            ["CPU: computes in half precision, so that an fp16 .tflite that asks for it does"],
        ),
        (
            Cpu("aarch64", False, False),
            [
                "CPU: does not compute in half precision: an fp16 .tflite runs in float32",
                f"CPU: {NO_LSE}: no --accelerator gpu or npu, no benchmark --profile",
            ],
        ),
        (Cpu("riscv64", None, None), ["CPU: whether it computes in half precision is not known"]),
    ],
    ids=["new", "old", "unknown"],
)
def test_doctor_says_what_the_cpu_can_do(
    cpu: Cpu, said: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeseg.cli._loading.load_errors", lambda packages, progress: {})
    monkeypatch.setattr(Cpu, "here", lambda: cpu)
    assert main(["doctor"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("CPU: ")] == said
    found = run_json(capsys, "doctor")["cpu"]
    assert found == {"machine": cpu.machine, "native_half": cpu.native_half, "lse": cpu.lse}


def test_inspect_says_in_which_arithmetic_a_float_file_computes_here(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cpu, "here", lambda: Cpu("aarch64", True, True))
    found = run_json(capsys, "inspect", "person.fp16", "--accelerator", "cpu")["half_arithmetic"]
    assert found["here"] is found["asked"]  # a file that asks is computed so
    assert main(["inspect", "person.fp16", "--accelerator", "cpu"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("arithmetic "))
    assert line.split(maxsplit=1)[1] == HalfArithmetic(**found).sentence
    assert main(["inspect", "person.int8", "--accelerator", "cpu"]) == 0
    assert "arithmetic " not in capsys.readouterr().out


def test_doctor_lists_cameras_and_the_line_for_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeseg.sources.cameras import listing, v4l2

    modes = tuple(v4l2.Mode("YUYV", (size, size // 2), 30) for size in (320, 640, 800, 1280, 1920))
    kinds: dict[str, v4l2.Kind] = {"uvcvideo": "camera", "unicam": "raw", "bcm2835-codec": "other"}
    devices = [
        v4l2.Device(path=f"/dev/video{number}", name="N", driver=driver, kind=kind, modes=modes[: 5 * (not number)])
        for number, (driver, kind) in enumerate(kinds.items())
    ]
    csi = listing.CsiCamera(1, "imx219", "RGGB", (listing.CsiMode((640, 480), 206.65, "(0, 0)/1280x960"),))
    monkeypatch.setattr(v4l2, "devices", lambda: devices)
    monkeypatch.setattr(listing, "csi_cameras", lambda: [csi])
    assert main(["doctor", "--cameras"]) == 0
    said = capsys.readouterr().out
    line = "edgeseg camera --source /dev/video0 --camera-size 1280x640 --camera-fps 30 --camera-format yuyv"
    assert said.startswith(
        "/dev/video0: N (uvcvideo)\n"
        "  YUYV: 1920x960 at 30, 1280x640 at 30, 800x400 at 30, 640x320 at 30, 320x160 at 30\n"
        f"  {line}\n"
        "/dev/video1: N (unicam)\n"
        "  opens and gives no image: it delivers the sensor's data to libcamera\n"
        "  edgeseg camera --source csi:\n"
        "csi:1: imx219 (RGGB)\n"
        "  shows (0, 0)/1280x960: 640x480 at 206.65\n"
        "  edgeseg camera --source csi:1\n"
        "Not listed: 1 video device that encodes, decodes or delivers no image.\n"
    )
    assert "--save camera:  pyvirtualcam" in said
    found = run_json(capsys, "doctor", "--cameras")
    assert [device["line"] for device in found["devices"]] == [line, "edgeseg camera --source csi:", ""]
    assert found["csi"][0]["modes"][0] == {"size_wh": [640, 480], "fps": 206.65, "crop": "(0, 0)/1280x960"}
    assert {need["use"] for need in found["needs"]} == {"csi:", "picamera:", "gst:", "--save camera:"}


def test_doctor_says_what_the_old_runtime_costs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first imports the function by its name: it must get the real one, and not what is set below.
    from edgeseg._internal import installation, versions

    real = installation.installed_version
    monkeypatch.setattr("edgeseg.cli._loading.load_errors", lambda packages, progress: {})
    monkeypatch.setattr(
        versions, "installed_version", lambda name: "2.14.0" if name == "tflite-runtime" else real(name)
    )
    assert main(["doctor"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "tflite-runtime" in line)
    assert line.endswith("int8 runs about 20 times slower than with: pip install ai-edge-litert")


def test_a_headless_opencv_is_opencv(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    from edgeseg._internal import versions

    real = metadata.version

    def version(name: str) -> str:
        if name == "opencv-python":
            raise metadata.PackageNotFoundError(name)
        return "4.12.0" if name == "opencv-contrib-python-headless" else real(name)

    monkeypatch.setattr("edgeseg.cli._loading.load_errors", lambda packages, progress: {})
    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(versions, "_distributions", lambda: {"cv2": ["opencv-contrib-python-headless"]})
    parts = {part["package"]: part for part in run_json(capsys, "doctor")["parts"]}
    assert (parts["opencv-python"]["installed"], parts["opencv-python"]["ok"]) == ("4.12.0", True)
