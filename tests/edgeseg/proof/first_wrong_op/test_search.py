"""The search on graphs of numbers, where every op can be the wrong one: ``search``, ``values``, ``graph``, ``answer``.

On real files and runtimes: ``test_tflite`` and ``test_onnx`` beside this one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg.errors import DeviceLost, InputError
from edgeseg.proof.first_wrong_op import WrongOp, search
from edgeseg.proof.first_wrong_op.graph import CutGraph, Op

SOURCE = 0


class Numbers(CutGraph):
    """Ops that mix their inputs, of which the value ``n`` is made by op ``n - 1``; a part is JSON."""

    suffix = ".json"

    def __init__(self, inputs: list[tuple[int, ...]], hidden: tuple[int, ...] = ()) -> None:
        self.hidden = hidden
        self.steps: dict[int, float] = {}
        ops = [Op(index=n, kind="MIX", inputs=each, outputs=(n + 1,)) for n, each in enumerate(inputs)]
        super().__init__(ops, SOURCE, len(inputs))

    def name(self, value: int) -> str:
        return f"v{value}"

    def shape(self, value: int) -> tuple[int, ...]:
        return (1, 4, 4, 8)

    def step(self, value: int) -> float:
        return self.steps.get(value, 0.0)

    def is_cut(self, value: int) -> bool:
        return value not in self.hidden

    def channel_axis(self, rank: int) -> int:
        return rank - 1

    def part(self, value: int, given: Mapping[int, NDArray[Any]]) -> tuple[bytes, NDArray[Any] | None]:
        told = {str(number): array.tolist() for number, array in given.items()}
        return json.dumps([value, told]).encode(), np.zeros(1) if given else None


class Machine:
    """Computes parts of ``Numbers``; ``faults`` are added to what an op makes, of its size."""

    def __init__(self, graph: Numbers, faults: Mapping[int, Any] | None = None, rounding: float = 0.0) -> None:
        self.graph, self.faults, self.rounding, self.runs = graph, dict(faults or {}), rounding, 0
        self.shift = 0.5  # of an integer, before its fraction is cut off
        self.refuses: set[int] = set()
        self.error: type[Exception] = InputError

    def __call__(self, path: Path, tensor: NDArray[Any]) -> NDArray[Any]:
        self.runs += 1
        text = path.read_text()
        value, told = json.loads(text) if text != "whole" else (self.graph.output, {})
        if value in self.refuses:
            raise self.error("it does not open:\na reason.")
        known = {int(number): np.array(array) for number, array in told.items()} or {SOURCE: tensor}
        for op in self.graph.needed(value, known):
            made = op.outputs[0]
            rng = np.random.default_rng(op.index)
            mixed = sum(np.roll(known[v], k + 1, -1) for k, v in enumerate(op.inputs)) / np.sqrt(len(op.inputs))
            rectified = np.where(mixed > 0, mixed, 0.7 * mixed) / 0.86  # keeps about its size
            exact = self.faults[made](rectified) if made in self.faults else rectified
            known[made] = exact * (1 + self.rounding * rng.normal(size=exact.shape))
            if step := self.graph.step(made):
                known[made] = np.floor(known[made] / step + self.shift) * step
        return known[value]


def wrong_channel(array: NDArray[Any]) -> NDArray[Any]:
    """One channel of eight as a wrong weight leaves it."""
    return np.where(np.arange(8) == 3, array + np.sqrt(np.mean(array**2)), array)


@pytest.fixture
def find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., WrongOp]:
    """A function that searches in ``Numbers``: a device, the CPU, and more arguments of ``find_wrong_op``."""
    whole = tmp_path / "whole.json"
    whole.write_text("whole")
    tensor = np.random.default_rng(7).normal(size=(1, 4, 4, 8))

    def run(device: Machine, cpu: Machine | None = None, **more: Any) -> WrongOp:
        monkeypatch.setattr(search, "OnnxCuts", lambda data: device.graph)
        return search.find_wrong_op(whole, tensor, on_device=device, on_cpu=cpu or Machine(device.graph), **more)

    return run


def branches(seed: int, count: int) -> list[tuple[int, ...]]:
    """Ops with one or two inputs among the latest six values; the last one reads what nobody has read."""
    rng = np.random.default_rng(seed)
    inputs: list[tuple[int, ...]] = []
    for n in range(count - 1):
        latest = range(max(0, n - 5), n + 1)
        inputs.append(tuple(int(v) for v in rng.choice(latest, min(len(latest), int(rng.integers(1, 3))), False)))
    read = {v for each in inputs for v in each}
    return [*inputs, tuple(v for v in range(1, count) if v not in read)]


@pytest.mark.parametrize("seed", range(6))
def test_any_op_of_a_graph_with_branches_is_found(find: Callable[..., WrongOp], seed: int) -> None:
    graph = Numbers(branches(seed, 40))
    for wrong in (1, 7, 20, 33, 40):
        device = Machine(graph, {wrong: wrong_channel})
        answer = find(device)
        assert answer.found is not None
        assert (answer.found.op.index, answer.found.op.name) == (wrong - 1, f"v{wrong}")
        assert answer.found.own_error == pytest.approx(answer.found.error)
        assert all(one.error == 0 for one in answer.found.inputs)
        # Five samples with up to two inputs each, then the halving: far less than one run an op.
        assert device.runs <= 15 + 2 * math.log2(40) + 4


def test_the_first_of_two_wrong_ops_is_found(find: Callable[..., WrongOp]) -> None:
    chain = Numbers([(n,) for n in range(30)])
    answer = find(Machine(chain, {9: wrong_channel, 22: wrong_channel}))
    assert answer.found is not None and answer.found.op.name == "v9"


def test_nothing_is_found_where_nothing_differs(find: Callable[..., WrongOp]) -> None:
    device = Machine(Numbers(branches(0, 20)))
    answer = find(device)
    assert (answer.outcome, answer.found, device.runs) == ("agrees", None, 1)
    assert str(answer).startswith(
        "nothing differs from the CPU of this computer: on this image the model's output is off by 0, "
    )
    assert find(Machine(Numbers(branches(0, 20)), rounding=1e-6)).outcome == "agrees"


def test_rounding_that_adds_up_is_no_wrong_op(find: Callable[..., WrongOp]) -> None:
    device = Machine(Numbers([(n,) if n < 2 else (n, n - 1) for n in range(50)]), rounding=1e-3)
    answer = find(device)
    assert (answer.outcome, answer.found) == ("grows", None)
    assert answer.rounding == pytest.approx(1e-3, rel=0.9)  # a channel of 16 values rounds by more than the mean
    assert str(answer).startswith(
        "no op stands out: the model's output is off by 1.4%; the error begins with 0.13% at MIX"
    )
    assert "(node 49); an op rounds by 0.14%. " in str(answer)


def test_a_wrong_op_stands_out_of_rounding(find: Callable[..., WrongOp]) -> None:
    graph = Numbers([(n,) if n < 2 else (n, n - 1) for n in range(50)])
    answer = find(Machine(graph, {31: wrong_channel}, rounding=1e-3))
    assert answer.found is not None and answer.found.op.name == "v31"
    assert answer.found.inputs[0].error is not None
    assert 0 < answer.found.inputs[0].error < answer.found.error


def test_integers_that_are_rounded_otherwise_are_not_wrong_and_a_wrong_op_is_found_among_them(
    find: Callable[..., WrongOp],
) -> None:
    graph = Numbers([(n,) if n < 2 else (n, n - 1) for n in range(50)])
    graph.steps = dict.fromkeys(range(1, 51), 0.1)
    device = Machine(graph)
    device.shift = 0.4  # a tenth of the values is off by a step at each op
    answer = find(device)
    assert answer.outcome == "grows" and answer.output_error > 0.01
    device.faults = {17: wrong_channel}
    answer = find(device)
    assert answer.found is not None and answer.found.op.name == "v17"


def test_an_error_that_is_less_than_a_step_further_on_is_followed_to_its_origin(find: Callable[..., WrongOp]) -> None:
    graph = Numbers([(n,) for n in range(30)])
    graph.steps = dict.fromkeys(range(10, 20), 2.0)
    answer = find(Machine(graph, {5: lambda array: array + 0.1 * (np.arange(8) == 3)}))
    assert answer.found is not None and answer.found.op.name == "v5"


def test_the_origin_of_a_step_is_named_where_all_else_is_exact(find: Callable[..., WrongOp]) -> None:
    graph = Numbers([(n,) for n in range(30)])
    graph.steps = {13: 0.4}

    def a_step(array: NDArray[Any]) -> NDArray[Any]:
        return np.where(np.arange(8) == 3, array + 0.4, array)

    answer = find(Machine(graph, {13: a_step}))
    assert (answer.outcome, answer.rounding) == ("grows", 0)
    assert [seen.op.name for seen in answer.grows] == ["v13", "v30"]
    assert "; the error begins with 1" in str(answer) and "% at MIX 'v13' (node 12) and is " in str(answer)


def test_an_op_that_amplifies_is_not_wrong(find: Callable[..., WrongOp]) -> None:
    graph = Numbers([(n,) for n in range(20)])
    # On both sides op 11 makes much of what its input is off by, as a difference of nearly equal numbers does.
    steep = {11: lambda array: np.sin(300 * array)}
    answer = find(Machine(graph, steep, rounding=2e-4), Machine(graph, steep))
    assert answer.outcome == "grows" and answer.output_error > 0.01


def test_an_error_that_vanishes_in_between_is_followed_to_its_origin(find: Callable[..., WrongOp]) -> None:
    # v1 goes two ways; on one of them v2 is all zeros, so that v1 can be dropped with what comes before v6 and agrees.
    graph = Numbers([(0,), (1,), (2,), (3,), (4,), (5,), (6, 1)])
    gone = {2: np.zeros_like}
    answer = find(Machine(graph, {**gone, 1: wrong_channel}), Machine(graph, gone))
    assert answer.found is not None and answer.found.op.name == "v1"


def test_what_the_device_does_not_run_is_said(find: Callable[..., WrongOp]) -> None:
    device = Machine(Numbers([(n,) for n in range(24)]), {12: wrong_channel})
    device.refuses = {10, 11, 13}
    answer = find(device)
    assert answer.found is not None and answer.found.op.name == "v12"
    # Ops 10 and 11 lie between it and the last output that agrees.
    assert [other.name for other in answer.found.together] == ["v10", "v11"]
    assert answer.found.inputs[0].name == "v9" and answer.found.own_error == pytest.approx(answer.found.error)
    assert {op.name for op in answer.unseen} == {"v10", "v11", "v13"}
    assert answer.reason == "it does not open: a reason"
    assert "It could not be told apart from MIX 'v10' (node 9), MIX 'v11' (node 10)." in str(answer)
    assert str(answer).endswith("MIX 'v13' (node 12) (it does not open: a reason).")


def test_a_driver_that_crashes_once_is_passed_over_and_a_device_that_is_gone_is_not(
    find: Callable[..., WrongOp],
) -> None:
    device = Machine(Numbers([(n,) for n in range(24)]), {12: wrong_channel})
    device.refuses, device.error = {13}, DeviceLost
    assert find(device).found is not None
    device.refuses = set(range(24))
    with pytest.raises(DeviceLost):
        find(device)


def test_an_op_that_the_cpu_does_not_run_alone_is_found_by_its_inputs(find: Callable[..., WrongOp]) -> None:
    class Whole(Machine):
        def __call__(self, path: Path, tensor: NDArray[Any]) -> NDArray[Any]:
            if tensor.shape == (1,):  # a part that begins inside
                raise InputError("no.")
            return super().__call__(path, tensor)

    graph = Numbers([(n,) for n in range(24)])
    answer = find(Machine(graph, {12: wrong_channel}), Whole(graph))
    assert answer.found is not None and answer.found.own_error is None
    assert answer.found.op.name == "v12"
    assert "the CPU does not run it alone; from the model's input its input is off by 0" in str(answer)


def test_a_model_that_only_the_device_runs_is_refused(find: Callable[..., WrongOp]) -> None:
    graph = Numbers([(0,), (1,)])
    cpu = Machine(graph)
    cpu.refuses = {2}
    with pytest.raises(InputError, match=r"the CPU, .* does not run it \(it does not open: a reason\); look for"):
        find(Machine(graph), cpu)


def test_ops_without_a_cut_between_them_are_one(find: Callable[..., WrongOp]) -> None:
    answer = find(Machine(Numbers([(n,) for n in range(24)], hidden=(12, 13)), {13: wrong_channel}))
    assert answer.found is not None
    names = [answer.found.op.name, *(other.name for other in answer.found.together)]
    assert names == ["v12", "v13", "v14"] and answer.unseen == ()


def test_the_partition_is_named(find: Callable[..., WrongOp]) -> None:
    device = Machine(Numbers([(n,) for n in range(24)]), {12: wrong_channel})
    parts = [range(3), range(5, 20), [22]]
    answer = find(device, partitions=parts)
    assert answer.found is not None and answer.found.partition is not None
    assert str(answer.found.partition) == "partition 2 of 3, nodes 5 to 19"
    assert "1x4x4x8 to 1x4x4x8, partition 2 of 3, nodes 5 to 19: from" in str(answer)
    outside = find(device, partitions=[[22]])
    assert outside.found is not None and outside.found.on_cpu
    assert "which the delegate leaves to the CPU" in str(outside)


def test_a_value_that_is_no_number(find: Callable[..., WrongOp]) -> None:
    device = Machine(Numbers([(n,) for n in range(24)]), {12: lambda array: array * np.nan})
    told: list[str] = []
    answer = find(device, tell=told.append)
    assert answer.found is not None and answer.found.op.name == "v12"
    assert "an output that is off by numbers that are none (NaN or infinite)" in str(answer)
    plain = json.loads(json.dumps(answer.to_dict(), allow_nan=False))
    assert plain["found"]["error"] is None and plain["found"]["op"] == {"kind": "MIX", "index": 11, "name": "v12"}
    assert told[0].startswith("up to MIX 'v24' (node 23): off by ")
