"""``model_explorer``: the file is read by Model Explorer's own class, and every value finds its node in both readers.

``EDGESEG_MODEL_EXPLORER=PYTHON`` is the Python of an environment with ``ai-edge-model-explorer``, which is no
requirement of edgeseg's.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from edgeseg.benchmark.profile import NodeTime, Profile, node_data, profile
from edgeseg.models.packaged_files import find_file

READ = """
import dataclasses, json, sys
import dacite
from model_explorer.builtin_tflite_flatbuffer_adapter import BuiltinTfliteFlatbufferAdapter
from model_explorer.builtin_tflite_mlir_adapter import BuiltinTfliteMlirAdapter
from model_explorer.node_data_builder import GraphNodeData

data = dacite.from_dict(GraphNodeData, json.load(open(sys.argv[2])), config=dacite.Config(strict=True))
found = {}
for adapter in (BuiltinTfliteFlatbufferAdapter, BuiltinTfliteMlirAdapter):
    makers = {}
    for collection in adapter().convert(sys.argv[1], {})["graphCollections"]:
        for graph in dataclasses.asdict(collection)["graphs"]:
            for node in graph["nodes"]:
                for output in node.get("outputsMetadata") or ():
                    for attribute in output["attrs"]:
                        if attribute["key"] == "tensor_name":
                            makers.setdefault(attribute["value"], []).append(node["label"])
    found[adapter.__name__] = {key: makers.get(key, []) for key in data.results}
print(json.dumps(found))
"""


def _node(index: int | None, output: str, ms: float) -> NodeTime:
    return NodeTime(
        name=output,
        op_type="ADD",
        provider="XNNPACK",
        ms=ms,
        share=0.1,
        index=index,
        outputs=(output,) if output else (),
    )


def _profile(*nodes: NodeTime) -> Profile:
    return Profile(artifact="m.tflite", runtime="r", num_threads=2, num_runs=1, run_ms=1.0, nodes=nodes)


def test_the_times_of_a_node_are_summed_and_what_has_no_own_name_is_omitted() -> None:
    nodes = [_node(0, "a", 1.0), _node(0, "a", 0.25), _node(1, "b", 2.0), _node(2, "b", 4.0), _node(3, "", 8.0)]
    data = node_data(_profile(*nodes, _node(None, "Clamp (NC) #3", 16.0)))
    assert data is not None
    assert data["results"] == {"a": {"value": 1.25}}
    assert data["name"] == "ms, r, 2 threads"
    assert [stop["stop"] for stop in data["gradient"]] == [0, 1]


def test_without_a_known_node_there_is_no_file() -> None:
    assert node_data(_profile(_node(None, "Clamp (NC) #3", 16.0))) is None


def test_model_explorer_reads_it_and_finds_every_node(tmp_path: Path) -> None:
    python = os.environ.get("EDGESEG_MODEL_EXPLORER")
    if not python:
        pytest.skip("EDGESEG_MODEL_EXPLORER=PYTHON: of an environment with ai-edge-model-explorer")
    file, path = find_file("efficientnet_lite0_unet.int8"), tmp_path / "node-data.json"
    profiled = profile(file, {"num_threads": 1}, 1)
    path.write_text(json.dumps(node_data(profiled)))
    command = [python, "-c", READ, str(file), str(path)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    ops = {node.outputs[0]: node.op_type.lower() for node in profiled.nodes}
    for reader, found in json.loads(done.stdout).items():
        assert found == {name: [op] for name, op in ops.items()}, reader
