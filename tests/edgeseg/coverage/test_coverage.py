"""``ask``, ``gpu``, ``onnx_tables``, ``result``, ``tflite_tables``, ``xnnpack`` and ``edgeseg.tflite.graph``: what the
installed runtimes say of models whose nodes are known; the sentences and tables beside it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgeseg.coverage import ACCELERATORS, Coverage, accelerators, coverage, coverage_of_all, gpu, xnnpack
from edgeseg.coverage.ask import ASKED
from edgeseg.coverage.tflite_tables import TABLES
from edgeseg.errors import BackendUnavailable, InputError
from edgeseg.runtime.process import gpu as gpu_process
from edgeseg.tflite.cpu import NO_LSE, Cpu
from edgeseg.tflite.graph import Graph, Node, Tensor, one_node_model, partitions, read_graph


def left(found: Coverage) -> dict[str, str]:
    return {node.op: node.reason for node in found.left}


@pytest.fixture(scope="module")
def vulkan() -> None:
    if isinstance(gpu._driver(), str):
        pytest.skip(f"the GPU accelerator is not asked: {gpu._driver()}")


def test_all_but_the_trailing_argmax_is_delegated(argmax_model: bytes) -> None:
    found = coverage(argmax_model, "cpu")
    assert (found.delegated, found.total, found.partitions, found.cut) == (2, 4, 1, False)
    assert left(found) == {"ARG_MAX": "XNNPACK has no ARG_MAX", "CAST": "XNNPACK has no CAST"}
    assert [node.nodes for node in found.left] == [(2,), (3,)]
    assert found.source == "asked"
    assert "ai-edge-litert" in found.source_note
    assert found.summary == "delegated 2 of 4 nodes in 1 partition"


def test_a_nearest_resize_in_the_middle_makes_two_partitions(nearest_model: bytes) -> None:
    found = coverage(nearest_model, "xnnpack")
    assert (found.accelerator, found.delegated, found.total, found.partitions) == ("cpu", 2, 3, 2)
    assert found.cut
    assert left(found) == {"RESIZE_NEAREST_NEIGHBOR": "XNNPACK has no RESIZE_NEAREST_NEIGHBOR"}
    assert found.left_ops == "RESIZE_NEAREST_NEIGHBOR x1"


def test_half_precision_weights_count_with_the_node_they_feed(nearest_fp16_model: bytes) -> None:
    found = coverage(nearest_fp16_model, "cpu")
    assert (found.delegated, found.total, found.partitions) == (6, 7, 2)
    assert list(left(found)) == ["RESIZE_NEAREST_NEIGHBOR"]


def test_the_reason_knows_what_int8_changes(pool_int8_model: bytes) -> None:
    found = coverage(pool_int8_model, "cpu")
    assert (found.delegated, found.total, found.partitions) == (4, 5, 2)
    assert left(found) == {"AVERAGE_POOL_2D": "XNNPACK takes AVERAGE_POOL_2D in float32, not int8"}


def test_the_partitions_are_those_that_the_runtime_makes(
    argmax_model: bytes,
    nearest_model: bytes,
    nearest_fp16_model: bytes,
    pool_int8_model: bytes,
    upsampling_model: bytes,
) -> None:
    """The cut that the tables and the GPU are read with, against XNNPACK's own number."""
    for data in (argmax_model, nearest_model, nearest_fp16_model, pool_int8_model, upsampling_model):
        graph = read_graph(data)
        taken, pieces = xnnpack.ask(data, graph)
        assert len(partitions(graph, taken)) == pieces


def test_a_model_of_one_node_is_asked_like_the_whole(nearest_model: bytes) -> None:
    graph = read_graph(nearest_model)
    for node in graph.nodes:
        alone = coverage(one_node_model(graph, node), "cpu")
        assert (alone.total, alone.delegated) == (1, int(node.op == "CONV_2D"))


@pytest.mark.usefixtures("vulkan")
def test_the_gpu_takes_a_whole_model_with_its_argmax(argmax_model: bytes, nearest_model: bytes) -> None:
    for data in (argmax_model, nearest_model):
        found = coverage(data, "gpu")
        assert found.delegated == found.total
        assert (found.partitions, found.cut, found.left) == (1, False, ())
        assert found.source == "asked"


