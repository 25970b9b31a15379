"""``devices.tool_backend`` and ``edgeseg.proof.answering``: verification over adb.

The real adb talks to a device daemon, and the tool there runs the model on the files that it is given: a wrong layout,
dtype, byte order or name of a file gives other classes. No phone.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg._internal.files import sha256
from edgeseg.benchmark.devices.adb import AdbDevice
from edgeseg.benchmark.devices.android import SCRIPT, Description
from edgeseg.benchmark.devices.tool_backend import INFERENCES
from edgeseg.benchmark.measure import Case, measure
from edgeseg.benchmark.plan import Plan
from edgeseg.cli import main
from edgeseg.errors import BackendUnavailable, DeviceLost, EdgesegError, InputError
from edgeseg.proof import Proof, ProofGate, ProofImage, read_proof, verify
from edgeseg.proof.answering import answer_proof
from edgeseg.proof.questions import Answers
from edgeseg.runtime import open_backend
from edgeseg.runtime.artifact import read_tflite
from edgeseg.spec import ModelSpec
from edgeseg.tflite.half_arithmetic import ENTRY, HALF

pytestmark = pytest.mark.skipif(shutil.which("adb") is None, reason="needs adb (apt install adb)")

DATA = Path(__file__).parents[2] / "data"
GATE = ProofGate(min_agreement=0.999, decided_from=0.5)
SHAPE = (1, 32, 48, 3)
#: Options with which LiteRT computes the same here and in the tool, bit for bit.
CPU: dict[str, Any] = {"num_threads": 1}
GPU = {"accelerator": "gpu"}

# A shell's background job ignores SIGINT, and so would its children.
_PROGRAM = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from edgeseg.cli import main; sys.exit(main())"
)


@pytest.fixture
def phone(attach: Callable[..., Any]) -> Any:
    """One whose tool runs the model."""
    return attach(runs=True)


@pytest.fixture
def save(tmp_path: Path) -> Callable[[bytes], Path]:
    """A function that writes a model."""

    def write(data: bytes) -> Path:
        path = tmp_path / "m.fp16.tflite"
        path.write_bytes(data)
        return path

    return write


@pytest.fixture
def relu(tflite_model: Callable[..., bytes], save: Callable[[bytes], Path]) -> Path:
    """A model of three classes without a ModelSpec, whose scores are the normalized image."""
    return save(tflite_model(["RELU"], [(SHAPE, "float32")]))


def images(count: int) -> list[NDArray[np.uint8]]:
    """Noise: each pixel and channel counts."""
    rng = np.random.default_rng(5)
    return [rng.integers(0, 256, SHAPE[1:], np.uint8) for _ in range(count)]


def normalized(image: NDArray[np.uint8], spec: ModelSpec) -> NDArray[np.float32]:
    """As the model takes it."""
    scaled = (image - np.asarray(spec.mean, np.float32)) / np.asarray(spec.std, np.float32)
    return scaled.astype(np.float32)


def brightest(image_rgb: NDArray[np.uint8], spec: ModelSpec) -> NDArray[np.uint8]:
    """The class map of ``relu``."""
    return np.asarray(np.maximum(normalized(image_rgb, spec), 0).argmax(-1), np.uint8)


def make_proof(
    path: Path, spec: ModelSpec, answer: Callable[[NDArray[np.uint8], ModelSpec], NDArray[np.uint8]], count: int = 2
) -> Path:
    """Write the proof of images whose pixels are all decided."""
    made = [
        ProofImage(image_rgb=image, class_map=answer(image, spec), margins=np.ones(SHAPE[1:3], np.float32))
        for image in images(count)
    ]
    proof = Proof(spec=spec, source="noise", gates={"fp16": GATE, "fp32": GATE, "int8": GATE}, images=tuple(made))
    proof.save(path, overwrite=True)
    return path


@pytest.fixture
def proof(tiny_spec: ModelSpec, tmp_path: Path) -> Path:
    """What ``relu`` must say."""
    return make_proof(tmp_path / "m.proof.zip", tiny_spec, brightest)


def here(artifact: Path, proof: Path, order: Sequence[int]) -> Answers:
    """What the same runtime answers on this machine, in this process."""
    backend = open_backend(artifact, **CPU)
    try:
        return answer_proof(backend, read_proof(proof), order)
    finally:
        backend.close()


def there(phone: Any, artifact: Path, proof: Path, order: Sequence[int], **options: Any) -> Answers:
    with AdbDevice(phone.serial) as device:
        answers = device.answers(artifact, {**CPU, **options}, proof, order)
    assert phone.left == []
    return answers


@pytest.mark.parametrize(
    ("ops", "tensors", "quantization"),
    [
        (["RELU"], [(SHAPE, "float32")], {}),
        (["RELU"], [((1, 3, 32, 48), "float32")], {}),
        (["RELU"], [(SHAPE, "int8")], {"scale": 0.02, "zero_point": -10}),
        (["RELU"], [(SHAPE, "uint8")], {"scale": 1.0}),
        ([("ARG_MAX", [3])], [(SHAPE, "float32"), (SHAPE[:3], "int64")], {}),
    ],
    ids=["float32", "nchw", "int8", "uint8", "int64 ids"],
)
def test_a_tensor_goes_there_and_comes_back_as_it_is(
    phone: Any,
    tflite_model: Callable[..., bytes],
    save: Callable[[bytes], Path],
    proof: Path,
    ops: Any,
    tensors: Any,
    quantization: dict[str, Any],
) -> None:
    model = save(tflite_model(ops, tensors, **quantization))
    got, expected = there(phone, model, proof, (0, 1)), here(model, proof, (0, 1))
    assert (got.maps, got.runs, got.outputs) == (expected.maps, expected.runs, expected.outputs)
    assert (got.precision, got.has_scores) == (expected.precision, expected.has_scores)
    assert len(set(got.outputs)) == 2
    (_, first), (_, second) = ((call["flags"]["graph"], call["flags"]) for call in phone.calls)
    assert first["input_layer_shape"] == ",".join(map(str, tensors[0][0]))
    assert first["input_layer_value_files"] != second["input_layer_value_files"]
    assert (first["warmup_runs"], first["num_runs"], first["use_xnnpack"]) == ("0", "1", "true")


@pytest.mark.parametrize("name", ["saved.fp32.tflite", "saved.int8.tflite"])
def test_an_exported_file_is_fed_as_its_own_spec_says(phone: Any, tmp_path: Path, name: str) -> None:
    """It takes BGR, as floats or as bytes, and gives class ids of 8 bits."""
    artifact = DATA / name
    spec = read_tflite(artifact)[2]
    assert spec is not None
    backend = open_backend(artifact, **CPU)

    def answer(image_rgb: NDArray[np.uint8], spec: ModelSpec) -> NDArray[np.uint8]:
        bgr = image_rgb[..., ::-1]
        tensor = normalized(bgr, spec) if spec.dtype == "float32" else bgr
        class_map: NDArray[np.uint8] = np.array(backend.run(tensor[None])[0])
        return class_map

    proof = make_proof(tmp_path / "saved.proof.zip", spec, answer, 1)
    backend.close()
    with AdbDevice(phone.serial) as device:
        verdict = verify(artifact, proof, options=CPU, device=device, repeat=2)
    assert verdict.agreement.worst == 1.0
    assert verdict.device == f"adb:{phone.serial}"
    assert verdict.runtime.startswith("benchmark_model of TFLite (")
    assert verdict.fully_accelerated is None
    assert [call["flags"]["num_runs"] for call in phone.calls] == ["1", "2"]


@pytest.mark.slow
def test_of_several_outputs_the_first_counts(
    phone: Any, tflite_model: Callable[..., bytes], broken: Callable[..., bytes], relu: Path, proof: Path
) -> None:
    """All are in one file, one after the other; and a name may have what separates names."""
    relu.write_bytes(tflite_model(["RELU", "NEG"], [(SHAPE, "float32")] * 3))

    def edit(model: Any) -> None:
        model.subgraphs[0].outputs = [1, 2]
        model.subgraphs[0].tensors[0].name = b"serving_default_image,a:0"

    relu.write_bytes(broken(edit, relu))
    got = there(phone, relu, proof, (0,))
    assert got.outputs == here(relu, proof, (0,)).outputs
    phone.behave(delegated=0)
    with pytest.raises(BackendUnavailable, match=r"nothing of the model ran on 'gpu'.*Though GPU delegate"):
        there(phone, relu, proof, (0,), **GPU)


def test_an_accelerator_that_is_right_only_at_first_is_caught(
    phone: Any, relu: Path, tiny_spec: ModelSpec, tmp_path: Path
) -> None:
    proof = make_proof(tmp_path / "one.proof.zip", tiny_spec, brightest, 1)
    phone.behave(wrong_from=2)
    with AdbDevice(phone.serial) as device:
        verdict = verify(relu, proof, options=GPU, device=device, repeat=2)
        assert verdict.agreement.first == 1.0
        assert verdict.agreement.worst < 0.6
        assert not verdict.passed and "the first run has 100.000%" in verdict.reason
        assert [image.answers for image in verdict.images] == [2]
        assert verdict.identical_to_cpu is False
        phone.behave()
        again = verify(relu, proof, options=GPU, device=device, repeat=1)
    assert again.passed and again.identical_to_cpu
    assert again.fully_accelerated and again.coverage == (58, 58)


def test_from_the_command_line(phone: Any, relu: Path, proof: Path, capsys: pytest.CaptureFixture[str]) -> None:
    phone.behave(wrong_from=2, delegated=40)
    where = ["--device", f"adb:{phone.serial}", "--accelerator", "gpu", "--num-threads", "1"]
    assert main(["verify", str(relu), "--proof", str(proof), *where, "--repeat", "2"]) == 1
    said = capsys.readouterr()
    assert "FAILED" in said.out and "gpu (in part)" in said.out
    assert "the first run has 100.000%" in said.err
    assert phone.left == []


@pytest.mark.parametrize("tool", ["tflite", "litert"])
def test_a_benchmark_has_an_answer_where_the_tool_can_be_fed(
    attach: Callable[..., Any], relu: Path, proof: Path, tool: str, caplog: pytest.LogCaptureFixture
) -> None:
    read = read_proof(proof)
    read.with_artifacts({relu.name: sha256(relu.read_bytes())}).save(proof, overwrite=True)
    phone = attach(runs=tool == "tflite")
    phone.behave(tool=tool, wrong_from=2)
    plan = Plan(rounds=1, num_runs=2, min_secs=0)
    (result,) = measure([Case(relu, "gpu", GPU)], AdbDevice(phone.serial), plan)
    assert result.reported[0]["median_ms"] > 0
    if tool == "tflite":
        assert result.agreement is not None
        assert (result.agreement.first, result.agreement.passed) == (1.0, False)
    else:
        assert result.agreement is None
        assert "is measured without its answers: adb:" in caplog.text and "no flag --input_layer" in caplog.text
    assert phone.left == []


@pytest.mark.slow
def test_each_repeat_is_after_more_inferences(phone: Any, relu: Path, proof: Path) -> None:
    """Also where a fault begins late; with more repeats than numbers, from the second number on again."""
    phone.behave(wrong_from=INFERENCES[-1])
    got = there(phone, relu, proof, (0,) * (len(INFERENCES) + 1), **GPU)
    assert [int(call["flags"]["num_runs"]) for call in phone.calls] == [*INFERENCES, INFERENCES[1]]
    assert got.runs == (0, 0, 0, 0, 1, 0)


def test_a_part_on_the_cpu_is_said(phone: Any, relu: Path, proof: Path) -> None:
    phone.behave(delegated=40)
    got = there(phone, relu, proof, (0,), **GPU)
    assert (got.fully_accelerated, got.coverage) == (False, (40, 58))


@pytest.mark.slow
def test_half_precision_is_asked_for(phone: Any, relu: Path, proof: Path) -> None:
    with AdbDevice(phone.serial, half_precision="no") as device:
        assert device.answers(relu, GPU, proof, (0,)).runtime.endswith("), single precision")
    with AdbDevice(phone.serial, half_precision="yes") as device:
        assert device.answers(relu, {}, proof, (0,)).runtime.endswith("), half precision")
        with pytest.raises(BackendUnavailable, match="has no flag --nnapi_allow_fp16"):  # a tool without NNAPI
            device.answers(relu, {"accelerator": "npu"}, proof, (0,))
        with pytest.raises(InputError, match="'half_precision' of an adb device is for cpu, gpu and npu"):
            device.answers(relu, {"delegate": "libx.so"}, proof, (0,))
    first, second = (call["flags"] for call in phone.calls)
    assert (first["gpu_precision_loss_allowed"], first["xnnpack_force_fp16"]) == ("false", "false")
    assert (second["gpu_precision_loss_allowed"], second["xnnpack_force_fp16"]) == ("true", "true")
    assert phone.left == []


def test_a_value(phone: Any, tflite_model: Callable[..., bytes], relu: Path) -> None:
    relu.write_bytes(tflite_model(["RELU"], [(SHAPE, "int8")], scale=0.5, zero_point=3))
    tensor = np.random.default_rng(2).integers(-128, 128, SHAPE).astype(np.int8)
    expected = np.maximum((tensor.astype(np.float32) - 3) * 0.5, 0)
    with AdbDevice(phone.serial) as device:
        assert np.array_equal(device.value(relu, CPU, tensor), expected)
        phone.behave(wrong_from=3)
        assert np.array_equal(device.value(relu, GPU, tensor, runs=2), expected)
        assert np.array_equal(device.value(relu, GPU, tensor, runs=3), np.roll(expected, 1, axis=1))
        with pytest.raises(InputError, match=r"takes \(1, 32, 48, 3\) int8, it is given .* float32"):
            device.value(relu, CPU, expected)
        (folder,) = phone.left
        # What it was fed with is gone already: a search for a wrong op asks for many values.
        left = [path.name for path in (phone.root / "data/local/tmp" / folder).iterdir()]
        assert left == [Path(phone.calls[0]["flags"]["graph"]).name]
    assert phone.left == []


@pytest.mark.parametrize(
    ("behavior", "options", "error", "text"),
    [
        (
            {"lacks": ["output_filepath"]},
            {},
            BackendUnavailable,
            r"TFLite \(.*no flag --output_filepath; give T",
        ),
        ({"short": 18000}, {}, InputError, "the output of '.*' on device '.*' has 432 bytes; accepted: 18432"),
        ({"long": 1}, {}, InputError, "has 18433 bytes; accepted: 18432.$"),
        ({"writes": False}, {}, InputError, r"has not the output of '.*': .*\.output"),
        ({"made": 2}, {}, InputError, "made 2 inferences of 1 that were asked for"),
        ({"delegated": 0}, GPU, BackendUnavailable, "nothing of the model ran on 'gpu'"),
        ({"delegated": 60}, GPU, DeviceLost, "'coverage' is 60 of 58 nodes"),
        ({"ends": "refuses"}, GPU, InputError, "cannot run '.*/m.fp16.tflite' on .*: ERROR: Failed to"),
        ({}, {"backend": "litert"}, InputError, "`backend` does not go with adb"),
        ({}, {"accelerator": "gup"}, InputError, "unknown accelerator 'gup'.*Accepted: cpu, gpu, npu"),
        ({}, {"delegate_options": {"a": "b"}}, InputError, "delegate options go with a delegate"),
    ],
)
def test_what_cannot_be_verified_is_one_line(
    phone: Any,
    relu: Path,
    proof: Path,
    behavior: dict[str, Any],
    options: dict[str, Any],
    error: type[EdgesegError],
    text: str,
) -> None:
    phone.behave(**behavior)
    with pytest.raises(error, match=text) as raised, AdbDevice(phone.serial) as device:
        device.answers(relu, options, proof, (0,))
    assert "\n" not in str(raised.value)
    assert phone.left == []


def test_a_full_disk(phone: Any, relu: Path, proof: Path) -> None:
    with AdbDevice(phone.serial) as device:
        phone.behave(short=18000)
        (phone.root / "free").write_text("0")
        with pytest.raises(
            InputError, match=r"has 432 bytes; accepted: 18432\. The disk is full: make room in /data/lo"
        ):
            device.answers(relu, {}, proof, (0,))
        (phone.root / "full").touch()
        with pytest.raises(InputError, match=r"the input of 18432 bytes cannot be copied to device .*No space left"):
            device.answers(relu, {}, proof, (0,))
    assert phone.left == []


def test_litert_s_own_tool_cannot_be_fed(attach: Callable[..., Any], relu: Path, proof: Path) -> None:
    phone = attach()
    phone.behave(tool="litert")
    with (
        pytest.raises(
            BackendUnavailable, match=r"of LiteRT \(.*no flag --input_layer; .*android_aarch64_benchmark_model"
        ),
        AdbDevice(phone.serial) as device,
    ):
        device.answers(relu, {}, proof, (0,))
    assert phone.left == []


def test_models_that_cannot_be_fed(
    phone: Any, tflite_model: Callable[..., bytes], broken: Callable[..., bytes], relu: Path, proof: Path
) -> None:
    good = relu.read_bytes()

    def refusal(data: bytes) -> str:
        relu.write_bytes(data)
        with pytest.raises(InputError) as raised:
            device.answers(relu, {}, proof, (0,))
        return str(raised.value)

    with AdbDevice(phone.serial) as device:
        relu.write_bytes(good)
        two = broken(lambda model: setattr(model.subgraphs[0], "inputs", [0, 1]), relu)
        assert "has 2 inputs; over adb a model of one can be fed" in refusal(two)
        relu.write_bytes(good)
        opened = broken(lambda model: setattr(model.subgraphs[0].tensors[1], "shapeSignature", [1, -1, 48, 3]), relu)
        assert "leaves the size of its output 't1' open, (1, -1, 48, 3)" in refusal(opened)
        assert "does not open: truncated TFLite model" in refusal(good[:200])
        other = tflite_model([("ARG_MAX", [3])], [((1, 32, 48, 4), "float32"), (SHAPE[:3], "int32")])
        assert "it is given (1, 32, 48, 3) float32" in refusal(other)
    assert phone.calls == []
    assert phone.left == []


def test_a_link_that_is_lost(phone: Any, relu: Path, proof: Path, caplog: pytest.LogCaptureFixture) -> None:
    phone.behave(ends="hang")

    def unplug() -> None:
        _wait_for(lambda: bool(phone.calls))
        phone.process.kill()

    hand = threading.Thread(target=unplug)
    hand.start()
    with pytest.raises(DeviceLost, match=f"the link to device '{phone.serial}' was lost"), AdbDevice(phone.serial) as d:
        d.answers(relu, {}, proof, (0,))
    hand.join()
    (folder,) = phone.left
    assert f"stays there, /data/local/tmp/{folder}" in caplog.text
    os.kill(phone.calls[0]["pid"], signal.SIGKILL)  # as the phone's user might
    _wait_for(lambda: not phone.runs(phone.calls[0]["pid"]))


def test_a_link_that_is_lost_in_the_middle_of_an_output(
    phone: Any, relu: Path, proof: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (phone.root / "unplugged").touch()
    lost = r"was lost \(now: .*\) after 2048 of 18432 bytes\.|sent 2048 bytes of a file of 18432\."
    with pytest.raises(DeviceLost, match=lost), AdbDevice(phone.serial) as device:
        device.answers(relu, {}, proof, (0,))
    assert "stays there" in caplog.text


def test_ctrl_c(phone: Any, relu: Path, proof: Path) -> None:
    phone.behave(ends="hang")
    arguments = ["verify", str(relu), "--proof", str(proof), "--device", f"adb:{phone.serial}"]
    command = [sys.executable, "-c", _PROGRAM, *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    _wait_for(lambda: bool(phone.calls))
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert phone.left == []
    assert not phone.runs(phone.calls[0]["pid"])


def _wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("features", "half_precision", "options", "computes"),
    [
        ("fp asimd atomics fphp asimdhp", None, {}, True),
        ("fp asimd crc32", None, {}, False),
        ("", None, {}, None),  # the list is not there
        ("fp asimd crc32", "yes", {}, True),  # forced: what cannot be computed so does not run
        ("fp asimd atomics fphp asimdhp", "no", {}, True),  # the tool's flag does not undo the file's entry
        ("fp asimd atomics fphp asimdhp", None, {"accelerator": "gpu"}, None),
    ],
)
def test_a_phone_says_whether_its_cpu_computes_in_half_precision(
    features: str,
    half_precision: Any,
    options: dict[str, str],
    computes: bool | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tflite_model: Callable[..., bytes],
    with_entry: Callable[[bytes, str, bytes], bytes],
) -> None:
    # As Linux on ARM lists them; the script's own line reads the first core's.
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        f"processor\t: 0\nFeatures\t: {features}\n\nprocessor\t: 1\nFeatures\t: fp\n" if features else ""
    )
    (line,) = [line for line in SCRIPT.splitlines() if "features=" in line]
    assert "/proc/cpuinfo" in line
    script = line.replace("/proc/cpuinfo", str(cpuinfo))
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    described = Description.read(f"ro.product.cpu.abi=arm64-v8a\n{said}")
    assert described.properties.get("features", "") == features
    asked: list[AdbDevice] = []

    def describe(self: AdbDevice) -> Description:
        asked.append(self)
        return described

    monkeypatch.setattr(AdbDevice, "_describe", describe)
    device = AdbDevice("none", half_precision=half_precision)
    plain = tflite_model(["RELU"], [(SHAPE, "float32")])
    asking = with_entry(plain, ENTRY, HALF)
    if not options:
        assert device.half_arithmetic(asking, "int8", options) is False
    if half_precision is None and not options:
        assert device.half_arithmetic(plain, "fp16", options) is False
    assert not asked  # the phone is asked where it matters, and once
    assert [device.half_arithmetic(asking, "fp16", options) for _ in range(2)] == [computes, computes]
    assert len(asked) == (0 if options or half_precision == "yes" else 1)
