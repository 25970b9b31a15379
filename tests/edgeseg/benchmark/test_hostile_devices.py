"""``devices.bounded`` and ``devices.ssh_answers``: what a device may answer, over ssh and over adb, and how much of it.

The device here is one that lies: its answers are right ones in which a seeded generator changed something. They go
through all that reads them, from the order to the table of results; a real link is in the tests of each kind of device.
"""

from __future__ import annotations

import copy
import json
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseg._internal.json import decode
from edgeseg.benchmark import result, tables
from edgeseg.benchmark.devices import adb_client, ssh
from edgeseg.benchmark.devices.adb import AdbDevice
from edgeseg.benchmark.devices.bounded import Watch
from edgeseg.benchmark.devices.ssh import SshDevice
from edgeseg.benchmark.devices.ssh_link import Link
from edgeseg.benchmark.measure import Case, Device, measure
from edgeseg.benchmark.plan import Plan
from edgeseg.benchmark.result import Environment
from edgeseg.benchmark.worker import Reply
from edgeseg.errors import DeviceLost, EdgesegError, InputError
from edgeseg.proof import Proof, ProofGate, ProofImage
from edgeseg.proof.questions import Answers
from edgeseg.runtime.process.child import how_it_ended
from edgeseg.spec import ModelSpec

PLAN = Plan(rounds=2, num_runs=2, min_secs=0)

HOSTILE = (
    *(None, True, -1, 0, 2**70, -(2**63), 1e308, -1e-300, float("nan"), float("inf"), 10**4000),
    *("", "\n", "a\x1b[2J\x07b", "\ud800", "\u202e", "x" * 20_000, "1" * 5000, "²", "٣", "\0"),
    *([], {}, [[]], [1, 2, 3], {"a": None}, {"\n": "\x1b"}, [None] * 1000, json.loads("[" * 500 + "]" * 500)),
)


def outcome(device: Device, model: Path) -> str:
    """Measure, and show what a person would see of it: the results, or one line that names the device."""
    try:
        results = measure([Case(model, "cpu", {"accelerator": "cpu"})], device, PLAN)
    except EdgesegError as error:
        text = str(error)
        assert text.isprintable() and len(text) < 2000, text
        assert "board" in text or "R58M" in text, text
        return "refused"
    shown = "".join(map(str, tables.rows(results))) + "".join(results[0].warnings)
    assert shown.isprintable()
    json.loads(result.to_json(results), parse_constant=lambda name: pytest.fail(name))
    assert [decode(json.dumps(one.to_dict()), result.LatencyResult) for one in results] == results
    return "measured"


@pytest.fixture
def model(tflite_model: Callable[..., bytes], tmp_path: Path) -> Path:
    path = tmp_path / "relu.tflite"
    path.write_bytes(tflite_model(["RELU"], [((1, 8, 8, 3), "float32")]))
    return path


# ---------------------------------------------------------------------------------------------------------------- ssh


def ssh_answer(do: str, order: dict[str, Any]) -> dict[str, Any]:
    """What the device answers when it does not lie."""
    if do == "hello":
        have = {"have": True, "venv": ""}
        return {"root": "/bench", "code": "/bench/code/1", **have, "python": "3.11.2", "machine": "aarch64"}
    if do == "have":
        return {"path": f"/bench/artifacts/{order['name']}", "have": True}
    if do == "check":
        return {"python": "/usr/bin/python3", "missing": "", "code": 0, "text": ""}
    if do == "work":
        place = Environment(
            device="local", machine="Pi 5", system="Linux", cpus=4, load=0.1, temperature_c=(40.0, 41.5)
        )
        reply = Reply(
            runtime="ai-edge-litert 2.3.0",
            environment=place,
            init_s=0.1,
            first_s=0.2,
            latencies_s=(0.011, 0.012),
            peak_memory_bytes=10,
            coverage=(1, 2),
        )
        return {"status": 0, "stdout": json.dumps(asdict(reply)), "stderr": ""}
    return {}


def altered(value: Any, rng: random.Random) -> Any:
    """Return JSON of another shape: one place in it is hostile, missing, or twice as deep."""
    value = copy.deepcopy(value)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(value)
    node, key = rng.choice(places)
    if isinstance(node, dict) and rng.random() < 0.15:
        del node[key]
    elif isinstance(node, dict) and rng.random() < 0.1:
        node["error"] = rng.choice(HOSTILE)
    else:
        node[key] = rng.choice(HOSTILE)
    return value


