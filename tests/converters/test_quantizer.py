"""``quantizer``, ``quantization.artifact.model``, ``quantization.artifact.tflite_model``,
``quantization.artifact.onnx_model``, ``verification.file_reference``: float files of every form that people have.

Of PyTorch, with float16 weights, open sizes, weights in other files, an old opset; they end in logits, probabilities,
one channel or class ids.
"""

from __future__ import annotations

import math
import runpy
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from edgeseg.errors import InputError, UnsupportedModel, VerificationFailed
from edgeseg.opening import InputDescription, open_segmenter
from edgeseg.runtime import RuntimeOptions
from edgeseg.segmenter import Segmenter
from edgeseg.tflite.graph import count_ops
from edgeseg_converters import ExportOptions, Quantization, quantize
from edgeseg_converters.quantization.artifact.model import FloatModel

DATA = Path(__file__).parents[1] / "data"
MAKER = runpy.run_path(str(DATA / "pytorch_models.py"))
SIZE, COLORS = MAKER["SIZE"], MAKER["COLORS"]
NAMES = ("wall", "red", "blue")
UNIT = InputDescription(mean=(0.0,) * 3, std=(255.0,) * 3, class_names=NAMES)
SYSTEM_PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight labeled images to calibrate with, and eight others to measure on, at the size of the models."""
    root = tmp_path_factory.mktemp("drawn")
    for split, seeds in (("train", range(100, 108)), ("val", range(200, 208))):
        for kind in ("images", "labels"):
            (root / split / kind).mkdir(parents=True)
        for seed in seeds:
            image, label = MAKER["draw"](seed)
            cv2.imwrite(str(root / split / "images" / f"{seed}.png"), image[..., ::-1])
            cv2.imwrite(str(root / split / "labels" / f"{seed}.png"), label)
    (root / "classes.json").write_text(
        '{"names": ["wall", "red", "blue"], "palette": [[0, 0, 0], [9, 0, 0], [0, 0, 9]]}'
    )
    return root


def settings(**changes: Any) -> Quantization:
    """Without the trial of equalization, whose tests are elsewhere."""
    return Quantization(**{"ptq": "off", **changes})


def nearest_color(classes: int) -> list[np.ndarray]:
    """Kernels ``(kh, kw, in, out)`` and biases of two convolutions that give each pixel the nearest of the colors.

    -|x - c|² is linear in x up to a term that all classes share. Three more channels of random values are added, small
    enough to change no class, so that there is something to calibrate.
    """
    rng = np.random.default_rng(0)
    first = np.zeros((3, 3, 3, 6), np.float32)
    first[1, 1, range(3), range(3)] = 1
    first[..., 3:] = rng.normal(0, 0.1, (3, 3, 3, 3))
    colors = COLORS / 255
    last = np.zeros((1, 1, 6, 3), np.float32)
    last[0, 0, :3] = 8 * colors.T
    last[0, 0, 3:] = rng.normal(0, 0.01, (3, 3))
    bias = (-4 * (colors**2).sum(1)).astype(np.float32)
    if classes == 1:  # red against the wall, which the blue is farther from
        last, bias = last[..., 1:2] - last[..., :1], bias[1:2] - bias[:1]
    return [first, np.zeros(6, np.float32), last, bias]


def tflite_file(path: Path, end: str, *, size: tuple[int | None, ...] = SIZE, half: bool = False) -> Path:
    """A file as TensorFlow's converter makes it."""
    import tensorflow as tf

    first, first_bias, last, bias = nearest_color(1 if end == "sigmoid" else 3)

    @tf.function(input_signature=[tf.TensorSpec((None if None in size else 1, *size, 3), tf.float32)])
    def serve(image: Any) -> Any:
        x = tf.nn.relu(tf.nn.conv2d(image, first, 1, "SAME") + first_bias)
        if end == "resized":  # sizes that the graph asks of its own tensors
            x = tf.image.resize(x[:, ::2, ::2], tf.shape(image)[1:3], "nearest")
        x = tf.nn.conv2d(x, last, 1, "SAME") + bias
        ends: dict[str, Callable[[Any], Any]] = {
            "softmax": tf.nn.softmax,
            "sigmoid": tf.sigmoid,
            "far": lambda x: x + 1000,
            "ids": lambda x: tf.argmax(x, -1),
            "channels_first": lambda x: tf.transpose(x, (0, 3, 1, 2)),
            "flat": lambda x: tf.reshape(x, (1, -1, 3)),
            "masked": lambda x: tf.cast(x[..., 1] > x[..., 0], tf.uint8),
        }
        return ends.get(end, lambda x: x)(x)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()])
    if half:
        converter.optimizations, converter.target_spec.supported_types = [tf.lite.Optimize.DEFAULT], [tf.float16]
    path.write_bytes(converter.convert())
    return path


