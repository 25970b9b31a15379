from __future__ import annotations

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeseg.tflite.file import is_tflite, read_metadata


def model_with(entries: dict[str, bytes]) -> bytes:
    """A TFLite file with metadata and nothing else, written by the official schema."""
    model = schema.ModelT()
    model.version = 3
    model.buffers, model.metadata = [schema.BufferT()], []
    for name, content in entries.items():
        entry, buffer = schema.MetadataT(), schema.BufferT()
        entry.name, entry.buffer, buffer.data = name, len(model.buffers), list(content)
        model.buffers.append(buffer)
        model.metadata.append(entry)
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_entries_are_found_by_name() -> None:
    data = model_with({"min_runtime_version": b"1.5.0", "edgeseg.spec": b'{"a":1}'})
    assert is_tflite(data)
    assert read_metadata(data, "edgeseg.spec") == b'{"a":1}'
    assert read_metadata(data, "min_runtime_version") == b"1.5.0"


def test_no_such_entry_is_none() -> None:
    assert read_metadata(model_with({}), "edgeseg.spec") is None
    assert read_metadata(model_with({"other": b"x"}), "edgeseg.spec") is None


def test_what_is_no_model_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a TFLite model"):
        read_metadata(b"\x00" * 40, "edgeseg.spec")
    data = model_with({"edgeseg.spec": b"y" * 50})
    for cut in range(8, len(data), 7):  # never a crash, whatever is missing
        try:
            found = read_metadata(data[:cut], "edgeseg.spec")
        except ValueError:
            continue
        assert found in (None, b"y" * 50)
