"""The search in real ONNX files on ONNX Runtime, with an op that is edited on its way to the device."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgeseg.errors import BackendUnavailable, InputError
from edgeseg.proof.first_wrong_op import Run, find_wrong_op
from edgeseg.proof.first_wrong_op.onnx import OnnxCuts

#: What is wrong on the device: the op of the saved float32 file, the how manieth of its kind, and what is done to it.
PLACES = {"weight": ("Conv", 1), "bias": ("Conv", 2), "order": ("Concat", 0), "resize": ("Resize", 2)}


def edit_op(name: str, what: str) -> Callable[[bytes], bytes]:
    """An edit of the op that makes a tensor; a file without it stays as it is."""

    def edit(data: bytes) -> bytes:
        model = onnx.load_from_string(data)
        for node in model.graph.node:
            if name not in node.output:
                continue
            if what == "order":
                node.input[:] = list(node.input)[::-1]
            elif what == "resize":
                (mode,) = [each for each in node.attribute if each.name == "mode"]
                mode.s = b"nearest" if mode.s == b"linear" else b"linear"
            else:
                negate(model, node.input[1 if what == "weight" else 2])
        return bytes(model.SerializeToString())

    return edit


def negate(model: Any, name: str) -> None:
    """Change the sign of the largest value of a constant, which may come from integers."""
    made = {output: node for node in model.graph.node for output in node.output}
    if name in made:
        name = made[name].input[0]
    (tensor,) = [each for each in model.graph.initializer if each.name == name]
    values = onnx.numpy_helper.to_array(tensor).copy()
    at = np.unravel_index(np.abs(values.astype(np.float64)).argmax(), values.shape)
    values[at] = -values[at]
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, name))


def with_half_weights(data: bytes) -> bytes:
    """Every float32 weight rounded to half precision."""
    model = onnx.load_from_string(data)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1:
            rounded = onnx.numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(rounded, tensor.name))
    return bytes(model.SerializeToString())


def nth(graph: OnnxCuts, kind: str, number: int) -> Any:
    return [op for op in graph.ops if op.kind == kind][number]


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory, saved: Callable[[str], Any]) -> tuple[Path, Any]:
    """The saved float32 file without its argmax, and an image."""
    path, image = saved("fp32.onnx")
    graph = OnnxCuts(path.read_bytes())
    cut = tmp_path_factory.mktemp("scores") / "scores.onnx"
    cut.write_bytes(graph.part(nth(graph, "ArgMax", 0).inputs[0], {})[0])
    return cut, image


@pytest.mark.parametrize("what", PLACES)
def test_an_op_that_is_wrong_on_the_device_is_named(
    what: str, scores: tuple[Path, Any], on_cpu: Run, wrong_device: Callable[..., Run]
) -> None:
    path, image = scores
    graph = OnnxCuts(path.read_bytes())
    op = nth(graph, *PLACES[what])
    name = graph.name(op.outputs[0])
    answer = find_wrong_op(path, image, on_device=wrong_device(edit_op(name, what)), on_cpu=on_cpu)
    assert answer.found is not None, str(answer)
    assert (answer.found.op.kind, answer.found.op.index, answer.found.op.name) == (op.kind, op.index, name)
    assert len(answer.found.shape) == 4 and -1 not in answer.found.shape
    assert answer.found.own_error is not None and answer.found.own_error > 1e-4
    assert all(one.error is not None and one.error < 1e-6 for one in answer.found.inputs)


def test_a_wrong_weight_among_integers_is_named(
    saved: Callable[[str], Any], on_cpu: Run, wrong_device: Callable[..., Run]
) -> None:
    path, image = saved("int8.onnx")
    graph = OnnxCuts(path.read_bytes())
    op = nth(graph, "Conv", 1)
    device = wrong_device(edit_op(graph.name(op.outputs[0]), "weight"))
    answer = find_wrong_op(path, image, on_device=device, on_cpu=on_cpu)
    assert answer.found is not None and answer.has_ids, str(answer)
    assert (answer.found.op.kind, answer.found.op.index) == ("Conv", op.index)
    assert answer.found.steps is not None and answer.found.steps > 1.5
    # It is one integer op with the pair that follows it.
    assert [other.kind for other in answer.found.together] == ["QuantizeLinear", "DequantizeLinear"]


def test_nothing_differs_where_the_device_is_the_cpu(saved: Callable[[str], Any], on_cpu: Run) -> None:
    path, image = saved("fp32.onnx")
    answer = find_wrong_op(path, image, on_device=on_cpu, on_cpu=on_cpu)
    assert (answer.outcome, answer.output_error) == ("agrees", 0)


def test_half_precision_is_said_to_grow(
    scores: tuple[Path, Any], on_cpu: Run, wrong_device: Callable[..., Run]
) -> None:
    path, image = scores
    answer = find_wrong_op(path, image, on_device=wrong_device(with_half_weights), on_cpu=on_cpu)
    assert answer.outcome == "grows", str(answer)
    assert answer.rounding is not None and 1e-5 < answer.rounding < 2e-3  # half of 11 bits is 2.4e-4


def test_every_inner_value_can_be_looked_at(saved: Callable[[str], Any], on_cpu: Run, tmp_path: Path) -> None:
    for name in ("fp32.onnx", "int8.onnx"):
        path, image = saved(name)
        graph = OnnxCuts(path.read_bytes())
        part = tmp_path / "part.onnx"
        values = {graph.source: image}
        for number in graph.cuts:
            data, fed = graph.part(number, {})
            assert fed is None and len(data) < path.stat().st_size
            part.write_bytes(data)
            values[number] = on_cpu(part, image)
            _, before = graph.between(number, graph.cuts)
            data, fed = graph.part(number, {value: values[value] for value in before})
            assert fed is not None
            part.write_bytes(data)
            # Nothing but the order of sums differs where ONNX Runtime fuses a convolution with what follows it.
            np.testing.assert_allclose(on_cpu(part, fed), values[number], rtol=1e-5, atol=1e-5)


def test_a_branch_is_cut_with_all_that_its_body_reads(on_cpu: Run, tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,4,4] x) => (float[1,3,4,4] y)
        <bool yes = {1}, float[1] two = {2}>
        {
            a = Abs(x)
            b = If(yes) <
                then_branch = t () => (float[1,3,4,4] c) { c = Mul(a, two) },
                else_branch = e () => (float[1,3,4,4] d) { d = Identity(a) }
            >
            y = Neg(b)
        }
        """
    )
    graph = OnnxCuts(model.SerializeToString())
    (branch,) = [op for op in graph.ops if op.kind == "If"]
    image = np.random.default_rng(0).normal(size=(1, 3, 4, 4)).astype(np.float32)
    part = tmp_path / "part.onnx"
    part.write_bytes(graph.part(branch.outputs[0], {})[0])
    np.testing.assert_array_equal(on_cpu(part, image), 2 * np.abs(image))