def onnx_file(path: Path, end: str, *, opset: int = 13, half: bool = False) -> Path:
    """A file of channels first, as other tools than PyTorch write it."""
    first, first_bias, last, bias = nearest_color(1 if end == "Sigmoid" else 3)
    kind = np.float16 if half else np.float32
    arrays = {"k": first.transpose(3, 2, 0, 1), "kb": first_bias, "l": last.transpose(3, 2, 0, 1), "lb": bias}
    nodes = [
        onnx.helper.make_node("Conv", ["x", "k", "kb"], ["first"], pads=[1, 1, 1, 1]),
        onnx.helper.make_node("Relu", ["first"], ["relu"]),
        onnx.helper.make_node("Conv", ["relu", "l", "lb"], ["scores"]),
    ]
    if half:
        nodes.insert(0, onnx.helper.make_node("Cast", ["image_in"], ["x"], to=onnx.TensorProto.FLOAT16))
        nodes.append(onnx.helper.make_node("Cast", ["scores"], ["single"], to=onnx.TensorProto.FLOAT))
    scores = "single" if half else "scores"
    attributes = {"ArgMax": {"axis": 1, "keepdims": 1}, "Softmax": {"axis": 1}}.get(end, {})
    nodes.append(onnx.helper.make_node(end, [scores], ["y"], **attributes))
    result = onnx.TensorProto.INT64 if end == "ArgMax" else onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info("image_in" if half else "x", onnx.TensorProto.FLOAT, [1, 3, *SIZE])],
        [onnx.helper.make_tensor_value_info("y", result, [1, 1 if end in ("ArgMax", "Sigmoid") else 3, *SIZE])],
        [onnx.numpy_helper.from_array(array.astype(kind), name) for name, array in arrays.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path)
    return path


def agreement(given: Path, description: InputDescription, artifact: bytes, suffix: str, drawn: Path) -> float:
    """Share of the pixels of the measured images to which the artifact, opened as a file, gives the file's class."""
    path = given.with_name(f"artifact{suffix}")
    path.write_bytes(artifact)
    same = []
    with open_segmenter(given, RuntimeOptions(input_size=None), description) as theirs, Segmenter(path) as ours:
        assert ours.backend.inputs[0].dtype == "uint8"
        for image in sorted((drawn / "val" / "images").iterdir()):
            pixels = cv2.imread(str(image))[..., ::-1].copy()
            same.append(np.mean(theirs(pixels).class_map == ours(pixels).class_map))
    return float(np.mean(same))


@pytest.mark.parametrize("name", ["unet", "deeplab"])
def test_pytorchs_files(name: str, drawn: Path) -> None:
    """A U-Net whose batch and size are open, and a DeepLab of opset 11: gated on labels, and as good as in float."""
    path = DATA / f"pytorch_{name}.onnx"
    description = InputDescription(**{**UNIT.said, **({"input_size": SIZE} if name == "unet" else {})})
    result = quantize(path, data=drawn, description=description)
    accuracy, proof = result.quantized.accuracy, result.verification  # type: ignore[union-attr]
    assert accuracy is not None and accuracy.mean_iou is not None and proof is not None
    assert accuracy.passed and accuracy.mean_iou[0] > 0.9 and accuracy.drop < 1
    assert set(accuracy.per_class_iou) == set(NAMES)
    assert proof.passed and proof.model == "the float file"
    assert result.file_name == f"pytorch_{name}.int8.onnx"
    assert len(result.data) < 0.6 * path.stat().st_size
    assert result.proof().spec.class_names == NAMES


def test_pytorch_itself_makes_such_files(drawn: Path, tmp_path: Path) -> None:
    """The committed files, made anew by the PyTorch of the machine."""
    has = subprocess.run([SYSTEM_PYTHON, "-c", "import torch, torchvision, onnx"], capture_output=True)
    if has.returncode:
        pytest.skip("apt install python3-torch python3-torchvision python3-onnx")
    subprocess.run([SYSTEM_PYTHON, str(DATA / "pytorch_models.py"), str(tmp_path)], check=True, capture_output=True)
    for name in ("unet", "deeplab"):
        description = InputDescription(**{**UNIT.said, **({"input_size": SIZE} if name == "unet" else {})})
        result = quantize(
            tmp_path / f"pytorch_{name}.onnx", data=drawn, description=description, quantization=settings()
        )
        assert result.quantized is not None and result.quantized.accuracy is not None
        assert result.quantized.accuracy.mean_iou is not None and result.quantized.accuracy.mean_iou[0] > 0.9


