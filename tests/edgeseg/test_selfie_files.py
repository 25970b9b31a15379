"""Files of MediaPipe's selfie form: one channel of a sigmoid after an op of MediaPipe's own (``tflite.portable``).

``edgeseg.opening`` reads them as a bare loop over LiteRT does. The form is made here, tiny;
``downloads/test_models.py`` is about MediaPipe's own files.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg.cli import main
from edgeseg.errors import InputError
from edgeseg.inspection import inspect
from edgeseg.opening import InputDescription, open_segmenter
from edgeseg.runtime import RuntimeOptions
from edgeseg.spec import ModelSpec
from edgeseg.tflite.portable import make_portable
from edgeseg_converters.tflite.metadata import append_labels, to_flatbuffer

SIZE = (16, 24)
UNIT = InputDescription(mean=(0.0,) * 3, std=(255.0,) * 3)
OPTIONS = struct.pack("<iii", 1, 2, 2)  # padding "same" and strides, as MediaPipe's files have them
QUICK = ("--rounds", "1", "--num-runs", "2", "--min-secs", "0", "--max-secs", "5")


def written(path: Path, *, labels: tuple[str, ...] | None, options: bytes = OPTIONS) -> Path:
    """A model of three ops: means of 2x2 pixels, MediaPipe's transposed convolution with a bias, a sigmoid."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    height, width = SIZE
    kernel = np.random.default_rng(0).normal(0, 4, (1, 2, 2, 3)).astype(np.float32)
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    graph.tensors, graph.operators, model.operatorCodes = [], [], []

    def tensor(shape: tuple[int, ...], data: NDArray[np.float32] | None = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = f"t{len(graph.tensors)}", list(shape), 0, 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data, made.buffer = list(data.tobytes()), len(model.buffers)
            model.buffers.append(buffer)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def node(name: str, sources: list[int], shape: tuple[int, ...]) -> Any:
        code, made = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = getattr(schema.BuiltinOperator, name, schema.BuiltinOperator.CUSTOM)
        code.deprecatedBuiltinCode, code.version = code.builtinCode, 1
        if code.builtinCode == schema.BuiltinOperator.CUSTOM:
            code.customCode = name
        made.opcodeIndex, made.inputs, made.outputs = len(graph.operators), sources, [tensor(shape)]
        model.operatorCodes.append(code)
        graph.operators.append(made)
        return made

    graph.inputs = [tensor((1, height, width, 3))]
    pool = node("AVERAGE_POOL_2D", graph.inputs, (1, height // 2, width // 2, 3))
    pool.builtinOptionsType, pool.builtinOptions = schema.BuiltinOptions.Pool2DOptions, schema.Pool2DOptionsT()
    for side in ("strideW", "strideH", "filterWidth", "filterHeight"):
        setattr(pool.builtinOptions, side, 2)
    weights = [tensor(kernel.shape, kernel), tensor((1,), np.float32([-1.5]))]
    up = node("Convolution2DTransposeBias", [*pool.outputs, *weights], (1, height, width, 1))
    up.customOptions = list(options)
    graph.outputs = node("LOGISTIC", up.outputs, (1, height, width, 1)).outputs
    if labels is not None:
        spec = ModelSpec(
            name="m",
            input_size=SIZE,
            class_names=labels,
            palette=((0, 0, 0),) * len(labels),
            mean=(0.0,) * 3,
            std=(255.0,) * 3,
        )
        entry, buffer = schema.MetadataT(), schema.BufferT()
        buffer.data = list(to_flatbuffer(spec, "t0", f"t{graph.outputs[0]}"))
        entry.name, entry.buffer = b"TFLITE_METADATA", len(model.buffers)
        model.buffers.append(buffer)
        model.metadata = [entry]
    data = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    path.write_bytes(data if labels is None else append_labels(data, spec))
    return path


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    return written(tmp_path / "bare.tflite", labels=None)


@pytest.fixture
def named(tmp_path: Path) -> Path:
    return written(tmp_path / "named.tflite", labels=("selfie",))


def bare_loop(path: Path, images: list[NDArray[np.uint8]]) -> Iterator[NDArray[np.bool_]]:
    """What a program with LiteRT alone has of images of the model's size."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    source, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    for image in images:
        interpreter.set_tensor(source, image[None].astype(np.float32) / 255)
        interpreter.invoke()
        yield interpreter.get_tensor(result)[0, ..., 0] > 0.5


def assert_same_masks(path: Path, images: list[NDArray[np.uint8]]) -> None:
    """Every pixel is that of the bare loop; both classes occur."""
    seen = set()
    with open_segmenter(path, RuntimeOptions(), UNIT) as segmenter:
        for image, expected in zip(images, bare_loop(path, images), strict=True):
            found = segmenter(image).class_map
            np.testing.assert_array_equal(found, expected)
            seen |= set(np.unique(found).tolist())
    assert seen == {0, 1}


@pytest.fixture
def photos() -> list[NDArray[np.uint8]]:
    return list(np.random.default_rng(1).integers(0, 256, (4, *SIZE, 3), np.uint8))


def test_masks_are_those_of_a_bare_loop(bare: Path, named: Path, photos: list[NDArray[np.uint8]]) -> None:
    assert_same_masks(bare, photos)
    assert_same_masks(named, photos)


def test_the_file_or_the_user_names_the_thing(bare: Path, named: Path, caplog: pytest.LogCaptureFixture) -> None:
    def names(path: Path, description: InputDescription) -> tuple[str, ...]:
        with open_segmenter(path, RuntimeOptions(), description) as segmenter:
            return segmenter.spec.class_names

    assert names(named, InputDescription()) == ("background", "selfie")
    person = InputDescription(class_names=("person",), mean=UNIT.mean, std=UNIT.std)
    assert names(bare, person) == names(named, person) == ("background", "person")
    assert not caplog.text
    assert names(bare, UNIT) == ("background", "foreground")
    assert "'" + str(bare) + "' has no class names; they are background, foreground; `class_names` takes" in caplog.text
    with pytest.raises(InputError, match=r"`mean=\(0, 0, 0\), std=\(255, 255, 255\)` for \[0, 1\], .* for \[-1, 1\]"):
        names(bare, InputDescription())


def test_a_portable_file_runs_without_xnnpack(bare: Path, photos: list[NDArray[np.uint8]]) -> None:
    """With the same scores up to the order of sums of 12 products below 8: a few steps of float32."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with pytest.raises(RuntimeError, match="unresolved custom op: Convolution2DTransposeBias"):
        Interpreter(str(bare), experimental_op_resolver_type=plain).allocate_tensors()
    data = make_portable(bare.read_bytes())
    assert make_portable(data) == data
    masks = {}
    for name, interpreter in (
        ("theirs", Interpreter(str(bare))),
        ("portable", Interpreter(model_content=data, experimental_op_resolver_type=plain)),
    ):
        interpreter.allocate_tensors()
        source, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
        interpreter.set_tensor(source, photos[0][None].astype(np.float32) / 255)
        interpreter.invoke()
        masks[name] = interpreter.get_tensor(result)
    np.testing.assert_allclose(masks["portable"], masks["theirs"], atol=1e-6)


@pytest.mark.parametrize("options", [b"", struct.pack("<iii", 3, 2, 2), struct.pack("<iii", 1, 0, 2)])
def test_an_op_of_that_name_with_other_options_is_refused(options: bytes, tmp_path: Path) -> None:
    other = written(tmp_path / "other.tflite", labels=None, options=options)
    with pytest.raises(InputError, match=r"the options of Convolution2DTransposeBias|is not MediaPipe's"):
        make_portable(other.read_bytes())


def test_inspect_says_how_to_feed_it(bare: Path, named: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(named), "--accelerator", "cpu"]) == 0
    feed, classes, command = capsys.readouterr().out.splitlines()[-3:]
    assert feed == "feed: letterbox to 16,24 (H,W), bilinear, nhwc, rgb, (pixel - 0) / 255"
    assert classes == "classes: background, selfie"
    assert command == f"next: edgeseg predict {named} IMAGE --save out.png"
    usage = inspect(bare, ["cpu"]).usage
    assert usage.options == ("--mean", "127.5", "--std", "127.5")
    assert "this is a guess" in usage.note


def test_the_commands(bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each by what is typed; a benchmark end to end feeds the file, too."""
    how = ["--mean", "0", "--std", "255"]
    photo = np.random.default_rng(2).integers(0, 256, (*SIZE, 3), np.uint8)
    data = tmp_path / "data" / "test"
    for folder in ("images", "labels"):
        (data / folder).mkdir(parents=True)
    cv2.imwrite(str(data / "images" / "p.png"), photo[..., ::-1])
    (expected,) = bare_loop(bare, [photo])
    cv2.imwrite(str(data / "labels" / "p.png"), expected.astype(np.uint8))
    image = str(data / "images" / "p.png")

    assert main(["predict", str(bare), image, *how, "--labels", "person", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["images"]
    assert found["counts"] == {"background": int((~expected).sum()), "person": int(expected.sum())}
    assert main(["camera", str(bare), "--source", image, *how, "--no-show", "--save", str(tmp_path / "drawn")]) == 0
    assert len(list((tmp_path / "drawn").iterdir())) == 1
    table = ["--data", str(tmp_path / "data"), "--classes", "background,person"]
    assert main(["evaluate", str(bare), *table, *how, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mean_iou"] == 1
    run = ["benchmark", str(bare), "--scope", "end-to-end", *QUICK]
    assert main([*run, *how, "--labels", "person", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert set(result["stages_s"]) == {"preprocess", "inference", "postprocess"}
    assert main(run) == 2
    err = capsys.readouterr().err
    assert f"'{bare}' does not say how its input is normalized: give --mean and --std" in err
    assert " object at 0x" not in err
    assert main(["benchmark", str(bare), *how]) == 2
    assert "--mean and --std: only with --scope end-to-end" in capsys.readouterr().err


def test_edges_are_soft_by_the_scores_of_the_one_channel(
    bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "p.png"
    cv2.imwrite(str(photo), np.random.default_rng(2).integers(0, 256, (*SIZE, 3), np.uint8))
    run = ["predict", str(bare), str(photo), "--mean", "0", "--std", "255", "--labels", "person", "--no-legend"]

    def drawn(view: str, *options: str) -> NDArray[np.uint8]:
        out = tmp_path / "out.png"
        assert main([*run, "--visualize", view, *options, "--save", str(out), "--overwrite"]) == 0
        return cv2.imread(str(out), cv2.IMREAD_UNCHANGED)  # type: ignore[return-value]

    for view in ("blur", "replace"):
        soft = drawn(view)
        assert (soft == drawn(view, "--matte")).all()
        assert (soft != drawn(view, "--no-matte")).any()
    assert set(np.unique(drawn("cutout")[..., 3])) == {0, 255}
    assert len(np.unique(drawn("cutout", "--matte")[..., 3])) > 10
    capsys.readouterr()
    held = [
        "camera",
        str(bare),
        *run[3:-1],
        "--source",
        str(photo),
        "--visualize",
        "blur",
        "--smooth",
        "2",
        "--no-show",
    ]
    assert main([*held, "--save", str(tmp_path / "held.png")]) == 0
    assert "--smooth holds classes, so the edges of blur are hard" in capsys.readouterr().err
    for command, reason in (
        ([*run, "--matte"], "--matte is for --visualize blur, replace and cutout, got overlay"),
        (["camera", str(bare), "--visualize", "blur", "--matte", "--smooth", "2"], "--smooth holds classes"),
        (
            ["camera", "efficientnet_lite0_unet", "--visualize", "blur", "--classes", "car", "--matte", "--no-show"],
            "this model gives class ids",
        ),
    ):
        assert main(command) == 2
        assert reason in capsys.readouterr().err.splitlines()[-1]
