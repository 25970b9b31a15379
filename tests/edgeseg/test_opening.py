"""``tflite.description`` and ``runtime.quantized_input``: models of other makers: fed as their file or the user says,
or refused with the options that are missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgeseg.cli import main
from edgeseg.errors import InputError
from edgeseg.inspection import inspect
from edgeseg.opening import InputDescription, describe, open_segmenter
from edgeseg.runtime import RuntimeOptions, TensorInfo
from edgeseg.runtime.litert import LiteRTBackend
from edgeseg.runtime.null import NullBackend
from edgeseg.segmenter import Segmenter
from edgeseg.spec import ModelSpec
from edgeseg_converters.tflite.metadata import append_labels, to_flatbuffer

SIZE = (4, 6)
SHAPE = (1, *SIZE, 3)
NAMES = ("red", "green", "blue")  # RELU alone finds the strongest channel
HALF = (127.5, 127.5, 127.5)
SAID = InputDescription(class_names=NAMES, mean=HALF, std=HALF)


@pytest.fixture
def photo() -> NDArray[np.uint8]:
    """Of the models' size; one channel of each pixel is well above the others and the middle."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 120, (*SIZE, 3), np.uint8)
    np.put_along_axis(image, rng.integers(0, 3, (*SIZE, 1)), 200, axis=-1)
    return image


@pytest.fixture
def write(tmp_path: Path, tflite_model: Callable[..., bytes]) -> Callable[..., Path]:
    def written(*args: Any, **options: Any) -> Path:
        (tmp_path / "theirs.tflite").write_bytes(tflite_model(*args, **options))
        return tmp_path / "theirs.tflite"

    return written


def opened(path: Path, description: InputDescription = SAID) -> Segmenter:
    return open_segmenter(path, RuntimeOptions(), description)


def test_scores_are_read_as_the_flags_say(write: Callable[..., Path], photo: NDArray[np.uint8]) -> None:
    path = write(["RELU"], [(SHAPE, "float32")])
    segmenter = opened(path)
    np.testing.assert_array_equal(segmenter(photo).class_map, photo.argmax(-1))
    assert (segmenter.spec.name, segmenter.spec.output_kind, segmenter.spec.class_names) == ("theirs", "logits", NAMES)
    bgr = opened(path, InputDescription(class_names=NAMES, mean=HALF, std=HALF, color_order="bgr", fit="stretch"))
    np.testing.assert_array_equal(bgr(photo).class_map, 2 - photo.argmax(-1))
    tutorials = replace(SAID, resize="bicubic-antialias", letterbox_rounding="floor")
    assert tutorials.given == ["class_names", "mean", "std", "resize", "letterbox_rounding"]
    spec = opened(path, tutorials).spec
    assert (spec.resize, spec.letterbox_rounding) == ("bicubic-antialias", "floor")


@pytest.mark.parametrize(
    ("ops", "tensors"),
    [
        ([("ARG_MAX", 3)], [(SHAPE, "float32"), (SHAPE[:3], "int64")]),
        (
            [("ARG_MAX", 3), ("RESHAPE", (1, *SIZE, 1))],
            [(SHAPE, "float32"), (SHAPE[:3], "int32"), ((1, *SIZE, 1), "int32")],
        ),
    ],
    ids=["1HW", "1HW1"],
)
def test_integers_are_a_class_map(ops: Any, tensors: Any, write: Callable[..., Path], photo: NDArray[np.uint8]) -> None:
    segmenter = opened(write(ops, tensors))
    assert segmenter.spec.output_kind == "argmax"
    np.testing.assert_array_equal(segmenter(photo).class_map, photo.argmax(-1))


