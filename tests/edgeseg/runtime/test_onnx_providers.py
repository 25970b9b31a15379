"""Execution providers: by either name, really there, and really taking nodes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgeseg.errors import BackendUnavailable, InputError
from edgeseg.runtime import open_backend
from edgeseg.runtime.onnx_providers import CPU, what_runs


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ABS and NEG, of an image whose width is left open."""
    image, result = (helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 4, "w", 3)) for name in "xy")
    nodes = [helper.make_node("Abs", ["x"], ["a"]), helper.make_node("Neg", ["a"], ["y"])]
    graph = helper.make_graph(nodes, "g", [image], [result])
    path = tmp_path_factory.mktemp("onnx") / "abs.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.mark.parametrize("name", ["cpu", CPU])
def test_either_name(name: str, model: Path) -> None:
    backend = open_backend(model, providers=(name,))
    for width in (2, 5):  # what the model leaves open, a run decides
        image = np.random.default_rng(0).uniform(-1, 1, (1, 4, width, 3)).astype(np.float32)
        np.testing.assert_array_equal(backend.run(image), -np.abs(image))


def test_a_name_that_is_none(model: Path) -> None:
    with pytest.raises(InputError, match=r"unknown provider 'cuba'\. Did you mean 'cuda'\? Accepted: cpu, cuda, "):
        open_backend(model, providers=("cuba",))


def test_one_that_is_not_there_names_the_package(model: Path) -> None:
    if "QNNExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has QNN")
    with pytest.raises(BackendUnavailable, match=r"it has .*CPUExec.*\. For it: pip install onnxruntime-qnn"):
        open_backend(model, providers=("qnn", "cpu"))


def test_one_that_takes_nothing_is_an_error(model: Path) -> None:
    """Azure's provider is in every wheel, starts everywhere and has no kernels: ONNX Runtime would use the CPU."""
    if "AzureExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has no provider that takes nothing")
    with pytest.raises(BackendUnavailable, match="AzureExecutionProvider takes none of the model's 2 nodes"):
        open_backend(model, providers=("AzureExecutionProvider",))


def session(runs_on: str, **nodes: int) -> Any:
    found = [
        SimpleNamespace(ep_name=f"{ep}ExecutionProvider", get_nodes=lambda n=n: [0] * n) for ep, n in nodes.items()
    ]
    return SimpleNamespace(get_providers=lambda: [runs_on], get_provider_graph_assignment_info=lambda: found)


def test_where_the_nodes_went_is_said() -> None:
    cuda = "CUDAExecutionProvider"
    assert what_runs(session(cuda, CUDA=3), [cuda, CPU]) == f" {cuda}"
    assert what_runs(session(cuda, CUDA=3, CPU=2), [cuda]) == f" {cuda} (partly: 3 of 5 nodes)"
    assert what_runs(SimpleNamespace(get_providers=lambda: [cuda]), [cuda]) == f" {cuda}"  # an old ONNX Runtime
    with pytest.raises(BackendUnavailable, match="could not start it and would run on CPUExecutionProvider"):
        what_runs(session(CPU, CPU=5), [cuda])
