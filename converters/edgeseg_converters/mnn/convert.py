"""Convert an ONNX file of edgeseg to an MNN model, with the ModelSpec as the text that MNN calls ``bizCode``."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path

from edgeseg.errors import InputError, UnsupportedModel
from edgeseg.runtime.mnn.file import read_mnn, uuid_place
from edgeseg.spec import ModelSpec
from edgeseg_converters.onnx import intermediate


def to_mnn(data: bytes, spec: ModelSpec) -> bytes:
    """Convert an ONNX file.

    MNN's converter cuts weights to float16 where others round them, which changes 2.4 times as many pixels of the
    packaged model; so they are rounded before. The random number by which it tells files apart is replaced by one that
    follows from the content, so that the same model gives the same file.

    Args:
        data: a float32 ``.onnx`` file that edgeseg made.
        spec: goes into the file; its precision is obeyed.

    Returns:
        An ``.mnn`` file.

    Raises:
        UnsupportedModel: MNN does not convert the model, or what it makes is no such model; the text says why.
    """
    half = spec.provenance.precision == "fp16"
    (made,) = intermediate.convert(
        {intermediate.SOURCE: intermediate.prepared(data, half_weights=half), "spec.json": spec.to_json().encode()},
        Path(__file__).with_name("worker.py"),
        ["model.mnn"],
        arguments=["fp16" if half else "fp32"],
        name="MNN",
    )
    try:
        _, _, inside = read_mnn(made)
    except InputError as error:
        raise UnsupportedModel(f"the model does not convert to MNN: of what its converter wrote, {error}") from error
    if inside != spec:
        raise UnsupportedModel("the model does not convert to MNN: its converter lost the ModelSpec.")
    return _numbered_by_content(made)


def _numbered_by_content(data: bytes) -> bytes:
    place = uuid_place(data)
    if place is None:
        return data
    before, after = data[: place.start], data[place.stop :]
    number = uuid.UUID(bytes=hashlib.sha256(before + after).digest()[:16], version=4)
    return before + str(number).encode() + after
