"""``onnx_verifier``, and what ``runtime.onnx`` says of files that it cannot open."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgeseg import Segmenter
from edgeseg.cli import main
from edgeseg.errors import InputError
from edgeseg.runtime.onnx import OnnxBackend
from edgeseg.runtime.onnx_verifier import Damaged, verify

GOOD = Path(__file__).parents[2] / "data" / "saved.fp32.onnx"
Edit = Callable[[onnx.ModelProto], object]


def _edited(edit: Edit) -> bytes:
    model = onnx.load_from_string(GOOD.read_bytes())
    edit(model)
    return bytes(model.SerializeToString())


def _weights(model: onnx.ModelProto) -> onnx.TensorProto:
    return max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))


def _outside(location: str) -> Edit:
    """Return an edit that moves the largest weights into a file of that name."""

    def edit(model: onnx.ModelProto) -> None:
        tensor = _weights(model)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return edit


def _message(number: int, content: bytes) -> bytes:
    """Return a field of protobuf that holds a message."""
    length, rest = b"", len(content)
    while rest >= 0x80:
        length, rest = length + bytes([rest & 0x7F | 0x80]), rest >> 7
    return bytes([number << 3 | 2]) + length + bytes([rest]) + content


def test_good_files_pass() -> None:
    for path in (GOOD, GOOD.with_name("saved.int8.onnx")):
        verify(path.read_bytes())


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda model: model.ClearField("graph"), "no ONNX model: it has no graph"),
        (lambda model: model.graph.ClearField("input"), "no input or no output"),
        (lambda model: model.graph.ClearField("output"), "no input or no output"),
        (lambda model: _weights(model).dims.append(-1), "has a negative side"),
        (lambda model: _weights(model).dims.extend([1 << 20, 1 << 20]), "more than 2048 MiB"),
        (_outside("weights.bin"), "in another file, 'weights.bin', and is in memory"),
    ],
)
def test_what_does_not_go_together_is_named(edit: Edit, text: str) -> None:
    with pytest.raises(Damaged) as caught:
        verify(_edited(edit))
    assert text in str(caught.value)


def test_graphs_in_graphs_end_somewhere() -> None:
    graph = b""
    for _ in range(40):  # deeper than protobuf itself writes: the graph of an attribute of a node of a graph
        graph = _message(1, _message(5, _message(6, graph)))
    with pytest.raises(Damaged, match="nested more than 32 times"):
        verify(_message(7, graph))


def test_damage_is_never_another_error() -> None:
    rng, data, refused = random.Random(0), GOOD.read_bytes(), 0
    for _ in range(200):
        changed = bytearray(data[: rng.choice((len(data), rng.randrange(len(data))))])
        changed[rng.randrange(len(changed))] = rng.choice((0, 127, 128, 255))
        try:
            verify(bytes(changed))
        except Damaged:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("location", ["/etc/hostname", "../weights.bin", "link/weights.bin", "no\0thing", ""])
def test_weights_outside_the_folder_are_not_read(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(1 << 16))
    (folder / "link").symlink_to(tmp_path)
    (folder / "m.onnx").write_bytes(_edited(_outside(location)))
    with pytest.raises(InputError, match=r"m.onnx' does not open: it keeps its weights in .*outside its own folder"):
        OnnxBackend(folder / "m.onnx")


def test_weights_beside_the_model_are_read(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    model = onnx.load_from_string(GOOD.read_bytes())
    (tmp_path / "weights.bin").write_bytes(_weights(model).raw_data)
    (tmp_path / "m.onnx").write_bytes(_edited(_outside("weights.bin")))
    with Segmenter(GOOD) as one, Segmenter(tmp_path / "m.onnx") as other:
        np.testing.assert_array_equal(other(image).class_map, one(image).class_map)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(InputError, match=r"in 'weights.bin', which cannot be read: No such file"):
        OnnxBackend(tmp_path / "m.onnx")


@pytest.mark.parametrize("place", ["name of the input", "metadata"])
def test_a_text_that_is_no_utf8_is_one_line(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def edit(model: onnx.ModelProto) -> None:
        if place == "metadata":
            model.metadata_props[0].value = "HERE" + model.metadata_props[0].value
        else:
            for name in (node.input for node in model.graph.node if node.input[0] == model.graph.input[0].name):
                name[0] = "HERE"
            model.graph.input[0].name = "HERE"

    (tmp_path / "m.onnx").write_bytes(_edited(edit).replace(b"HERE", b"\xc8\xff\xfe\xfd"))
    assert main(["inspect", str(tmp_path / "m.onnx")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"edgeseg: '{tmp_path / 'm.onnx'}'")


def test_a_model_that_opens_and_fails_when_it_runs_is_named(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 13]> f (float[1,4,4,3] x) => (float[1,4,4,3,4,4,3] y)'
        "{ i = Cast <to: int = 7> (x) y = Gather <axis: int = 0> (x, i) }"
    )
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    backend = OnnxBackend(tmp_path / "m.onnx")
    with pytest.raises(InputError, match=r"m.onnx' opens but does not run: "):
        backend.run(np.full((1, 4, 4, 3), 5, np.float32))  # there is no place 5