def test_the_file_itself_says_it(write: Callable[..., Path], photo: NDArray[np.uint8], tiny_spec: ModelSpec) -> None:
    theirs = tiny_spec.replace(class_names=NAMES, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0))
    path = write(["RELU"], [(SHAPE, "float32")], metadata=to_flatbuffer(theirs, "t0", "t1"))
    assert opened(path, InputDescription()).spec.class_names == (
        "class_0",
        "class_1",
        "class_2",
    )  # the archive has them
    path.write_bytes(append_labels(path.read_bytes(), theirs))
    spec = opened(path, InputDescription()).spec
    assert (spec.class_names, spec.mean, spec.std) == (NAMES, theirs.mean, theirs.std)
    assert opened(path, InputDescription(std=HALF)).spec.std == HALF  # the user goes first


@pytest.mark.parametrize("metadata", [b"", b"M001" * 20, b"\xff" * 40])
def test_broken_metadata_says_nothing(metadata: bytes, write: Callable[..., Path]) -> None:
    path = write(["RELU"], [(SHAPE, "float32")], metadata=metadata)
    with pytest.raises(InputError, match=r"does not say how its input is normalized: give `mean` and `std`"):
        opened(path, InputDescription())


@pytest.mark.parametrize(("dtype", "zero_point"), [("int8", 0), ("uint8", 100)])
def test_a_quantized_input_gets_the_normalized_image(
    dtype: str, zero_point: int, write: Callable[..., Path], photo: NDArray[np.uint8]
) -> None:
    segmenter = opened(write(["RELU"], [(SHAPE, dtype)], scale=1 / 100, zero_point=zero_point))
    assert segmenter.spec.dtype == "float32"
    np.testing.assert_array_equal(segmenter(photo).class_map, photo.argmax(-1))
    steps = np.rint((photo[None] - 127.5) / 127.5 * 100) + zero_point  # 100 levels: inside both ranges
    np.testing.assert_array_equal(
        segmenter.backend.run(((photo[None] - 127.5) / 127.5).astype(np.float32)), np.maximum(steps, zero_point)
    )


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point", "mean", "std"),
    [
        ("int8", 1 / 255, -128, 0, 255),
        ("int8", 2 / 255, 0, 127.5, 127.5),
        ("int8", 1.0, -128, 0, 1),
        ("int16", 1 / 32768, 0, 127.5, 127.5),
    ],
)
def test_the_range_of_a_quantized_input_says_its_normalization(
    dtype: str, scale: float, zero_point: int, mean: float, std: float, tiny_spec: ModelSpec, caplog: Any
) -> None:
    backend = NullBackend(tiny_spec, np.zeros(SHAPE, np.float32))
    backend.inputs = (TensorInfo(name="x", shape=SHAPE, dtype=dtype, scale=scale, zero_point=zero_point),)
    spec, _ = describe("m.onnx", backend, InputDescription(class_names=NAMES))
    assert (spec.mean, spec.std, spec.dtype) == ((mean,) * 3, (std,) * 3, "float32")
    assert f"whose scale means (pixel - {mean:g}) / {std:g}; `mean` and `std` take others" in caplog.text
    said = describe("m.onnx", backend, InputDescription(class_names=NAMES, mean=HALF, std=(1.0,) * 3))[0]
    assert (said.mean, said.std) == (HALF, (1.0,) * 3)  # the user goes first


def test_a_quantized_input_of_another_range_is_asked_for(tiny_spec: ModelSpec) -> None:
    backend = NullBackend(tiny_spec, np.zeros(SHAPE, np.float32))
    backend.inputs = (TensorInfo(name="x", shape=SHAPE, dtype="int8", scale=0.0187, zero_point=-14),)  # ImageNet's
    with pytest.raises(InputError, match="does not say how its input is normalized"):
        describe("m.onnx", backend, InputDescription(class_names=NAMES))