def as_line(value: Any, rng: random.Random) -> str:
    """Return the text, which in one of six cases is no JSON at all."""
    text = json.dumps(value)
    broken = (
        text[: rng.randrange(len(text) + 1)],
        "[" * 100_000,
        "9" * 100_000,
        "{}",
        "null",
        "\ud800\x1b",
        text + text,
    )
    return rng.choice(broken) if rng.random() < 1 / 6 else text


def lying_board(monkeypatch: pytest.MonkeyPatch, seed: int) -> SshDevice:
    rng = random.Random(seed)
    lies_in = rng.choice(("hello", "have", "check", "work", "work", "work"))

    def ask(self: Link, do: str, answer: type[Any], **order: Any) -> Any:
        value = ssh_answer(do, order)
        if do != lies_in:
            return self._read(do, json.dumps(value), answer)
        if do == "work" and rng.random() < 0.8:  # the worker's own answer is JSON inside the answer
            inner = altered(json.loads(value["stdout"]), rng)
            value["stdout"] = as_line(inner, rng)
            return self._read(do, json.dumps(value), answer)
        return self._read(do, as_line(altered(value, rng), rng), answer)

    monkeypatch.setattr(Link, "ask", ask)
    return SshDevice("board", options=())


@pytest.fixture
def unlinked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(Link, "open", lambda self: None)
    monkeypatch.setattr(ssh, "_code", lambda: {"edgeseg/x.py": b""})


@pytest.mark.usefixtures("unlinked")
def test_a_board_that_lies_is_told_so_in_a_line(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = [outcome(lying_board(monkeypatch, seed), model) for seed in range(100)]
    assert outcomes.count("refused") > 50  # else the lies would be none


@pytest.mark.usefixtures("unlinked")
def test_a_board_that_does_not_lie_is_measured(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Link, "ask", lambda self, do, answer, **order: self._read(do, json.dumps(ssh_answer(do, order)), answer)
    )
    assert outcome(SshDevice("board", options=()), model) == "measured"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"latencies_s": [0.01, -1.0]},
            r"'work' is not understood: 'latencies_s\[1\]' is -1.0; accepted: number >= 1e-09",
        ),
        ({"latencies_s": []}, "it has neither latencies nor a median above 0"),
        ({"coverage": [3, 2]}, "'coverage' is 3 of 2 nodes"),
        ({"stages_s": {"preprocess": [1.0]}}, "'stages_s' is not preprocess, inference, postprocess of every latency"),
        ({"environment": {"device": "x"}}, "'environment.machine' is missing"),
        ({"error": "bad\nmodel", "kind": "input"}, r"^ssh:board: bad\\nmodel$"),
        ({"error": "x", "kind": "other"}, "'kind' is 'other'; accepted: one of 'input', 'unavailable'"),
    ],
)
@pytest.mark.usefixtures("unlinked")
def test_what_a_worker_cannot_have_measured(
    model: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], text: str
) -> None:
    def ask(self: Link, do: str, answer: type[Any], **order: Any) -> Any:
        value = ssh_answer(do, order)
        if do == "work":
            value["stdout"] = json.dumps({**json.loads(value["stdout"]), **change})
        return self._read(do, json.dumps(value), answer)

    monkeypatch.setattr(Link, "ask", ask)
    with pytest.raises((DeviceLost, InputError), match=text):
        measure([Case(model, "cpu")], SshDevice("board", options=()), PLAN)


def test_a_signal_without_a_name() -> None:
    for number, name in ((11, "SIGSEGV"), (41, "signal 41"), (2**31, "signal 2147483648")):
        ended = subprocess.CompletedProcess([], -number, "", "\x1b[1mdied\n")
        assert how_it_ended(ended) == f"killed by {name}: \\x1b[1mdied"


# ---------------------------------------------------------------------------------------------------------------- adb

