"""Read what a ``.tflite`` file says about itself in TFLite's standard metadata: normalization and labels.

Field numbers are those of TFLite's metadata_schema.fbs; ``edgeseg_converters.tflite.metadata`` writes the same.
"""

from __future__ import annotations

import io
import struct
import zipfile
from dataclasses import dataclass

from edgeseg._internal.zip_entries import read_entry
from edgeseg.spec import class_names_in
from edgeseg.tflite.file import child, field, floats, read_metadata, string, tables, uint32

ENTRY = "TFLITE_METADATA"

_MODEL_SUBGRAPHS = 3
_SUBGRAPH_INPUTS, _SUBGRAPH_OUTPUTS = 2, 3
_TENSOR_UNITS, _TENSOR_FILES = 4, 6
_UNIT_TYPE, _UNIT_OPTIONS = 0, 1
_NORMALIZATION = 1
_FILE_NAME, _FILE_TYPE = 0, 2
_LABEL_TYPES = (2, 3)  # labels of the channels, and of the values

# Bytes of a labels file; a larger one is no list of at most 256 classes.
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Description:
    """The normalization and labels that a file states.

    Attributes:
        class_names: those of the labels file; ``None`` without one.
        mean: one number, or one per channel; ``None`` where none is stated.
        std: likewise.
    """

    class_names: tuple[str, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def read_description(data: bytes) -> Description:
    """Read the metadata of the first input and the first output; broken metadata counts as absent.

    Args:
        data: a whole ``.tflite`` file.
    """
    try:
        content = read_metadata(data, ENTRY)
        if content is None:
            return Description()
        subgraph = tables(content, uint32(content, 0), _MODEL_SUBGRAPHS)[0]
        image = tables(content, subgraph, _SUBGRAPH_INPUTS)[0]
        result = tables(content, subgraph, _SUBGRAPH_OUTPUTS)[0]
        mean, std = _normalization(content, image)
        names = [string(content, file, _FILE_NAME).decode() for file in _label_files(content, result)]
    except (struct.error, IndexError, ValueError):  # the entry is there, but is no such table
        return Description()
    return Description(_lines(data, names), mean, std)


def _normalization(content: bytes, tensor: int) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    for unit in tables(content, tensor, _TENSOR_UNITS):
        options = child(content, unit, _UNIT_OPTIONS)
        if _byte(content, unit, _UNIT_TYPE) == _NORMALIZATION and options is not None:
            return floats(content, options, 0) or None, floats(content, options, 1) or None
    return None, None


def _label_files(content: bytes, tensor: int) -> list[int]:
    files = tables(content, tensor, _TENSOR_FILES)
    return [file for file in files if _byte(content, file, _FILE_TYPE) in _LABEL_TYPES]


def _lines(data: bytes, names: list[str]) -> tuple[str, ...] | None:
    """Return the lines of the first of these files, in the zip archive after the model."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return class_names_in(read_entry(archive, names[0], _MAX_BYTES).decode())
    except (zipfile.BadZipFile, LookupError, ValueError):  # no file, a larger one, or no text
        return None


def _byte(content: bytes, table: int, number: int) -> int:
    at = field(content, table, number)
    return 0 if at is None else content[at]
