"""The metadata that other tools read, and that nothing of ours is disturbed by it."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import keras
import pytest

from edgeseg.choices import OutputKind
from edgeseg.models import create
from edgeseg.segmenter import Segmenter
from edgeseg.spec import METADATA_KEY, ModelSpec
from edgeseg.tflite import file as tflite_file
from edgeseg_converters import export
from edgeseg_converters.options import ExportOptions
from edgeseg_converters.tflite.convert import tap_logits
from edgeseg_converters.tflite.metadata import ENTRY, LABELS_FILE, append_labels, to_flatbuffer

# Fields of metadata_schema.fbs.
SUBGRAPHS, INPUTS, OUTPUTS, CONTENT, UNITS, FILES = 3, 2, 3, 3, 4, 6
AXIS_LABELS, VALUE_LABELS = 2, 3


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    return create("unet_mini", num_classes=3, input_size=(16, 24))


def child(data: bytes, table: int, number: int) -> int:
    at = tflite_file.field(data, table, number)
    assert at is not None
    return at + tflite_file.uint32(data, at)


def byte(data: bytes, table: int, number: int) -> int:
    at = tflite_file.field(data, table, number)
    return 0 if at is None else data[at]


def tensor(data: bytes, which: int) -> int:
    """The metadata of the only input or output."""
    (subgraph,) = tflite_file.tables(data, tflite_file.uint32(data, 0), SUBGRAPHS)
    (found,) = tflite_file.tables(data, subgraph, which)
    return found


@pytest.mark.parametrize("color_order", ["rgb", "bgr"])
def test_it_says_how_to_feed_the_model(tiny_spec: ModelSpec, color_order: str) -> None:
    spec = tiny_spec.replace(mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0), color_order=color_order)
    data = to_flatbuffer(spec, "image", "class_map")
    assert data[4:8] == b"M001"
    image = tensor(data, INPUTS)
    assert tflite_file.string(data, image, 0) == b"image"
    properties = child(data, child(data, image, CONTENT), 1)
    assert byte(data, properties, 0) == (color_order == "rgb")  # 0 is "unknown"
    size = child(data, properties, 1)
    sides = [tflite_file.field(data, size, number) for number in (0, 1)]
    assert [tflite_file.uint32(data, at) for at in sides if at] == [48, 32]  # width, height
    (unit,) = tflite_file.tables(data, image, UNITS)
    options = child(data, unit, 1)
    numbers = [struct.unpack_from("<I3f", data, child(data, options, number)) for number in (0, 1)]
    assert numbers == [(3, 1.0, 2.0, 3.0), (3, 4.0, 5.0, 6.0)]


@pytest.mark.parametrize(
    ("output_kind", "kind"), [("argmax", VALUE_LABELS), ("softmax", AXIS_LABELS), ("logits", AXIS_LABELS)]
)
def test_a_file_has_ours_and_theirs(model: keras.Model, output_kind: OutputKind, kind: int, tmp_path: Path) -> None:
    result = export(model, verify=False, options=ExportOptions(output_kind=output_kind))
    standard = tflite_file.read_metadata(result.data, ENTRY)
    assert standard is not None
    (labels,) = tflite_file.tables(standard, tensor(standard, OUTPUTS), FILES)
    assert (tflite_file.string(standard, labels, 0), byte(standard, labels, 2)) == (LABELS_FILE.encode(), kind)
    with zipfile.ZipFile(io.BytesIO(result.data)) as archive:
        assert archive.testzip() is None
        assert archive.read(LABELS_FILE).decode().split("\n") == list(result.spec.class_names)
    assert tflite_file.read_metadata(result.data, METADATA_KEY) == result.spec.to_json().encode()
    assert tflite_file.read_metadata(result.data, "min_runtime_version")  # TensorFlow's converter writes it
    with Segmenter(result.save(tmp_path)) as segmenter:
        assert segmenter.spec == result.spec


def test_what_rewrites_a_file_reads_past_the_labels(model: keras.Model) -> None:
    tapped = tap_logits(export(model, verify=False).data)
    assert tflite_file.read_metadata(tapped, METADATA_KEY)


def test_the_same_model_gives_the_same_bytes_and_a_line_a_class(tiny_spec: ModelSpec) -> None:
    spec = tiny_spec.replace(class_names=("back\nground", "square", "disc"))
    data = append_labels(b"model", spec)
    assert data == append_labels(b"model", spec)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.read(LABELS_FILE) == b"back ground\nsquare\ndisc"