PROPERTIES = """\
ro.product.manufacturer=Stand
ro.product.model=In 7
ro.soc.manufacturer=QTI
ro.soc.model=SM8650
ro.build.version.release=15
ro.build.version.sdk=35
ro.product.cpu.abi=arm64-v8a
cpus=8
governor=schedutil
Thermal Status: 0
Current temperatures from HAL:
\tTemperature{mValue=41.5, mType=0, mName=CPU0, mStatus=0}
Current cooling devices from HAL:
  level: 85
  temperature: 291
"""
USAGE = "".join(
    f"\t--{name}=\tint32\toptional\n"
    for name in (
        *("graph", "num_runs", "min_secs", "max_secs", "warmup_runs", "warmup_min_secs", "use_xnnpack", "use_gpu"),
        *("input_layer", "input_layer_shape", "input_layer_value_files", "output_filepath"),
        *("enable_op_profiling", "op_profiling_output_mode", "op_profiling_output_file"),
    )
)
OUTPUT = """\
INFO: Initialized session in 12.345ms.
INFO: count=6 first=9100 curr=4000 min=4000 max=9100 avg=5000.5 std=1900 p5=4000 median=4100 p95=9100
INFO: count=50 first=4100 curr=4200 min=3900 max=6000 avg=4250.25 std=300 p5=3950 median=4200 p95=5100
INFO: Memory footprint delta from the start of the tool (MB): init=1.5 overall=12.25
"""
#: What the tool prints where its output counts: one inference without warm-up, on the GPU.
FED_OUTPUT = """\
INFO: Replacing 40 out of 58 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 1 partitions.
INFO: Explicitly applied GPU delegate, and the model graph will be partially executed by the delegate.
INFO: count=0 p5=0 median=0 p95=0
INFO: count=1 curr=4200 p5=4200 median=4200 p95=4200
"""
MARK = "\nedgeseg-exit=0\n"


def garbled(text: str, rng: random.Random) -> str:
    """Return the text with a number, a line or a place in it that is hostile."""
    kind = rng.randrange(6)
    numbers = list(re.finditer(r"\d[\d.]*", text))
    if kind < 3 and numbers:
        at = rng.choice(numbers)
        values = ("-1", "nan", "inf", "1e999", "9" * 5000, "²", "٣", "", "e", "1.2.3", "1e", "0", "\ud800", "1e308")
        return text[: at.start()] + rng.choice(values) + text[at.end() :]
    if kind == 3:
        lines = text.splitlines(keepends=True)
        lines[rng.randrange(len(lines))] = rng.choice(("", "\x1b[2J\n", "=\n", "\0\n", "a b c\n" * 3))
        return "".join(lines)
    at_char = rng.randrange(len(text) + 1)
    if kind == 4:
        return text[:at_char]
    return (
        text[:at_char] + rng.choice(("\x1b]0;x\x07", "\n", "\u202e", "\ud800", "\r", "edgeseg-exit=7")) + text[at_char:]
    )


def phone_says(monkeypatch: pytest.MonkeyPatch, answers: Callable[[str, str], str]) -> None:
    """Have adb print what the function makes of the name of a question and its right answer."""

    def adb(*arguments: str, timeout_s: float = 0) -> subprocess.CompletedProcess[str]:
        script = arguments[-1]
        if arguments[0] == "devices":
            name, text = "devices", "List of devices attached\nR58M\tdevice\n\n"
        elif "getprop" in script:
            name, text = "properties", PROPERTIES + MARK
        elif "--help" in script:
            name, text = "usage", USAGE + MARK
        elif "sha256sum" in script:
            name, text = "digest", "a" * 64 + "  /data/local/tmp/benchmark_model\n" + MARK
        elif "--output_filepath" in script:
            name, text = "fed", FED_OUTPUT + MARK
        elif "exec" in script:
            name, text = "run", OUTPUT + MARK
        elif "wc -c" in script:
            name, text = "size", "768\n" + MARK
        else:
            name, text = "other", MARK
        # what is read from the real client is decoded with replacements
        text = answers(name, text).encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        return subprocess.CompletedProcess(arguments, 0, text, "")

    monkeypatch.setattr(adb_client, "_adb", adb)