@pytest.mark.usefixtures("vulkan")
def test_the_gpu_runs_one_partition_and_says_what_it_refuses(broadcast_model: bytes) -> None:
    found = coverage(broadcast_model, "gpu")
    assert (found.delegated, found.total, found.partitions, found.cut) == (2, 4, 1, True)
    assert left(found) == {
        "BROADCAST_TO": "the GPU accelerator refuses BROADCAST_TO: Operation is not supported",
        "CONV_2D": gpu.OUTSIDE,
    }


@pytest.mark.usefixtures("vulkan")
def test_the_gpu_does_not_count_what_the_cpu_takes_instead(upsampling_model: bytes) -> None:
    """RESHAPE to five dimensions runs on XNNPACK, and a model with the CPU allowed calls that accelerated too."""
    refused = left(coverage(upsampling_model, "gpu"))
    assert refused["RESHAPE"] == "the GPU accelerator refuses RESHAPE: Tensor dimensions must be less than 5"
    assert refused["TILE"] == "the GPU accelerator refuses TILE: Tensor dimensions must be less than 5"


def test_a_gpu_that_is_not_there_is_not_guessed(argmax_model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_driver", lambda: "no Vulkan driver")
    with pytest.raises(BackendUnavailable, match=r"gpu was not asked: no Vulkan driver"):
        coverage(argmax_model, "gpu")
    found, not_asked = coverage_of_all(argmax_model, ["cpu", "gpu"])
    assert [one.accelerator for one in found] == ["cpu"]
    assert not_asked == {"gpu": "no Vulkan driver"}


def test_a_crash_of_the_process_that_asks_is_an_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    worker = tmp_path / "gpu_worker.py"
    worker.write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setattr(gpu_process, "__file__", str(tmp_path / "gpu.py"))
    (answer,) = gpu_process.ask_gpu([b"x"], {})
    assert answer.full is None
    assert answer.error == "the process that asked it ended early, killed by SIGSEGV"
    # On an old ARM CPU every such process ends so, with a driver or without.
    monkeypatch.setattr(Cpu, "here", lambda: Cpu("aarch64", False, False))
    (answer,) = gpu_process.ask_gpu([b"x"], {})
    assert (answer.full, answer.error) == (None, NO_LSE)


@pytest.mark.parametrize("accelerator", ["nnapi", "coreml", "edgetpu", "qnn"])
def test_a_table_says_that_it_is_one(argmax_model: bytes, accelerator: str) -> None:
    found = coverage(argmax_model, accelerator)
    assert found.source == "table"
    assert "read 2026-11" in found.source_note


def test_tables_know_versions_types_and_weights(
    argmax_model: bytes,
    nearest_model: bytes,
    nearest_fp16_model: bytes,
    pool_int8_model: bytes,
    upsampling_model: bytes,
) -> None:
    assert left(coverage(argmax_model, "nnapi")) == {}
    assert left(coverage(upsampling_model, "nnapi"))["RESHAPE"].endswith("at most 4 dimensions, not 5")
    assert left(coverage(argmax_model, "coreml"))["ARG_MAX"] == "Core ML's delegate has no ARG_MAX"
    assert left(coverage(upsampling_model, "coreml"))["RESHAPE"].endswith("only for Core ML 2, which is iOS 12")
    assert "half precision" in left(coverage(nearest_fp16_model, "coreml"))["CONV_2D"]
    assert "takes int8 and uint8, not float32" in left(coverage(nearest_model, "edgetpu"))["CONV_2D"]
    assert left(coverage(pool_int8_model, "edgetpu")) == {"DEQUANTIZE": "Edge TPU's table has no DEQUANTIZE"}


def _onnx_model(*nodes: onnx.NodeProto, output: str, shape: tuple[int, ...]) -> bytes:
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 8, 8))
    result = helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "g", [image], [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def unpool_model() -> bytes:
    return _onnx_model(
        helper.make_node("MaxPool", ["x"], ["p", "i"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("MaxUnpool", ["p", "i"], ["u"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Relu", ["u"], ["y"]),
        output="y",
        shape=(1, 3, 8, 8),
    )


def test_tables_know_nothing_of_an_op_without_inputs() -> None:
    handle = Node(index=0, op="VAR_HANDLE", version=1, inputs=(), outputs=(0,), options=None)
    graph = Graph((handle,), (Tensor("RESOURCE", (), False),), None)
    assert TABLES["nnapi"].reason(graph, handle) == "NNAPI has no VAR_HANDLE"


def test_onnx_runtimes_cpu_opens_it(unpool_model: bytes) -> None:
    found = coverage(unpool_model, "cpu")
    assert (found.delegated, found.total, found.source) == (3, 3, "asked")
    assert found.source_note.startswith("onnxruntime ")


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ("directml", {}),
        ("cuda", {"MaxUnpool": "CUDA has no MaxUnpool"}),
        (
            "tensorrt",
            {
                "MaxPool": "TensorRT takes a MaxPool without its Indices output",
                "MaxUnpool": "TensorRT has no MaxUnpool",
            },
        ),
        (
            "xnnpack",
            {
                "MaxPool": "XNNPACK takes a MaxPool without its Indices output",
                "MaxUnpool": "XNNPACK has no MaxUnpool",
                "Relu": "XNNPACK has no Relu",
            },
        ),
    ],
)
def test_onnx_providers_from_their_tables(unpool_model: bytes, provider: str, expected: dict[str, str]) -> None:
    found = coverage(unpool_model, provider)
    assert left(found) == expected
    assert found.source == "table"
    assert found.delegated == 3 - len(expected)
    assert found.partitions == (None if expected else 1)


def test_a_resize_is_judged_by_its_coordinates() -> None:
    def resize(mode: str, coordinates: str) -> bytes:
        scales = helper.make_node(
            "Constant", [], ["s"], value=helper.make_tensor("v", TensorProto.FLOAT, [4], [1.0, 1.0, 2.0, 2.0])
        )
        node = helper.make_node("Resize", ["x", "", "s"], ["y"], mode=mode, coordinate_transformation_mode=coordinates)
        return _onnx_model(scales, node, output="y", shape=(1, 3, 16, 16))

    assert "Resize" not in left(coverage(resize("linear", "align_corners"), "xnnpack"))
    assert left(coverage(resize("nearest", "asymmetric"), "xnnpack"))["Resize"] == (
        "XNNPACK takes a nearest Resize with: nothing; this has asymmetric"
    )
    assert "Resize" not in left(coverage(resize("nearest", "tf_half_pixel_for_nn"), "tensorrt"))
    assert "tf_half_pixel_for_nn" in left(coverage(resize("nearest", "tf_half_pixel_for_nn"), "qnn"))["Resize"]


def test_what_is_asked_is_known() -> None:
    for file_format, asked in ASKED.items():
        assert set(asked) <= set(ACCELERATORS[file_format])
    assert accelerators("tflite", ["xnnpack", "cpu"]) == ("cpu",)


def test_an_unknown_accelerator_is_refused(argmax_model: bytes, unpool_model: bytes) -> None:
    with pytest.raises(InputError, match=r"unknown accelerator 'npu' for tflite; accepted: cpu, gpu, nnapi"):
        coverage(argmax_model, "npu")
    with pytest.raises(InputError, match=r"unknown accelerator 'gpu' for onnx; accepted: cpu, cuda"):
        coverage(unpool_model, "gpu")


@pytest.mark.parametrize("data", [b"", b"neither", b"\x00\x00\x00\x00TFL3 and no more"])
def test_what_is_no_model_is_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        coverage(data, "cpu")


def test_without_the_schema_package_it_says_what_to_install(
    argmax_model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a device with tflite-runtime alone."""
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    found, not_asked = coverage_of_all(argmax_model, ["cpu", "nnapi"])
    assert found == ()
    assert 'pip install "edgeseg[tflite]"' in not_asked["nnapi"]


def test_a_file_is_parsed_once_for_all_accelerators(argmax_model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []

    def counted(data: bytes) -> Graph:
        parsed.append(data)
        return read_graph(data)

    monkeypatch.setattr("edgeseg.coverage.ask.read_graph", counted)
    found, _ = coverage_of_all(argmax_model, ["cpu", "nnapi", "coreml", "qnn"])
    assert len(found) == 4
    assert len(parsed) == 1


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(InputError, match=r"model file 'gone.tflite' does not exist"):
        coverage("gone.tflite", "cpu")