def test_a_compiled_file_runs_only_whole() -> None:
    node = onnx.helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft")
    with pytest.raises(InputError, match="runs only whole: its node 0, 'EPContext', is a program of a vendor's"):
        OnnxCuts(_model(node).SerializeToString())


def test_weights_in_another_file_are_refused() -> None:
    model = _model(onnx.helper.make_node("Add", ["x", "w"], ["y"]))
    tensor = onnx.numpy_helper.from_array(np.ones(4, np.float32), "w")
    onnx.external_data_helper.set_external_data(tensor, "weights.bin")
    tensor.ClearField("raw_data")
    model.graph.initializer.append(tensor)
    with pytest.raises(InputError, match="keeps its weights in another file and cannot be cut; write it as one file"):
        OnnxCuts(model.SerializeToString())


def test_what_is_no_model_or_has_more_inputs_is_refused() -> None:
    with pytest.raises(InputError, match="not an ONNX model"):
        OnnxCuts(b"no model")
    model = _model(onnx.helper.make_node("Add", ["x", "z"], ["y"]))
    model.graph.input.append(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, (4,)))
    with pytest.raises(InputError, match="the model has 2 inputs; accepted: one image"):
        OnnxCuts(model.SerializeToString())


def test_without_onnx_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(BackendUnavailable, match=r'cutting an \.onnx model .* pip install "edgeseg\[convert\]"'):
        OnnxCuts(b"")


def _model(node: Any) -> Any:
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (4,)) for name in "xy"]
    graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:])
    return onnx.helper.make_model(graph)
