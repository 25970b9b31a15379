"""Read an artifact for its runtime: the bytes, verified, and the ModelSpec inside."""

from __future__ import annotations

from pathlib import Path

from edgeseg._internal.limits.models import ModelFile, named_bytes
from edgeseg._internal.text import escaped
from edgeseg.errors import InputError
from edgeseg.runtime import onnx_verifier
from edgeseg.runtime.base import TensorInfo
from edgeseg.spec import METADATA_KEY, ModelSpec
from edgeseg.tflite import verifier as tflite_verifier
from edgeseg.tflite.file import (
    DTYPES,
    input_numbers,
    output_numbers,
    read_metadata,
    read_quantization,
    read_tensor,
)


def read_tflite(model: str | Path | bytes | ModelFile) -> tuple[str, bytes, ModelSpec | None]:
    """Read a TFLite model and the spec inside.

    Args:
        model: a ``.tflite`` file, or its bytes.

    Returns:
        What it is called at the start of a sentence, the whole file, and its ModelSpec; ``None`` where it has none.

    Raises:
        InputError: the file cannot be read, is damaged or no TFLite model, or its spec cannot be read.
    """
    what, content = named_bytes(model)
    try:
        tflite_verifier.verify(content)
        text = read_metadata(content, METADATA_KEY)
    except ValueError as error:
        raise InputError(f"{what} does not open: {error}.") from error
    return what, content, None if text is None else parse_spec(what, text)


def tflite_tensors(what: str, content: bytes) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
    """Return the inputs and the outputs of a TFLite model as the interpreter reports them, without a runtime.

    Args:
        what: what the model is called at the start of a sentence.
        content: the whole file, as ``read_tflite`` returns it.

    Raises:
        InputError: it has no input or no output, or one of a type that is no number.
    """
    inputs, outputs = (
        tuple(_tensor(what, content, number) for number in numbers)
        for numbers in (input_numbers(content), output_numbers(content))
    )
    if not inputs or not outputs:
        raise InputError(f"{what} has no input or no output.")
    return inputs, outputs


def _tensor(what: str, content: bytes, number: int) -> TensorInfo:
    name, shape, kind = read_tensor(content, number)
    if kind not in DTYPES:
        raise InputError(f"{what}: its tensor '{escaped(name)}' holds no numbers that numpy knows (type {kind}).")
    scale, zero_point = read_quantization(content, number)
    return TensorInfo(name=name, shape=shape, dtype=DTYPES[kind], scale=scale, zero_point=zero_point)


def read_onnx(model: str | Path | bytes | ModelFile) -> tuple[str, bytes]:
    """Read an ONNX model.

    Args:
        model: an ``.onnx`` file, or its bytes.

    Returns:
        What it is called at the start of a sentence, and the whole file.

    Raises:
        InputError: the file cannot be read, is damaged or no ONNX model, or keeps its weights outside its own folder.
    """
    what, content = named_bytes(model)
    try:
        onnx_verifier.verify(content, folder_of(model))
    except onnx_verifier.Damaged as error:
        raise InputError(f"{what} does not open: {error}.") from error
    return what, content


def folder_of(model: str | Path | bytes | ModelFile) -> Path | None:
    """Return the folder that a model's other files are in; ``None`` where it is in memory."""
    if isinstance(model, bytes):
        return None
    return (model.path if isinstance(model, ModelFile) else Path(model)).absolute().parent


def parse_spec(what: str, text: str | bytes) -> ModelSpec:
    """Read a ModelSpec's JSON.

    Args:
        what: the model that it is in, as the start of a sentence.
        text: the JSON.

    Raises:
        InputError: it is none; the text names the model.
    """
    try:
        return ModelSpec.from_json(text)
    except InputError as error:
        raise InputError(f"{what}: {error}") from error
