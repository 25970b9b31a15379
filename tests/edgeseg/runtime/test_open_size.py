"""Models that leave their input size open: they run at the size that is asked for, or say which option gives it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeseg._internal.json import convert
from edgeseg.benchmark import compare, tables
from edgeseg.benchmark.devices.adb import AdbDevice
from edgeseg.benchmark.devices.benchmark_model import Tool
from edgeseg.benchmark.profile.onnx import _measure
from edgeseg.benchmark.result import LatencyResult
from edgeseg.benchmark.worker import Request, measure
from edgeseg.cli import main
from edgeseg.errors import InputError
from edgeseg.inspection import inspect
from edgeseg.opening import InputDescription, open_segmenter
from edgeseg.runtime import RuntimeOptions, open_backend
from edgeseg.segmenter import Segmenter
from edgeseg.spec import ModelSpec
from edgeseg.tflite.file import has_open_size

SIZE = (8, 12)
HALF = (127.5, 127.5, 127.5)
NAMES = ("red", "green", "blue")
SPEC = ModelSpec(name="m", input_size=SIZE, class_names=NAMES, palette=((0, 0, 0), (1, 1, 1), (2, 2, 2)))


@pytest.fixture
def open_tflite(tmp_path: Path, tflite_model: Callable[..., bytes]) -> Path:
    """The strongest channel, at any size; its batch is open too."""
    (tmp_path / "m.tflite").write_bytes(tflite_model(["RELU"], [((-1, -1, -1, 3), "float32")]))
    return tmp_path / "m.tflite"


@pytest.fixture
def open_onnx(tmp_path: Path) -> Path:
    """Subtracts what is left of the left column, so that it runs at an even width alone; its sides have no names."""
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Slice", ["x", "0", "end", "3", "2"], ["even"]),
        helper.make_node("Slice", ["x", "1", "end", "3", "2"], ["odd"]),
        helper.make_node("Add", ["even", "odd"], ["y"]),
    ]
    constants = [numpy_helper.from_array(np.array([int(name)]), name) for name in "0123"]
    constants.append(numpy_helper.from_array(np.array([1 << 30]), "end"))
    sides = ("n", 3, None, None)
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, sides)], [value("y", TensorProto.FLOAT, sides)], constants
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


@pytest.fixture
def open_keras(tmp_path: Path) -> Path:
    """Adds a map that was halved and doubled, so that it runs at even sides alone."""
    image = keras.Input((None, None, 3))
    half = keras.layers.AveragePooling2D(2)(image)
    keras.Model(image, keras.layers.Add()([image, keras.layers.UpSampling2D()(half)])).save(tmp_path / "m.keras")
    return tmp_path / "m.keras"


def said(input_size: tuple[int, int] | None = None) -> InputDescription:
    return InputDescription(class_names=NAMES, mean=HALF, std=HALF, input_size=input_size)


@pytest.mark.parametrize("name", ["open_tflite", "open_keras"])
def test_the_map_is_that_of_the_size_that_is_asked_for(name: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(name)
    photo = np.random.default_rng(0).integers(0, 120, (*SIZE, 3), np.uint8)
    photo[:, :5, 1] = 255
    photo[:, 5:, 2] = 255
    with open_segmenter(path, RuntimeOptions(), said(SIZE)) as segmenter:
        assert segmenter.backend.inputs[0].shape == (1, *SIZE, 3)
        np.testing.assert_array_equal(segmenter(photo).class_map[:, :4], 1)
        np.testing.assert_array_equal(segmenter(photo).class_map[:, 6:], 2)
    with pytest.raises(InputError, match=r"leaves its input size open, \(-?1, -1, -1, 3\): give `input_size=\(H, W\)`"):
        open_segmenter(path, RuntimeOptions(), said())


def test_a_size_that_does_not_fit_is_one_line_that_names_another(
    open_onnx: Path, open_keras: Path, tmp_path: Path, tflite_model: Callable[..., bytes]
) -> None:
    message = r"does not run at 8,13 \(H,W\): .* multiples of 32 alone, such as `input_size=\(32, 32\)`"
    for path in (open_onnx, open_keras):
        with pytest.raises(InputError, match=message):
            open_segmenter(path, RuntimeOptions(), said((8, 13)))(np.zeros((8, 13, 3), np.uint8))
    tensors = [((1, -1, -1, 3), "float32"), ((1, *SIZE, 3), "float32")]
    (tmp_path / "m.tflite").write_bytes(tflite_model([("RESHAPE", (1, *SIZE, 3))], tensors))
    with pytest.raises(InputError, match=message):
        open_backend(tmp_path / "m.tflite", input_size=(8, 13))
    open_backend(tmp_path / "m.tflite", input_size=SIZE).close()


@pytest.mark.parametrize(
    ("shape", "size", "message"),
    [
        ((1, 8, -1, 3), (8, 20), None),
        ((1, 8, -1, 3), (9, 20), "takes images of 8,any and no other; omit `input_size`"),
        ((1, 8, 12, 3), (8, 12), None),
        ((1, 8, 12, 3), (12, 8), "takes images of 8,12 and no other"),
        ((1, -1, -1, 1), (8, 12), r"takes \(1, -1, -1, 1\), which is no \(1, H, W, 3\) or \(1, 3, H, W\)"),
        ((1, 3, -1, -1), (8, 12), None),
    ],
)
def test_sides_that_are_fixed_stay(
    shape: Any, size: Any, message: str | None, tmp_path: Path, tflite_model: Callable[..., bytes]
) -> None:
    (tmp_path / "m.tflite").write_bytes(tflite_model(["RELU"], [(shape, "float32")]))
    assert has_open_size((tmp_path / "m.tflite").read_bytes()) == (-1 in shape)
    if message is not None:
        with pytest.raises(InputError, match=message):
            open_backend(tmp_path / "m.tflite", input_size=size)
        return
    with closing(open_backend(tmp_path / "m.tflite", input_size=size)) as backend:
        given = (1, 3, *size) if shape[1] == 3 else (1, *size, 3)
        assert backend.run(np.ones(given, np.float32)).shape == backend.inputs[0].shape == given


def test_a_spec_says_the_size_too(open_tflite: Path) -> None:
    with Segmenter(open_tflite, spec=SPEC) as segmenter:
        assert segmenter(np.zeros((5, 7, 3), np.uint8)).class_map.shape == (5, 7)
    with closing(open_backend(open_tflite)) as backend:
        assert backend.inputs[0].shape == (1, -1, -1, 3)
        with pytest.raises(InputError, match="leaves its input size open"):
            backend.run(np.zeros((1, 1, 1, 3), np.float32))


@pytest.mark.parametrize("accelerator", ["cpu", "gpu"])
def test_a_compiled_model_must_have_a_size(accelerator: Any, open_tflite: Path) -> None:
    with pytest.raises(
        InputError, match=r"does not run: convert the model at a fixed size .* on the CPU with `backend='litert'"
    ):
        open_backend(open_tflite, backend="litert-compiled", accelerator=accelerator, input_size=SIZE)


def test_inspect_shows_what_is_open_and_claims_nothing_of_accelerators(open_tflite: Path) -> None:
    inspection = inspect(open_tflite)
    assert inspection.inputs[0].shape == inspection.outputs[0].shape == (1, -1, -1, 3)
    assert inspection.coverage == ()
    assert "the input size is open" in inspection.not_asked["cpu"]


def test_benchmarks_time_the_size_that_is_asked_for(
    open_tflite: Path, open_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = {"warmup_runs": 1, "warmup_min_secs": 0.0, "num_runs": 2, "min_secs": 0.0}
    for path in (open_tflite, open_onnx):
        with pytest.raises(InputError, match=f"{path.name}' leaves its input size open.*give `input_size="):
            measure(Request(path=str(path), **quick))  # type: ignore[arg-type]
        sized = Request(path=str(path), options={"input_size": [*SIZE]}, **quick)  # type: ignore[arg-type]
        assert len(measure(sized).latencies_s) == 2
    with pytest.raises(InputError, match=r"m\.onnx' leaves its input size open"):
        _measure(str(open_onnx), 1)
    command = ["benchmark", str(open_onnx), "--profile", str(tmp_path), "--num-runs", "1", "--json"]
    assert main([*command, "--imgsz", "8,12"]) == 0
    assert json.loads(capsys.readouterr().out)["profiles"][0]["nodes"]


def test_results_of_two_sizes_are_not_compared(make_result: Callable[..., LatencyResult]) -> None:
    small, large, whole = (make_result(artifact="m.tflite", input_size=size) for size in ((8, 12), (64, 96), None))
    assert convert(small.to_dict(), LatencyResult) == small
    assert [row[0] for row in tables.rows([small, whole])] == ["m.tflite at 8,12", "m.tflite"]
    with pytest.raises(InputError, match=r"model \(aaaaaaaaaaaa at 8,12 and aaaaaaaaaaaa at 64,96\)"):
        compare.compare(small, large)
    pairing = compare.pair([small, large, whole], [large, small])
    assert [(a.name, b.name) for a, b in pairing.pairs] == [(x.name, x.name) for x in (large, small)]


def test_over_adb_a_size_is_refused_as_its_tool_has_none(open_tflite: Path) -> None:
    with pytest.raises(InputError, match=r"would run it on one pixel\. Convert the model at a fixed size"):
        AdbDevice().put(open_tflite, "0" * 64)
    with pytest.raises(InputError, match="`input_size` does not go with adb"):
        Tool("/tool", frozenset(), "0" * 64).command(Request(path="m", options={"input_size": SIZE}))


def test_the_commands_take_the_size(open_tflite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "labels.txt").write_text("\n".join(NAMES))
    cv2.imwrite(str(tmp_path / "p.png"), np.full((9, 9, 3), (0, 255, 0), np.uint8))
    how = ["--labels", str(tmp_path / "labels.txt"), "--mean", "127.5", "--std", "127.5"]
    assert main(["predict", str(open_tflite), str(tmp_path / "p.png"), "--count", *how]) == 2
    assert "give --imgsz H,W" in capsys.readouterr().err
    assert main(["predict", str(open_tflite), str(tmp_path / "p.png"), "--count", *how, "--imgsz", "8,12"]) == 0
    assert capsys.readouterr().out.split()[-3:] == ["p", "green", "81"]
    camera = ["camera", str(open_tflite), "--source", str(tmp_path / "p.png"), "--no-show", "--json", *how]
    assert main([*camera, "--imgsz", "8"]) == 0
    assert '"frames"' in capsys.readouterr().out
