from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeseg.errors import InputError
from edgeseg.runtime.artifact import read_tflite, tflite_tensors
from edgeseg.runtime.litert import LiteRTBackend

DATA = Path(__file__).parents[2] / "data"
SHAPE = (1, 8, 16, 3)


@pytest.mark.parametrize(
    ("ops", "tensors", "quantization"),
    [
        (["RELU"], [(SHAPE, "float32")], {}),
        (["RELU"], [(SHAPE, "int8")], {"scale": 0.02, "zero_point": -10}),
        (["RELU"], [(SHAPE, "uint8")], {"scale": 1.0, "zero_point": 3}),
        (["RELU"], [((-1, 8, 16, 3), "float32")], {}),
        (["RELU"], [((1, -1, -1, 3), "float32")], {}),
        ([("ARG_MAX", [3])], [(SHAPE, "float32"), (SHAPE[:3], "int64")], {}),
    ],
)
def test_tensors_are_what_the_interpreter_says(
    tflite_model: Callable[..., bytes], ops: Any, tensors: Any, quantization: dict[str, Any]
) -> None:
    data = tflite_model(ops, tensors, **quantization)
    backend = LiteRTBackend(data)
    assert tflite_tensors("m", data) == (backend.inputs, backend.outputs)
    backend.close()


@pytest.mark.parametrize("name", ["saved.fp32.tflite", "saved.int8.tflite"])
def test_tensors_of_an_exported_file(name: str) -> None:
    what, content, _ = read_tflite(DATA / name)
    backend = LiteRTBackend(content)
    assert tflite_tensors(what, content) == (backend.inputs, backend.outputs)
    backend.close()


def test_tensors_that_hold_no_numbers(broken: Callable[..., bytes]) -> None:
    text = broken(lambda model: setattr(model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]], "type", 5))
    with pytest.raises(InputError, match=r"m: its tensor 'image' holds no numbers that numpy knows \(type 5\)"):
        tflite_tensors("m", text)
    with pytest.raises(InputError, match="m has no input or no output"):
        tflite_tensors("m", broken(lambda model: setattr(model.subgraphs[0], "outputs", [])))
