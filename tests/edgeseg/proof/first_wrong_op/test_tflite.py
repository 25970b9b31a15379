"""The search in real TFLite files on LiteRT, with an op that is edited on its way to the device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseg.coverage.gpu import SWIFTSHADER
from edgeseg.errors import InputError
from edgeseg.proof.device import ThisMachine
from edgeseg.proof.first_wrong_op import Run, find_wrong_op
from edgeseg.proof.first_wrong_op.tflite import TfliteCuts
from edgeseg.tflite.file import read_metadata
from edgeseg.tflite.graph import read_graph
from edgeseg.tflite.half_arithmetic import ENTRY, HALF
from edgeseg.tflite.litert_internals import load_schema, to_bytes

DTYPES = {0: np.float32, 2: np.int32, 9: np.int8}

#: What is wrong on the device: the node of the saved float32 file, its op, and what is done to the op.
PLACES = {
    "weight": (1, "CONV_2D"),
    "bias": (4, "CONV_2D"),
    "order": (19, "CONCATENATION"),
    "resize": (25, "RESIZE_BILINEAR"),
}


def edit_op(name: str, what: str) -> Callable[[bytes], bytes]:
    """An edit of the op that makes a tensor; a file without it stays as it is."""

    def edit(data: bytes) -> bytes:
        model = load_schema().ModelT.InitFromPackedBuf(data, 0)
        graph = model.subgraphs[0]
        for op in graph.operators:
            if graph.tensors[op.outputs[0]].name.decode() != name:
                continue
            if what == "order":
                op.inputs = list(op.inputs)[::-1]
            elif what == "resize":
                op.builtinOptions.alignCorners = not op.builtinOptions.alignCorners
            else:
                tensor = graph.tensors[op.inputs[1 if what == "weight" else 2]]
                values = constant(model, tensor)
                at = np.abs(values.astype(np.float64)).argmax()
                values[at] = -values[at]
                model.buffers[tensor.buffer].data = values.view(np.uint8)
        return to_bytes(model)

    return edit


def constant(model: Any, tensor: Any) -> Any:
    """A copy of the values of a constant."""
    return np.frombuffer(bytes(model.buffers[tensor.buffer].data), DTYPES[tensor.type]).copy()


def with_half_weights(data: bytes) -> bytes:
    """Every float32 weight rounded to half precision."""
    model = load_schema().ModelT.InitFromPackedBuf(data, 0)
    for tensor in model.subgraphs[0].tensors:
        if tensor.type == 0 and model.buffers[tensor.buffer].data is not None:
            rounded = constant(model, tensor).astype(np.float16).astype(np.float32)
            model.buffers[tensor.buffer].data = rounded.view(np.uint8)
    return to_bytes(model)


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory, saved: Callable[[str], Any]) -> tuple[Path, Any]:
    """The saved float32 file without its argmax, and an image."""
    path, image = saved("fp32.tflite")
    graph = TfliteCuts(path.read_bytes())
    cut = tmp_path_factory.mktemp("scores") / "scores.tflite"
    cut.write_bytes(graph.part(graph.ops[25].outputs[0], {})[0])
    return cut, image


@pytest.mark.parametrize("what", PLACES)
def test_an_op_that_is_wrong_on_the_device_is_named(
    what: str, scores: tuple[Path, Any], on_cpu: Run, wrong_device: Callable[..., Run]
) -> None:
    path, image = scores
    index, kind = PLACES[what]
    graph = TfliteCuts(path.read_bytes())
    made = graph.ops[index].outputs[0]
    device = wrong_device(edit_op(graph.name(made), what))
    answer = find_wrong_op(path, image, on_device=device, on_cpu=on_cpu)
    assert answer.found is not None, str(answer)
    assert (answer.found.op.kind, answer.found.op.index, answer.found.op.name) == (kind, index, graph.name(made))
    assert answer.found.shape == graph.shape(made)
    assert [one.error for one in answer.found.inputs] == [0] * len(answer.found.inputs)
    assert answer.found.own_error == answer.found.error > 1e-4


def test_a_wrong_weight_among_integers_and_class_ids_is_named(
    saved: Callable[[str], Any], on_cpu: Run, wrong_device: Callable[..., Run]
) -> None:
    path, image = saved("int8.tflite")
    graph = TfliteCuts(path.read_bytes())
    made = graph.ops[2].outputs[0]
    device = wrong_device(edit_op(graph.name(made), "weight"))
    answer = find_wrong_op(path, image, on_device=device, on_cpu=on_cpu, partitions=[[0, 1], [2, 3, 4]])
    assert answer.found is not None and answer.has_ids
    assert (answer.found.op.kind, answer.found.op.index) == ("CONV_2D", 2)
    assert answer.found.steps is not None and answer.found.steps > 1.5
    assert f"CONV_2D '{graph.name(made)}' (node 2) of {len(graph.ops)}, 1x" in str(answer)
    assert "partition 2 of 2, nodes 2 to 4: from the device's own inputs the CPU gives an output that is" in str(answer)
    assert "of the model's class ids differ" in str(answer)


def test_nothing_differs_where_the_device_is_the_cpu(saved: Callable[[str], Any], on_cpu: Run) -> None:
    path, image = saved("fp32.tflite")
    answer = find_wrong_op(path, image, on_device=on_cpu, on_cpu=on_cpu)
    assert (answer.outcome, answer.output_error) == ("agrees", 0)


def test_half_precision_is_said_to_grow_and_a_wrong_op_is_found_in_it(
    scores: tuple[Path, Any], on_cpu: Run, wrong_device: Callable[..., Run]
) -> None:
    path, image = scores
    answer = find_wrong_op(path, image, on_device=wrong_device(with_half_weights), on_cpu=on_cpu)
    assert answer.outcome == "grows", str(answer)
    assert answer.rounding is not None and 1e-5 < answer.rounding < 2e-3  # half of 11 bits is 2.4e-4
    wrong = edit_op(TfliteCuts(path.read_bytes()).name(TfliteCuts(path.read_bytes()).ops[1].outputs[0]), "weight")
    answer = find_wrong_op(
        path, image, on_device=wrong_device(lambda data: wrong(with_half_weights(data))), on_cpu=on_cpu
    )
    assert answer.found is not None and answer.found.op.index == 1


def test_a_prefix_is_small_and_computes_the_same(saved: Callable[[str], Any], on_cpu: Run, tmp_path: Path) -> None:
    path, image = saved("int8.tflite")
    graph = TfliteCuts(path.read_bytes())
    part = tmp_path / "part.tflite"
    first = graph.cuts[0]
    data, fed = graph.part(first, {})
    assert fed is None and len(data) < path.stat().st_size / 2
    parsed = read_graph(data)
    assert parsed.ops == [graph.maker(first).kind] and len(parsed.model.operatorCodes) == 1
    part.write_bytes(graph.part(graph.output, {})[0])
    assert np.array_equal(on_cpu(part, image), on_cpu(path, image))


def test_a_part_from_inner_values_computes_the_same(saved: Callable[[str], Any], on_cpu: Run, tmp_path: Path) -> None:
    path, image = saved("int8.tflite")
    graph = TfliteCuts(path.read_bytes())
    part = tmp_path / "part.tflite"

    def value(number: int) -> Any:
        part.write_bytes(graph.part(number, {})[0])
        return on_cpu(part, image)

    (concatenation,) = [op for op in graph.ops if op.kind == "CONCATENATION"]
    made = concatenation.outputs[0]
    ops, before = graph.between(made, graph.cuts)
    assert ops == (concatenation,) and set(before) == set(concatenation.inputs)
    data, fed = graph.part(made, {number: value(number) for number in before})
    expected = value(made)
    part.write_bytes(data)
    assert fed is not None and fed.dtype == np.int8
    assert np.array_equal(on_cpu(part, fed), expected)


@pytest.mark.parametrize("content", [HALF, None])
def test_the_parts_of_a_file_compute_in_its_arithmetic(
    content: bytes | None,
    saved: Callable[[str], Any],
    on_cpu: Run,
    with_entry: Callable[[bytes, str, bytes], bytes],
    tmp_path: Path,
) -> None:
    path, image = saved("fp32.tflite")
    data = path.read_bytes() if content is None else with_entry(path.read_bytes(), ENTRY, content)
    graph, part = TfliteCuts(data), tmp_path / "part.tflite"
    inner, later = graph.cuts[:2]
    prefix, _ = graph.part(inner, {})
    part.write_bytes(prefix)
    suffix, fed = graph.part(later, {inner: on_cpu(part, image)})
    assert (read_metadata(prefix, ENTRY), read_metadata(suffix, ENTRY)) == (content, content)
    part.write_bytes(suffix)
    assert fed is not None and on_cpu(part, fed).shape == graph.shape(later)


def test_every_inner_value_can_be_looked_at(saved: Callable[[str], Any], on_cpu: Run, tmp_path: Path) -> None:
    for name in ("fp32.tflite", "int8.tflite"):
        path, image = saved(name)
        graph = TfliteCuts(path.read_bytes())
        for number in graph.cuts:
            part = tmp_path / "part.tflite"
            part.write_bytes(graph.part(number, {})[0])
            assert on_cpu(part, image).shape == graph.shape(number)


@pytest.mark.parametrize("name", ["edgetpu-custom-op", "DISPATCH_OP_1"])
def test_a_compiled_file_runs_only_whole(
    name: str, tflite_model: Callable[..., bytes], tmp_path: Path, on_cpu: Run
) -> None:
    model = load_schema().ModelT.InitFromPackedBuf(tflite_model(["ABS"], [((1, 4, 4, 3), "float32")]), 0)
    code = model.operatorCodes[0]
    code.builtinCode = code.deprecatedBuiltinCode = load_schema().BuiltinOperator.CUSTOM
    code.customCode = name.encode()
    path = tmp_path / "compiled.tflite"
    path.write_bytes(to_bytes(model))
    with pytest.raises(InputError, match=f"runs only whole: its node 0, '{name}', .* look for the op in"):
        find_wrong_op(path, np.zeros((1, 4, 4, 3), np.float32), on_device=on_cpu, on_cpu=on_cpu)


def test_a_file_that_begins_or_ends_otherwise_is_refused(tflite_model: Callable[..., bytes]) -> None:
    model = load_schema().ModelT.InitFromPackedBuf(tflite_model(["ABS"], [((1, 4, 4, 3), "float32")]), 0)
    graph = model.subgraphs[0]
    graph.inputs = [0, 1]
    with pytest.raises(InputError, match="the model has 2 inputs; accepted: one image"):
        TfliteCuts(to_bytes(model))
    graph.inputs = graph.outputs = [0]
    with pytest.raises(InputError, match="output does not depend on its input"):
        TfliteCuts(to_bytes(model))


def test_the_search_runs_in_processes(scores: tuple[Path, Any], tmp_path: Path) -> None:
    path, image = scores
    whole, part = TfliteCuts(path.read_bytes()), tmp_path / "part.tflite"
    made = whole.ops[0].outputs[0]
    part.write_bytes(whole.part(made, {})[0])
    edit, machine = edit_op(whole.name(made), "weight"), ThisMachine()

    def on_device(path: Path, tensor: Any) -> Any:
        edited = tmp_path / "edited.tflite"
        edited.write_bytes(edit(path.read_bytes()))
        return machine.value(edited, {}, tensor, runs=2)

    answer = find_wrong_op(part, image, on_device=on_device, on_cpu=lambda path, x: machine.value(path, {}, x))
    assert answer.found is not None and answer.found.op.index == 0


# The GPU's driver stays in the processes that ran on it; the file of this test has the edit.
ON_THE_GPU = """
import importlib.util, json, sys
from pathlib import Path
import numpy as np
from edgeseg.proof.device import ThisMachine
from edgeseg.proof.first_wrong_op import find_wrong_op

