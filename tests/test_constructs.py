"""About ``benchmarks/constructs.py``: its way of measuring, and that docs/constructs.md has its results."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def benchmark() -> Any:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import constructs

    yield constructs
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("convolutions", "channel shuffle (ShuffleNet)"),
        ("resizing", "bilinear, corners aligned"),
        ("how models are written", "a subclassed model"),
    ],
)
def test_a_construct_gives_keras_classes_on_the_bare_runtimes(
    benchmark: ModuleType, group: str, name: str, tmp_path: Path
) -> None:
    kinds = (("tflite", "fp32"), ("onnx", "fp32"))
    row = benchmark.measure(group, name, tmp_path, kinds)
    assert all(row["-".join(kind)]["agreement"] >= benchmark.GATES["fp32"] for kind in kinds)


def test_an_int8_file_of_a_construct_gives_keras_classes(benchmark: ModuleType, tmp_path: Path) -> None:
    row = benchmark.measure("pooling", "squeeze and excitation", tmp_path, [("onnx", "int8")])
    assert row["onnx-int8"]["agreement"] >= benchmark.GATES["int8"]


def test_what_is_refused_is_a_sentence(benchmark: ModuleType, tmp_path: Path) -> None:
    row = benchmark.measure("arithmetic and indexing", "Fourier transform", tmp_path, [("onnx", "fp32")])
    assert "FFT2D in 'fourier'" in row["onnx-fp32"]["refused"]


def test_a_wrong_file_is_shown_as_wrong(benchmark: ModuleType) -> None:
    outcome: dict[str, Any] = {"-".join(kind): {"agreement": 0.94} for kind in benchmark.KINDS}
    assert "| **94.00 %** |" in benchmark.table([{"group": "g", "name": "n", **outcome}])


def test_the_documentation_has_every_construct(benchmark: ModuleType) -> None:
    import _constructs

    page = (ROOT / "docs" / "constructs.md").read_text()
    rows = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")]
    documented = [name for name in rows if name != "construct" and not name.startswith("**")]
    assert documented == [name for some in _constructs.constructs().values() for name in some]
    assert "TRACEBACK" not in page
