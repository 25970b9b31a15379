"""``profile.device``: the times that a device's own tool gives, as a profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeseg.benchmark.devices.op_profile import OpTime
from edgeseg.benchmark.profile import node_data, profile_on


class Phone:
    name, runtime = "adb:1", "benchmark_model of TFLite (0123)"

    def op_times(self, artifact: Path, options: Mapping[str, Any], *, num_runs: int) -> Sequence[OpTime]:
        assert num_runs == 9
        return (
            OpTime(name="[head/conv, head/conv:1]:58", kind="CONV_2D", count=1, milliseconds=3.0, share=0.75),
            OpTime(name="Delegate/IGEMM:0", kind="IGEMM", count=1, milliseconds=1.0, share=0.25),
        )


def test_ops_of_the_graph_have_their_numbers_and_names() -> None:
    profile = profile_on(Phone(), Path("a/m.tflite"), {"num_threads": 4}, 9)
    assert (profile.artifact, profile.num_threads, profile.num_runs) == ("m.tflite", 4, 9)
    assert profile.runtime == "benchmark_model of TFLite (0123) on adb:1"
    assert profile.share_of_run == 0  # the tool does not say how long these runs took
    conv, kernel = profile.nodes
    assert (conv.index, conv.outputs, conv.op_type, conv.ms) == (58, ("head/conv", "head/conv:1"), "CONV_2D", 3.0)
    assert (kernel.index, kernel.name) == (None, "Delegate/IGEMM:0")
    overlay = node_data(profile)
    assert overlay is not None
    assert overlay["results"] == {"head/conv": {"value": 3.0}}