@pytest.mark.parametrize(
    ("end", "form"),
    [
        ("softmax", {"half": True}),
        ("ids", {}),
        ("resized", {"size": (None, None)}),
        ("channels_first", {}),
        ("flat", {}),
    ],
)
def test_tflite_files(end: str, form: dict[str, Any], drawn: Path, tmp_path: Path) -> None:
    """A class is decided by 8 bits in the artifact: between two colors 3 % of the noisy pixels are near the middle."""
    path = tflite_file(tmp_path / "given.tflite", end, **form)
    said = {**UNIT.said, **({"input_size": SIZE} if "size" in form else {})}
    description = InputDescription(**said)
    result = quantize(path, data=drawn, description=description, quantization=settings())
    assert result.spec.class_names == NAMES and result.spec.dtype == "uint8"
    assert agreement(path, description, result.data, ".tflite", drawn) > 0.97
    ops = count_ops(result.data)
    assert "SOFTMAX" not in ops and "SHAPE" not in ops  # the classes are the same without
    assert ops["QUANTIZE"] == 1 and "DEQUANTIZE" not in ops  # of the image; the half weights are integers


@pytest.mark.parametrize(
    ("end", "form"), [("Softmax", {"half": True}), ("ArgMax", {"opset": 11}), ("Identity", {"opset": 9})]
)
def test_onnx_files(end: str, form: dict[str, Any], drawn: Path, tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "given.onnx", end, **form)
    result = quantize(path, data=drawn, description=UNIT, quantization=settings())
    model = onnx.load_from_string(result.data)
    assert model.opset_import[0].version >= 13
    assert {node.op_type for node in model.graph.node} >= {"QuantizeLinear", "DequantizeLinear", "ArgMax"}
    assert result.spec.layout == "nchw"
    assert agreement(path, UNIT, result.data, ".onnx", drawn) > 0.97


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_one_channel_becomes_two_scores(file_format: str, drawn: Path, tmp_path: Path) -> None:
    """A sigmoid of red against the rest, above a threshold of the user's; as a class map, and as probabilities."""
    end, make = ("sigmoid", tflite_file) if file_format == "tflite" else ("Sigmoid", onnx_file)
    path = make(tmp_path / f"given.{file_format}", end)  # type: ignore[operator]
    images = drawn / "val" / "images"  # without labels, as those have three classes
    for threshold in (None, 0.7):
        description = InputDescription(mean=(0.0,) * 3, std=(255.0,) * 3, class_names=("red",), threshold=threshold)
        result = quantize(path, data=images, description=description, quantization=settings())
        assert result.spec.class_names == ("background", "red")
        assert agreement(path, description, result.data, f".{file_format}", drawn) > 0.97
    description = InputDescription(mean=(0.0,) * 3, std=(255.0,) * 3, class_names=("red",))
    options = ExportOptions(output_kind="softmax")
    result = quantize(path, data=images, description=description, options=options, quantization=settings())
    assert result.spec.output_kind == "softmax"
    assert agreement(path, description, result.data, f".{file_format}", drawn) > 0.97


def test_weights_in_other_files(drawn: Path, tmp_path: Path) -> None:
    whole = onnx_file(tmp_path / "whole.onnx", "Identity")
    apart = tmp_path / "apart.onnx"
    onnx.save(onnx.load(whole), apart, save_as_external_data=True, location="weights.bin", size_threshold=0)
    results = [quantize(path, data=drawn, description=UNIT, quantization=settings()) for path in (whole, apart)]
    assert results[0].quantized.float_data[-200:] != b"" and len(results[0].data) == len(results[1].data)  # type: ignore[union-attr]
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(InputError, match=r"'weights\.bin', which cannot be read"):
        quantize(apart, data=drawn, description=UNIT)


def test_only_the_weights(drawn: Path, tmp_path: Path) -> None:
    """Without images, and with the normalization outside, as the float file has it."""
    path = tflite_file(tmp_path / "given.tflite", "softmax")
    result = quantize(path, precision="dynamic", description=UNIT, verify=False)
    assert (result.spec.dtype, result.spec.mean, result.spec.std) == ("float32", (0.0,) * 3, (255.0,) * 3)
    assert result.verification is None and result.file_name == "given.dynamic.tflite"


def test_what_loses_its_classes_is_rejected_or_rescued(drawn: Path, tmp_path: Path) -> None:
    """Logits about 1000, of which 255 steps tell none apart: the op that makes them is kept in float."""
    path = tflite_file(tmp_path / "given.tflite", "far")
    with pytest.raises(VerificationFailed, match=r"given\.int8\.tflite failed its verification: .*float file gives"):
        quantize(path, data=drawn, description=UNIT, quantization=settings())
    result = quantize(path, data=drawn, description=UNIT, quantization=settings(rescue=True))
    quantized = result.quantized
    assert quantized is not None and quantized.rescue is not None and quantized.unrescued is not None
    assert not quantized.unrescued[1].passed and quantized.rescue.accuracy.passed
    assert len(quantized.rescue.kept) <= 2 < quantized.rescue.num_ops