def test_uint8_is_the_images_bytes_where_nothing_says_otherwise(
    write: Callable[..., Path], photo: NDArray[np.uint8]
) -> None:
    path = write(["RELU"], [(SHAPE, "uint8")], scale=1 / 127.5, zero_point=128)
    for description in (
        InputDescription(class_names=NAMES),
        SAID,
    ):  # (p - 127.5) / 127.5 in steps of 1 / 127.5 is p but for half a step
        segmenter = opened(path, description)
        assert segmenter.spec.dtype == "uint8"
        np.testing.assert_array_equal(segmenter(photo).class_map, photo.argmax(-1))
    plain = write([("ARG_MAX", 3)], [(SHAPE, "uint8"), (SHAPE[:3], "int32")])
    with pytest.raises(InputError, match=r"bytes as they are \(uint8, no scale\): no `mean` and `std`"):
        opened(plain)


def test_what_is_missing_is_asked_for(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(["RELU"], [(SHAPE, "float32")])
    closed: list[LiteRTBackend] = []
    monkeypatch.setattr(LiteRTBackend, "close", lambda self: closed.append(self))
    with pytest.raises(InputError, match=r"does not say how its input is normalized: give `mean` and `std`"):
        opened(path, InputDescription())
    with pytest.raises(InputError, match="normalized: give `mean` and `std`"):
        opened(path, InputDescription(class_names=NAMES, mean=HALF))
    with pytest.raises(InputError, match="3 channels of scores, but there are 2 labels"):
        opened(path, InputDescription(class_names=NAMES[:2], mean=HALF, std=HALF))
    with pytest.raises(InputError, match="takes images of 4,6 and no other"):
        opened(path, InputDescription(class_names=NAMES, mean=HALF, std=HALF, input_size=(8, 8)))
    assert len(closed) == 3  # what was opened does not stay open; a backend of another size does not open
    with pytest.raises(InputError, match="no ModelSpec inside"):
        Segmenter(path)
    with pytest.raises(InputError, match="unknown accelerator 'gpuu'"):
        inspect(path, ["gpuu"])
    assert len(closed) == 5
    opened(path)
    assert len(closed) == 5


def test_an_onnx_model_with_an_open_size(tmp_path: Path) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("n", 3, "h", "w")) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    with pytest.raises(InputError, match=r"leaves its input size open.*give `input_size=\(H, W\)`"):
        opened(tmp_path / "m.onnx")
    segmenter = opened(
        tmp_path / "m.onnx", InputDescription(class_names=NAMES, mean=HALF, std=HALF, input_size=(8, 12))
    )
    assert (segmenter.spec.layout, segmenter.spec.input_size) == ("nchw", (8, 12))
    image = np.zeros((5, 7, 3), np.uint8)
    image[..., 1] = 255
    assert np.all(segmenter(image).class_map == 1)


@pytest.mark.parametrize(
    ("source", "result", "message"),
    [
        ((1, 10), (1, 4, 6, 3), r"takes \(1, 10\); a segmentation model takes \(1, H, W, 3\)"),
        ((8, 4, 6, 3), (8, 4, 6, 3), r"takes \(8, 4, 6, 3\)"),
        ((1, 4, 6, 3), (1, 1000), r"gives \(1, 1000\) float32 for an image of 4,6 \(H,W\); accepted: a class map or"),
        ((1, 4, 6, 3), (1, 4, 9, 3), r"gives \(1, 4, 9, 3\) float32 for an image of 4,6"),
    ],
)
def test_what_is_no_segmentation_model(source: Any, result: Any, message: str, tiny_spec: ModelSpec) -> None:
    backend = NullBackend(tiny_spec, np.zeros(result, np.float32))
    backend.inputs = (TensorInfo(name="x", shape=source, dtype="float32"),)
    with pytest.raises(InputError, match=message):
        describe("m.onnx", backend, SAID)


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_a_dtype_that_cannot_be_made(dtype: str, tiny_spec: ModelSpec) -> None:
    backend = NullBackend(tiny_spec, np.zeros(SHAPE, np.float32))
    backend.inputs = (TensorInfo(name="x", shape=SHAPE, dtype=dtype),)
    with pytest.raises(InputError, match=f"takes {dtype}; accepted: float32, uint8, or int8 and int16 with a scale"):
        describe("m.onnx", backend, SAID)


