from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeseg._internal.json import convert
from edgeseg.benchmark.profile import Event, Profile, profile, summarize
from edgeseg.cli import main
from edgeseg.errors import BackendUnavailable, InputError


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution that takes most of the time, then ArgMax."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).standard_normal((32, 3, 7, 7)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["scores"], name="convolution", pads=[3, 3, 3, 3]),
        helper.make_node("ArgMax", ["scores"], ["classes"], name="classes", axis=1, keepdims=0),
    ]
    values = [
        helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, 64, 64)),
        helper.make_tensor_value_info("classes", TensorProto.INT64, (1, 64, 64)),
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path_factory.mktemp("profile") / "m.onnx"
    onnx.save(model, path)
    return path


def test_the_warm_up_does_not_count() -> None:
    def node(name: str, ts: int, dur: int) -> Event:
        args = {"op_name": name.capitalize(), "provider": "CPUExecutionProvider", "thread_scheduling_stats": ""}
        event = {"cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": dur, "args": args}
        return convert(event, Event)

    events = [Event(cat="Session", name="session_initialization", ts=0, dur=5)]
    for number, slowness in enumerate((100, 1, 1)):  # the first is the warm-up
        start = 1000 * number
        events += [node("conv", start + 1, 300 * slowness), node("add", start + 400, 100 * slowness)]
        events.append(Event(cat="Session", name="model_run", ts=start, dur=500))
    conv, add = summarize(events, 2)
    assert (conv.name, conv.op_type, conv.ms, conv.share) == ("conv", "Conv", pytest.approx(0.3), pytest.approx(0.75))
    assert (add.op_type, add.ms) == ("Add", pytest.approx(0.1))


def test_the_command_writes_a_profile_and_no_latency(
    onnx_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["benchmark", str(onnx_file), "--profile", str(tmp_path), "--num-threads", "1", "--num-runs", "5"]
    assert main(args) == 0
    out = capsys.readouterr().out
    assert "Conv x1" in out and "CPUExecutionProvider" in out
    written = json.loads((tmp_path / "m.onnx.cpu.1.profile.json").read_text())
    assert (written["num_runs"], written["num_threads"]) == (5, 1)
    assert {"Conv", "ArgMax"} <= {op["op_type"] for op in written["ops"]}  # which takes longer is the machine's affair
    assert sum(node["share"] for node in written["nodes"]) == pytest.approx(1)
    assert "latencies_s" not in written
    assert main(args) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_what_has_no_profile_says_what_has(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(b"")
    with pytest.raises(BackendUnavailable, match=r"--enable_op_profiling.*--use_profiler"):
        profile(tmp_path / "m.tflite", {}, 1)


def test_what_it_does_not_obey_is_refused(onnx_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"threads and providers; accelerator is not"):
        profile(onnx_file, {"accelerator": "gpu"}, 1)
    with pytest.raises(InputError, match="does not exist"):
        profile(onnx_file.with_name("none.onnx"), {}, 1)
    for other in (("--device", "local"), ("--sustained", "1"), ("--scope", "end-to-end"), ("--output", "o.json")):
        assert main(["benchmark", str(onnx_file), "--profile", "x", *other]) == 2
        assert "--profile is of single calls on this machine" in capsys.readouterr().err


def test_a_profile_without_nodes_has_no_ops() -> None:
    assert Profile(artifact="m.onnx", runtime="onnxruntime", num_threads=1, num_runs=1, nodes=()).by_op() == []


def test_a_record_with_fewer_runs_than_were_asked_for() -> None:
    with pytest.raises(InputError, match="record has 1 run of 2"):
        summarize([Event(name="model_run")], 2)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"ts": -1}, "'ts' is -1; accepted: number >= 0.0"),
        ({"dur": "1"}, "'dur' is '1'; accepted: number"),
        ({"args": []}, "'args' is a list; accepted: object"),
        ({"args": {"op_name": 3}}, "'args.op_name' is 3; accepted: text"),
    ],
)
def test_an_event_that_is_none(event: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        convert(event, Event)