def test_what_is_refused(drawn: Path, tmp_path: Path) -> None:
    logits = tflite_file(tmp_path / "logits.tflite", "logits")
    integers = tmp_path / "int8.tflite"
    integers.write_bytes(quantize(logits, data=drawn, description=UNIT, quantization=settings()).data)
    for path, reason in (
        (integers, r"'.*int8\.tflite' has integers already, in \d+ quantized tensors: give the float file"),
        (DATA / "saved.int8.onnx", r"has integers already, in \d+ ops"),
        (
            DATA / "saved_best.keras",
            r"is a Keras model: edgeseg export .*saved_best\.keras --precision int8 --data DIR",
        ),
        (DATA / "saved.fp32.mnn", r"is made of an ONNX file: quantize that; accepted: \.tflite, \.onnx"),
        (tmp_path / "model.pth", r"is no \.tflite or \.onnx file"),
        (tmp_path / "none.onnx", r"model file '.*none\.onnx' does not exist"),
    ):
        with pytest.raises(InputError, match=reason):
            quantize(path, data=drawn, description=UNIT)
    with pytest.raises(InputError, match="does not say how its input is normalized: give `mean` and `std`"):
        quantize(logits, data=drawn)
    with pytest.raises(InputError, match=r"the model has 3 classes, '.*' has 2|has 3 channels of scores"):
        quantize(logits, data=drawn, description=InputDescription(**{**UNIT.said, "class_names": ("a", "b")}))
    with pytest.raises(InputError, match=r"unknown precision|no precision 'w8a16'; accepted"):
        quantize(DATA / "pytorch_unet.onnx", precision="w8a16", data=drawn, description=UNIT)
    with pytest.raises(InputError, match="fp32 has no integers; accepted: int8, dynamic and w8a16"):
        quantize(logits, precision="fp32", data=drawn, description=UNIT)
    with pytest.raises(InputError, match=r"leaves its input size open.*give `input_size=\(H, W\)`"):
        quantize(DATA / "pytorch_unet.onnx", data=drawn, description=UNIT)
    masked = tflite_file(tmp_path / "masked.tflite", "masked")
    with pytest.raises(UnsupportedModel, match=r"class ids that are not those of an ARG_MAX.*`output=\.\.\.`"):
        quantize(
            masked,
            data=drawn / "val" / "images",
            description=InputDescription(**{**UNIT.said, "class_names": ("a", "b")}),
        )
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes((DATA / "pytorch_deeplab.onnx").read_bytes()[:5000])
    with pytest.raises(InputError, match=r"damaged\.onnx' does not open"):
        quantize(damaged, data=drawn, description=UNIT)


def test_several_inputs_and_ops_of_others_are_refused(drawn: Path, tmp_path: Path) -> None:
    model = onnx.load(onnx_file(tmp_path / "one.onnx", "Identity"))
    model.graph.input.append(onnx.helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, [1]))
    model.graph.node.append(onnx.helper.make_node("Identity", ["more"], ["rest"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("rest", onnx.TensorProto.FLOAT, [1]))
    onnx.save(model, tmp_path / "two.onnx")
    with pytest.raises(InputError, match="takes 2 inputs, 'x', 'more'; accepted: one image"):
        quantize(tmp_path / "two.onnx", data=drawn, description=UNIT)
    model = onnx.load(tmp_path / "one.onnx")
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    model.graph.node[1].op_type, model.graph.node[1].domain = "Gelu", "com.microsoft"
    onnx.save(model, tmp_path / "theirs.onnx")
    with pytest.raises(UnsupportedModel, match=r"ops of com\.microsoft, which are not ONNX's own"):
        quantize(tmp_path / "theirs.onnx", data=drawn, description=UNIT)


def test_the_reading_of_a_file(tmp_path: Path) -> None:
    """What is asked of the quantizers follows from the shapes and the last ops, with or without the user's word."""
    model = FloatModel.open(tflite_file(tmp_path / "mask.fp16.tflite", "sigmoid", half=True), UNIT_OF_ONE)
    assert (model.spec.name, model.reading.kind, model.reading.threshold) == ("mask", "mask", 0.5)
    assert math.isclose(model.spec.std[0], 255)


UNIT_OF_ONE = InputDescription(mean=(0.0,) * 3, std=(255.0,) * 3, class_names=("red",))