def test_a_spec_of_another_dtype_is_refused(tiny_spec: ModelSpec) -> None:
    backend = NullBackend(tiny_spec, np.zeros((1, 32, 48), np.uint8))
    with pytest.raises(InputError, match="the model takes float32 but its spec says uint8"):
        Segmenter(backend, spec=tiny_spec.replace(dtype="uint8"))


def test_the_commands(
    write: Callable[..., Path], tmp_path: Path, shapes_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write(["RELU"], [(SHAPE, "float32")]))
    (tmp_path / "labels.txt").write_text("\n".join(NAMES))
    cv2.imwrite(str(tmp_path / "p.png"), np.full((9, 9, 3), (0, 0, 255), np.uint8))  # BGR
    predict = ["predict", path, str(tmp_path / "p.png"), "--json", "--backend", "litert"]
    how = ["--mean", "127.5", "--std", "127.5"]
    assert main([*predict, *how, "--labels", str(tmp_path / "labels.txt")]) == 0
    (image,) = json.loads(capsys.readouterr().out)["images"]
    assert image["counts"] == {"red": 81, "green": 0, "blue": 0}
    assert main(predict) == 2
    assert "does not say how its input is normalized: give --mean and --std" in capsys.readouterr().err
    assert main([*predict, *how]) == 0
    printed = capsys.readouterr()
    (image,) = json.loads(printed.out)["images"]
    assert image["counts"] == {"class_0": 81, "class_1": 0, "class_2": 0}
    assert "has no class names; they are class_0 to class_2; --labels takes others" in printed.err
    evaluate = ["evaluate", path, "--data", str(shapes_dataset), "--json"]
    assert main([*evaluate, *how]) == 0  # the data set has the names
    assert list(json.loads(capsys.readouterr().out)["per_class_iou"]) == ["wall", "red", "blue"]


def test_a_file_of_corals_form_by_its_labels(
    write: Callable[..., Path], tmp_path: Path, photo: NDArray[np.uint8], capsys: pytest.CaptureFixture[str]
) -> None:
    """Bytes in, an argmax out, and a label file with ids and a blank end."""
    path = write([("ARG_MAX", 3)], [(SHAPE, "uint8"), (SHAPE[:3], "int64")], scale=1 / 128, zero_point=128)
    (tmp_path / "labels.txt").write_text("# three\n0  red\n1  green\n2  blue\n\n")
    cv2.imwrite(str(tmp_path / "p.png"), photo[..., ::-1])
    predict = ["predict", str(path), str(tmp_path / "p.png"), "--json"]
    assert main([*predict, "--labels", str(tmp_path / "labels.txt")]) == 0
    printed = capsys.readouterr()
    counts = np.bincount(photo.argmax(-1).ravel(), minlength=3).tolist()
    assert json.loads(printed.out)["images"][0]["counts"] == dict(zip(NAMES, counts, strict=True))
    assert not printed.err
    assert main([*predict, "--labels", "red,green"]) == 2  # an id without a label
    assert "the class id 2, but there are 2 labels" in capsys.readouterr().err


def test_the_commands_refuse_what_has_no_use(shapes_dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(*args: str) -> str:
        assert main([*args, "--data", str(shapes_dataset)]) == 2
        return capsys.readouterr().err

    name = ("evaluate", "efficientnet_lite0_unet", "--backend", "keras")
    assert "'efficientnet_lite0_unet' runs on Keras" in fails(*name, "--accelerator", "gpu")
    assert "--labels is for exported files without ModelSpec" in fails(*name, "--labels", "a,b")
    assert "'x' is not K=V" in fails("evaluate", "m.tflite", "--delegate-option", "x")
