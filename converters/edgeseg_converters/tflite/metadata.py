"""Write TFLite's own model metadata, which MediaPipe and other tools read to feed an artifact.

``edgeseg.spec`` says more. The metadata is:

    entry TFLITE_METADATA   a flatbuffer of its own: how the image goes in, what comes out, where the labels are
    labels.txt              one class name per line, in a zip archive after the model, which TFLite itself does not read

Table and field numbers are those of TFLite's metadata_schema.fbs. Only ``flatbuffers`` is used to write it: the package
with the generated classes, mediapipe, brings another build of OpenCV into the same folder as ours.

MediaPipe's Image Segmenter takes scores, not class maps, and refuses (1.2 did, in these words) a mean or std that
differs by channel and colors that are not RGB, so it reads no such file wrongly.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from typing import Any

import flatbuffers

from edgeseg.choices import OutputKind
from edgeseg.spec import ModelSpec

ENTRY = "TFLITE_METADATA"
LABELS_FILE = "labels.txt"

_IDENTIFIER = b"M001"
_MIN_PARSER_VERSION = "1.0.0"  # nothing that a later schema added is used
# Numbers in enums and unions of the schema.
_AXIS_LABELS, _VALUE_LABELS = 2, 3
_UNKNOWN_COLORS, _RGB = 0, 1
_FEATURE_PROPERTIES, _IMAGE_PROPERTIES = 1, 2
_NORMALIZATION = 1

_OUTPUTS: dict[OutputKind, str] = {
    "argmax": "The id of the class of each pixel.",
    "softmax": "The probability of each class, for each pixel.",
    "logits": "The logit of each class, for each pixel; a softmax makes probabilities of them.",
}


def to_flatbuffer(spec: ModelSpec, input_name: str, output_name: str) -> bytes:
    """Build the content of the entry ``TFLITE_METADATA``.

    Args:
        spec: gives mean, std, size and classes. The schema has no BGR: such a model's colors are "unknown".
        input_name: name of the image's tensor.
        output_name: name of the class map's or the scores' tensor.
    """
    out = _Tables()
    height, width = spec.input_size
    colors = _RGB if spec.color_order == "rgb" else _UNKNOWN_COLORS
    image = out.table({0: out.byte(colors), 1: out.table({0: out.uint(width), 1: out.uint(height)})})
    normalization = out.table({0: out.floats(spec.mean), 1: out.floats(spec.std)})
    described = {
        0: out.text(input_name),
        1: out.text("The image, RGB." if colors else "The image, BGR."),
        3: out.table({0: out.byte(_IMAGE_PROPERTIES), 1: image}),
        4: out.tables([out.table({0: out.byte(_NORMALIZATION), 1: normalization})]),
    }
    # Labels name the values of a class map, but the channels of scores.
    kind = _VALUE_LABELS if spec.output_kind == "argmax" else _AXIS_LABELS
    labels = out.table({0: out.text(LABELS_FILE), 1: out.text("One class a line."), 2: out.byte(kind)})
    result = {
        0: out.text(output_name),
        1: out.text(_OUTPUTS[spec.output_kind]),
        3: out.table({0: out.byte(_FEATURE_PROPERTIES), 1: out.table({})}),
        6: out.tables([labels]),
    }
    subgraph = out.table({2: out.tables([out.table(described)]), 3: out.tables([out.table(result)])})
    root = {
        0: out.text(spec.name),
        1: out.text("Semantic segmentation, exported by edgeseg."),
        3: out.tables([subgraph]),
        7: out.text(_MIN_PARSER_VERSION),
    }
    return out.finish(out.table(root))


def append_labels(data: bytes, spec: ModelSpec) -> bytes:
    """Put the zip archive with the labels after a model's flatbuffer.

    Args:
        data: a ``.tflite`` file that is otherwise finished.
        spec: its class names are the labels; a line break in one becomes a space.

    Returns:
        The same file, which ``zipfile`` opens too; the same bytes for the same input.
    """
    names = [" ".join(name.splitlines()) for name in spec.class_names]
    file = io.BytesIO(data)
    with zipfile.ZipFile(file, "a") as archive:  # appends to a file that is no archive yet
        archive.writestr(zipfile.ZipInfo(LABELS_FILE), "\n".join(names))  # a ZipInfo's date is 1980, not today
    return file.getvalue()


class _Tables:
    """Write flatbuffer tables by field number; what a table refers to is written before it."""

    def __init__(self) -> None:
        self._builder = flatbuffers.Builder(1024)

    def byte(self, value: int) -> tuple[str, int]:
        return "Int8", value

    def uint(self, value: int) -> tuple[str, int]:
        return "Uint32", value

    def text(self, value: str) -> tuple[str, int]:
        return "UOffsetTRelative", self._builder.CreateString(value)

    def floats(self, values: Sequence[float]) -> tuple[str, int]:
        self._builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self._builder.PrependFloat32(value)
        return "UOffsetTRelative", self._builder.EndVector()

    def tables(self, tables: Sequence[tuple[str, int]]) -> tuple[str, int]:
        self._builder.StartVector(4, len(tables), 4)
        for _, table in reversed(tables):
            self._builder.PrependUOffsetTRelative(table)
        return "UOffsetTRelative", self._builder.EndVector()

    def table(self, fields: dict[int, tuple[str, Any]]) -> tuple[str, int]:
        self._builder.StartObject(max(fields, default=-1) + 1)
        for number, (kind, value) in fields.items():
            getattr(self._builder, f"Prepend{kind}Slot")(number, value, 0)
        return "UOffsetTRelative", self._builder.EndObject()

    def finish(self, root: tuple[str, int]) -> bytes:
        self._builder.Finish(root[1], _IDENTIFIER)
        return bytes(self._builder.Output())
