"""``options``: which backend opens a file, and what does not go together: said before anything is opened."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from edgeseg.errors import InputError
from edgeseg.runtime import BACKENDS, RuntimeOptions
from edgeseg.runtime.options import RuntimeSettings


@pytest.mark.parametrize(
    ("name", "asked", "backend"),
    [
        ("m.tflite", {}, "litert"),
        ("m.TFLITE", {"accelerator": "cpu"}, "litert"),
        ("m.tflite", {"accelerator": "gpu"}, "litert-compiled"),
        ("m.tflite", {"accelerator": "npu"}, "litert-compiled"),
        ("m.tflite", {"backend": "litert-compiled"}, "litert-compiled"),
        ("m.tflite", {"backend": "tflite-runtime", "delegate": "x.so"}, "tflite-runtime"),
        ("m.onnx", {"providers": ("cuda",)}, "onnx"),
        ("m.h5", {}, "keras"),
        ("model", {"backend": "onnx"}, "onnx"),
    ],
)
def test_the_backend_that_is_chosen(name: str, asked: dict[str, Any], backend: str) -> None:
    assert RuntimeOptions(**asked).choose(Path(name)) == backend
    assert backend in BACKENDS


@pytest.mark.parametrize(
    ("name", "asked", "message"),
    [
        ("m.tflite", {"backend": "lite"}, r"unknown backend 'lite'\. Did you mean 'litert'\? Accepted: litert, "),
        ("m.tflite", {"accelerator": "tpu"}, "unknown accelerator 'tpu'"),
        ("m.pb", {}, "none of the known suffixes"),
        ("m.tflite", {"backend": "onnx"}, "backend 'onnx' opens .onnx files, not 'm.tflite'"),
        ("m.onnx", {"backend": "litert"}, "backend 'litert' opens .tflite files"),
        ("m.tflite", {"backend": "litert", "accelerator": "gpu"}, "litert-compiled runs it there"),
        ("m.onnx", {"accelerator": "gpu"}, "`providers` chooses for an .onnx file"),
        ("m.onnx", {"accelerator": "cpu", "providers": ("cuda",)}, "`providers` or `accelerator`, not both"),
        ("m.keras", {"accelerator": "npu"}, "'keras' does not run on the accelerator 'npu'; it runs on the CPU alone"),
        ("m.mnn", {"accelerator": "gpu"}, "'gpu'; it runs on the CPU alone; omit `accelerator`"),
        ("m.xml", {"accelerator": "gpu"}, "'gpu'; it runs on the CPU alone; omit `accelerator`"),
        ("m.tflite.rejected", {}, r"rename 'm\.tflite\.rejected' to 'm\.tflite'\.$"),
        ("m.xml.rejected", {}, r"rename 'm\.xml\.rejected' to 'm\.xml' and 'm\.bin\.rejected' to 'm\.bin'\.$"),
        ("m.tflite", {"accelerator": "gpu", "delegate": "x.so"}, "a delegate goes with the backends litert and"),
        ("m.onnx", {"delegate": "x.so"}, "not with 'onnx'"),
        ("m.tflite", {"delegate_options": {"a": "b"}}, "give `delegate='FILE'`"),
        ("m.tflite", {"providers": ("cuda",)}, "backend 'litert' has none"),
    ],
)
def test_what_does_not_go_together(name: str, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RuntimeOptions(**asked).choose(Path(name))


def test_every_option_is_a_keyword() -> None:
    assert set(RuntimeSettings.__annotations__) == {field.name for field in fields(RuntimeOptions)}