test, path, image, name = sys.argv[1:]
spec = importlib.util.spec_from_file_location("test", test)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
edit, machine = module.edit_op(name, "weight"), ThisMachine()

def on_device(part, tensor):
    edited = Path(image).with_name("edited.tflite")
    edited.write_bytes(edit(part.read_bytes()))
    return machine.value(edited, {"accelerator": "gpu"}, tensor, runs=2)

answer = find_wrong_op(
    path, np.load(image), on_device=on_device, on_cpu=lambda part, x: machine.value(part, {}, x),
)
print(json.dumps(answer.to_dict()))
"""


@pytest.mark.slow
def test_prefixes_run_on_the_gpu(scores: tuple[Path, Any], tmp_path: Path) -> None:
    if not SWIFTSHADER.is_file():
        pytest.skip("no SwiftShader: Debian's package chromium-common has it")
    whole, image = scores
    np.save(tmp_path / "image.npy", image)
    graph = TfliteCuts(whole.read_bytes())
    name, path = graph.name(graph.ops[1].outputs[0]), tmp_path / "short.tflite"
    path.write_bytes(graph.part(graph.ops[1].outputs[0], {})[0])  # two ops: the GPU compiles for a second each time
    environment = {**os.environ, "VK_DRIVER_FILES": str(SWIFTSHADER)}
    command = [sys.executable, "-c", ON_THE_GPU, __file__, str(path), str(tmp_path / "image.npy"), name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["found"]["op"] == {"kind": "CONV_2D", "index": 1, "name": name}, answer
    assert answer["unseen"] == [] and answer["rounding"] > 0  # the GPU adds in another order