def test_a_phone_that_lies_is_told_so_in_a_line(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = []
    for seed in range(100):
        rng = random.Random(seed)
        lies_in = rng.choice(("devices", "properties", "usage", "digest", "run", "run", "run", "other"))
        phone_says(monkeypatch, lambda name, text, rng=rng, at=lies_in: garbled(text, rng) if name == at else text)
        outcomes.append(outcome(AdbDevice("R58M"), model))
    assert outcomes.count("refused") > 25 and outcomes.count("measured") > 10


def verified(model: Path, proof: Path) -> str:
    """Verify on the GPU, and show what a person would see of it: the answers, or one line."""
    try:
        with AdbDevice("R58M") as device:
            answers = device.answers(model, {"accelerator": "gpu"}, proof, (0,))
    except EdgesegError as error:
        text = str(error)
        assert text.isprintable() and len(text) < 2000, text
        return "refused"
    assert answers == decode(json.dumps(asdict(answers)), Answers)
    assert answers.class_maps(((8, 8),))[0].max() <= 2
    return "verified"


@pytest.fixture
def proof(tmp_path: Path) -> Path:
    """Of the model: what it says of one gray image of 8x8."""
    spec = ModelSpec(name="m", input_size=(8, 8), class_names=("a", "b", "c"), palette=((0, 0, 0),) * 3)
    gray = ProofImage(
        image_rgb=np.full((8, 8, 3), 99, np.uint8),
        class_map=np.zeros((8, 8), np.uint8),
        margins=np.ones((8, 8), np.float32),
    )
    gates: Any = {"fp16": ProofGate(min_agreement=1.0, decided_from=0.5)}
    Proof(spec=spec, source="gray", gates=gates, images=(gray,)).save(tmp_path / "m.proof.zip")
    return tmp_path / "m.proof.zip"


def test_a_phone_that_lies_of_an_output_is_told_so_in_a_line(
    model: Path, proof: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = []
    for seed in range(100):
        rng = random.Random(seed)
        lies_in = rng.choice(("fed", "fed", "size", "data", "none"))
        phone_says(monkeypatch, lambda name, text, rng=rng, at=lies_in: garbled(text, rng) if name == at else text)
        sizes = (0, 767, 769, 10_000_000) if lies_in == "data" else (768,)
        data = rng.randbytes(rng.choice(sizes))  # of floats that are no numbers as well

        def run(*arguments: str, data: bytes = data, **_: Any) -> subprocess.CompletedProcess[bytes]:
            return subprocess.CompletedProcess(arguments, 0, data, b"")

        monkeypatch.setattr(adb_client, "_run", run)
        outcomes.append((lies_in, verified(model, proof)))
    assert {outcome for lies_in, outcome in outcomes if lies_in == "data"} == {"refused"}
    assert {outcome for lies_in, outcome in outcomes if lies_in == "none"} == {"verified"}
    assert sum(outcome == "refused" for lies_in, outcome in outcomes if lies_in == "fed") > 8


def test_a_phone_that_does_not_lie_is_measured(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phone_says(monkeypatch, lambda name, text: text)
    assert outcome(AdbDevice("R58M"), model) == "measured"


@pytest.mark.parametrize(
    "filler",
    ["\n", "  ", "Memory footprint delta ", "Replacing 1 node(s) with delegate (", "WARN", "--a", "count=1 ", "a=1 "],
)
def test_no_pattern_takes_long_on_a_flood(model: Path, monkeypatch: pytest.MonkeyPatch, filler: str) -> None:
    """A pattern that scans to the end from every place would take hours; the test's own limit is the suite's."""
    flood = filler * ((1 << 18) // len(filler))
    phone_says(monkeypatch, lambda name, text: flood + text if name in ("properties", "usage", "run") else text)
    assert outcome(AdbDevice("R58M"), model) in ("measured", "refused")


# -------------------------------------------------------------------------------------------------------------- bounds


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("while True: print('x' * 100_000)", "answered with more than 1 MiB"),
        ("print('x' * 2_000_000)", "answered with more than 1 MiB"),  # and ended before anybody looked
        ("import time; time.sleep(1000)", "gave no answer within 0 seconds"),
        ("print('fine')", ""),
    ],
)
def test_a_program_is_killed_that_says_too_much_or_nothing(program: str, text: str) -> None:
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen([sys.executable, "-c", program], stdout=out)
        timeout_s = 0.2 if "sleep" in program else 60.0
        with Watch(process, [out], most_bytes=1 << 20, timeout_s=timeout_s) as watch:
            process.wait()
    assert watch.broke == text
