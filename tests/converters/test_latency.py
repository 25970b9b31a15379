"""Latency and peak memory of real files: that all is measured and said, never how long it took."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.spec import ModelSpec, default_palette
from edgeseg_converters import onnx, tflite
from edgeseg_converters.frozen import freeze
from edgeseg_converters.latency import Latency, measure
from edgeseg_converters.memory import peak_memory

SPEC = ModelSpec("tiny", (16, 24), ("a", "b"), default_palette(2), output_kind="argmax")


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    model = keras.Sequential([keras.Input((16, 24, 3), batch_size=1), keras.layers.Conv2D(2, 3, padding="same")])
    frozen = freeze(model, SPEC)
    return {"tflite": tflite.convert(frozen, SPEC), "onnx": onnx.convert(frozen, SPEC)}


def test_every_artifact_is_timed_as_often_and_the_circumstances_are_said(files: dict[str, bytes]) -> None:
    artifacts = {"first": (files["tflite"], "tflite"), "second": (files["onnx"], "onnx")}
    found, environment = measure(artifacts, num_runs=4, warmup=2, num_threads=1)
    assert list(found) == ["first", "second"]
    for latency in found.values():
        assert len(latency.latencies_s) == 4
        assert min(latency.latencies_s) > 0
    assert (environment.num_threads, environment.warmup) == (1, 2)
    assert [runtime.split()[0] for runtime in environment.runtimes] == ["ai-edge-litert", "onnxruntime"]
    assert environment.date.endswith("Z")
    assert environment.machine


def test_statistics_are_computed_from_the_calls() -> None:
    latency = Latency(tuple(np.arange(1, 12) / 1000))
    assert latency.median_s == pytest.approx(0.006)
    assert latency.spread == pytest.approx((0.010 - 0.002) / 0.006)
    assert latency.to_dict()["summary"]["min_ms"] == pytest.approx(1)


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_peak_memory_is_of_the_model_not_of_this_process(file_format: str, files: dict[str, bytes]) -> None:
    peak = peak_memory(files[file_format], file_format)
    if peak is None:
        pytest.skip("no /proc here")
    # This process has TensorFlow in it, hundreds of megabytes; a model of 56 weights has no business above 64.
    assert len(files[file_format]) < peak < 64e6


def test_a_broken_artifact_is_refused(files: dict[str, bytes]) -> None:
    with pytest.raises(InputError):
        measure({"broken": (files["tflite"][:200], "tflite")})
    with pytest.raises(InputError, match="does not run in a process of its own"):
        peak_memory(files["tflite"][:200], "tflite")
