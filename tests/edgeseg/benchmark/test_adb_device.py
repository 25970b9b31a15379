"""``devices.adb``, ``devices.adb_client``, ``devices.android`` and ``devices.benchmark_model``: Android devices: the
real adb client and server against a daemon that speaks the wire protocol; no phone.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeseg._internal.files import sha256
from edgeseg.benchmark.compare import compare
from edgeseg.benchmark.devices import adb_client
from edgeseg.benchmark.devices.adb import AdbDevice
from edgeseg.benchmark.devices.benchmark_model import parse
from edgeseg.benchmark.measure import Case, measure
from edgeseg.benchmark.plan import Plan
from edgeseg.cli import main
from edgeseg.errors import BackendUnavailable, DeviceLost, InputError

pytestmark = pytest.mark.skipif(shutil.which("adb") is None, reason="needs adb (apt install adb)")

# A shell's background job ignores SIGINT, and so would its children.
_PROGRAM = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from edgeseg.cli import main; sys.exit(main())"
)

HERE = Path(__file__).parent
QUICK = Plan(rounds=1, num_runs=50, min_secs=0.5)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The stand-in tool reads no model: any bytes do."""
    path = tmp_path / "model.tflite"
    path.write_bytes(b"TFL3" + bytes(100_000))
    return path


def test_from_the_command_line(phone: Any, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        str(model),
        "--device",
        f"adb:{phone.serial}",
        "--num-threads",
        "4",
        "--rounds",
        "2",
        "--num-runs",
        "60",
    ]
    assert main(["benchmark", *arguments, "--min-secs", "2", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["latencies_s"] == []
    assert len(result["reported"]) == 2
    summary = result["summary"]
    assert (summary["median_ms"], summary["p5_ms"], summary["p95_ms"]) == (4.2, 3.95, 5.1)
    assert (summary["min_ms"], summary["max_ms"], summary["mean_ms"]) == (3.9, 6.0, 4.25025)
    assert (summary["p90_ms"], summary["p99_ms"]) == (None, None)
    assert (summary["init_ms"], summary["first_ms"]) == pytest.approx((12.345, 9.1))
    assert result["peak_memory_bytes"] == 12.25 * 2**20
    assert result["fully_accelerated"] is None
    place = result["environment"]
    assert place["device"] == f"adb:{phone.serial}"
    assert place["machine"] == "Stand In 7, QTI SM8650"
    assert place["system"] == "Android 15 (API 35) arm64-v8a"
    assert place["governor"] == "schedutil"
    assert place["temperature_c"] == [43.25, 43.25]
    assert place["extra"]["thermal_status"] == "none"
    assert (place["extra"]["battery_percent"], place["extra"]["battery_c"]) == ("85", "29.1")
    flags = phone.calls[0]["flags"]
    assert (flags["num_runs"], flags["min_secs"], flags["max_secs"]) == ("30", "1", "75")
    assert (flags["warmup_runs"], flags["warmup_min_secs"]) == ("5", "0.5")
    assert (flags["num_threads"], flags["use_xnnpack"], flags["use_gpu"]) == ("4", "true", "false")
    assert phone.left == []


@pytest.mark.parametrize(("delegated", "full"), [(58, True), (40, False)])
def test_the_gpu_takes_all_or_a_part(phone: Any, model: Path, delegated: int, full: bool) -> None:
    phone.behave(delegated=delegated)
    (result,) = measure([Case(model, "gpu", {"accelerator": "gpu"})], AdbDevice(phone.serial), QUICK)
    assert result.fully_accelerated is full
    assert result.coverage == (delegated, 58)
    assert phone.calls[0]["flags"]["use_gpu"] == "true"


@pytest.mark.parametrize(
    ("behavior", "reason"),
    [
        ({"delegated": 0}, "Though NNAPI delegate is explicitly applied"),
        ({"ends": "no nnapi"}, "NNAPI acceleration is unsupported"),
        ({"tool": "litert", "delegated": 0}, "no delegate that took a node"),
    ],
)
def test_the_cpu_never_passes_for_an_accelerator(
    phone: Any, model: Path, behavior: dict[str, Any], reason: str
) -> None:
    phone.behave(**behavior)
    with pytest.raises(BackendUnavailable, match=f"nothing of the model ran on 'npu': .*{reason}"):
        measure([Case(model, "npu", {"accelerator": "npu"})], AdbDevice(phone.serial), QUICK)
    assert phone.left == []


def test_litert_s_own_tool(phone: Any, model: Path) -> None:
    phone.behave(tool="litert", delegated=40)
    cases = [Case(model, name, {"accelerator": name}) for name in ("cpu", "gpu", "npu")]
    results = measure(cases, AdbDevice(phone.serial), QUICK)
    assert [result.fully_accelerated for result in results] == [None, False, False]
    assert results[0].runtime.startswith("benchmark_model of LiteRT ")
    assert results[0].peak_memory_bytes == 12.25 * 2**20
    assert {"use_cpu", "use_npu"} <= set(phone.calls[0]["flags"])
    delegate = model.with_name("libdelegate.so")
    delegate.write_bytes(b"\x7fELF")
    with pytest.raises(BackendUnavailable, match="no flag --external_delegate_path"):
        measure([Case(model, "d", {"delegate": str(delegate)})], AdbDevice(phone.serial), QUICK)


def test_a_delegate_s_library(phone: Any, model: Path) -> None:
    library = model.with_name("libQnnTFLiteDelegate.so")
    library.write_bytes(b"\x7fELF")
    options = {"delegate": str(library), "delegate_options": {"backend_type": "htp", "htp_precision": "1"}}
    (result,) = measure([Case(model, library.name, options)], AdbDevice(phone.serial), QUICK)
    assert result.fully_accelerated
    call = phone.calls[0]
    assert call["flags"]["external_delegate_options"] == "backend_type:htp;htp_precision:1"
    assert call["flags"]["external_delegate_path"].startswith(call["libraries"] + "/")
    with pytest.raises(InputError, match="neither a file of this computer nor an absolute path on device"):
        measure([Case(model, "d", {"delegate": "libnone.so"})], AdbDevice(phone.serial), QUICK)
    with pytest.raises(InputError, match="has a ':' or ';'"):
        bad = {"delegate": str(library), "delegate_options": {"library": "a;b"}}
        measure([Case(model, "d", bad)], AdbDevice(phone.serial), QUICK)
    assert phone.left == []


def test_a_tool_of_this_computer(attach: Callable[..., Any], model: Path) -> None:
    """On a device whose adbd is of the time before Android 7: no exit status, carriage returns."""
    phone = attach("--without-shell-v2", tool=False)
    case = Case(model, "cpu", {"accelerator": "cpu"})
    with pytest.raises(BackendUnavailable, match=r"there is no benchmark_model '/data/.* \(arm64-v8a\); give one with"):
        measure([case], AdbDevice(phone.serial), QUICK)
    with pytest.raises(BackendUnavailable, match="is no benchmark_model that runs on device"):
        measure([case], AdbDevice(phone.serial, benchmark_model=str(model)), QUICK)
    tool = str(HERE / "stand_in_tool.py")
    (result,) = measure([case], AdbDevice(None, benchmark_model=tool), QUICK)
    shutil.copy(tool, phone.root / "data/local/tmp/benchmark_model")
    with pytest.raises(BackendUnavailable, match="Permission denied"):
        measure([case], AdbDevice(phone.serial), QUICK)
    (phone.root / "data/local/tmp/benchmark_model").chmod(0o755)
    elsewhere = "/data/local/tmp/benchmark_model"
    (again,) = measure([case], AdbDevice(phone.serial, benchmark_model=elsewhere), QUICK)
    assert result.environment.device == f"adb:{phone.serial}"
    assert result.environment.versions["benchmark_model"] == f"sha256:{sha256(Path(tool).read_bytes())[:12]}"
    assert phone.left == []
    assert compare(result, again).median.value == 1.0


@pytest.mark.parametrize(
    ("ends", "error", "text"),
    [
        ("crash", DeviceLost, "killed by SIGSEGV"),
        ("refuses", InputError, "cannot run .*: ERROR: Failed to apply GPU delegate"),
        ("gibberish", InputError, "not understood; its last line: Segmentation is a wonderful thing"),
    ],
)
def test_a_tool_that_fails(phone: Any, model: Path, ends: str, error: type[Exception], text: str) -> None:
    phone.behave(ends=ends)
    with pytest.raises(error, match=text):
        measure([Case(model, "gpu", {"accelerator": "gpu"})], AdbDevice(phone.serial), QUICK)
    assert phone.left == []


def test_a_device_that_vanishes(phone: Any, model: Path, caplog: pytest.LogCaptureFixture) -> None:
    phone.behave(ends="hang")

    def unplug() -> None:
        _wait_for(lambda: bool(phone.calls))
        phone.process.kill()

    hand = threading.Thread(target=unplug)
    hand.start()
    with pytest.raises(DeviceLost, match=f"the link to device '{phone.serial}' was lost"):
        measure([Case(model, "cpu", {"accelerator": "cpu"})], AdbDevice(phone.serial), QUICK)
    hand.join()
    (folder,) = phone.left
    assert f"stays there, /data/local/tmp/{folder}" in caplog.text
    os.kill(phone.calls[0]["pid"], signal.SIGKILL)  # as the phone's user might
    _wait_for(lambda: not phone.runs(phone.calls[0]["pid"]))


def test_ctrl_c(phone: Any, model: Path) -> None:
    phone.behave(ends="hang")
    command = [sys.executable, "-c", _PROGRAM, "benchmark", str(model), "--device", f"adb:{phone.serial}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    _wait_for(lambda: bool(phone.calls))
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert phone.left == []
    assert not phone.runs(phone.calls[0]["pid"])


def test_which_device(
    adb: Callable[..., str], attach: Callable[..., Any], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refusal(*arguments: str) -> str:
        assert main(["benchmark", str(model), *arguments]) == 2
        return capsys.readouterr().err

    assert "no device is attached over adb" in refusal("--device", "adb")
    locked = attach("--unauthorized")
    _wait_for(lambda: "unauthorized" in adb("devices"))
    assert "has not allowed this computer" in refusal("--device", "adb")
    first, second = attach(), attach()
    error = refusal("--device", "adb")
    assert "3 devices are attached" in error
    assert f"{first.serial} (device)" in error
    assert f"{locked.serial} (unauthorized)" in error
    assert "no device 'R58M' is attached over adb; there are:" in refusal("--device", "adb:R58M")
    assert "unknown device 'adb:'" in refusal("--device", "adb:")
    assert "--benchmark-model goes with --device adb" in refusal("--benchmark-model", "x")
    both = ["--device", f"adb:{first.serial}", "--device", f"adb:{second.serial}", "--rounds", "1", "--json"]
    assert main(["benchmark", str(model), *both]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [r["environment"]["device"] for r in results] == [f"adb:{first.serial}", f"adb:{second.serial}"]


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("offline", "is offline: unplug it"),
        ("no permissions (user in plugdev group; are your udev rules wrong?); see [http://...]", "udev rules"),
        ("authorizing", "is still being asked"),
        ("recovery", "is in state 'recovery'"),
    ],
)
def test_a_device_in_another_state(state: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adb_client, "attached", lambda: {"R58M": state})
    with pytest.raises(InputError, match=text):
        adb_client.choose(None)


def test_what_adb_cannot_measure(phone: Any, model: Path) -> None:
    case = Case(model, "cpu", {"accelerator": "cpu"})
    with pytest.raises(InputError, match="benchmark_model times inference alone"):
        measure([case], AdbDevice(phone.serial), Plan(scope="end-to-end"))
    with pytest.raises(InputError, match=r"benchmark_model runs \.tflite files"):
        onnx = model.with_suffix(".onnx")
        onnx.write_bytes(b"")
        measure([Case(onnx, "cpu", {})], AdbDevice(phone.serial), QUICK)
    with pytest.raises(InputError, match="`backend` does not go with adb"):
        measure([Case(model, "cpu", {"backend": "litert"})], AdbDevice(phone.serial), QUICK)
    assert phone.left == []


def test_a_hot_phone_and_no_adb(phone: Any, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (phone.root / "thermal").write_text("2")
    case = Case(model, "cpu", {"accelerator": "cpu"})
    (result,) = measure([case], AdbDevice(phone.serial), Plan.sustained(0.01))
    assert any("thermal status 'moderate'" in text for text in result.warnings)
    assert any("no drift is known" in text for text in result.warnings)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BackendUnavailable, match="adb is not on the PATH"):
        measure([case], AdbDevice(phone.serial), QUICK)


def test_lines_of_the_tool() -> None:
    head = "INFO: Initialized session in 5ms.\nINFO: count=1 curr=9500 p5=9500 median=9500 p95=9500\n"
    alike = parse(head + "INFO: count=5 curr=7(all same) p5=7 median=7 p95=7\n", "cpu")
    assert (alike.init_s, alike.first_s) == (0.005, 0.0095)
    assert alike.reported["min_ms"] == alike.reported["mean_ms"] == alike.reported["median_ms"] == 0.007
    long = parse(head + "INFO: count=2 first=1 curr=2 min=1 max=2 avg=9.99243e+06 std=0 p5=1 median=2 p95=2", "cpu")
    assert long.reported["mean_ms"] == pytest.approx(9992.43)
    with pytest.raises(InputError, match="prints no median"):
        parse(head + "INFO: count=50 first=1 curr=1 min=1 max=2 avg=1.5 std=0\n", "cpu")
    with pytest.raises(BackendUnavailable, match="ignored --use_npu=true"):
        parse("WARN: Unconsumed cmdline flags: --use_npu=true\n", "npu")


def _wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


def test_the_page_of_edgeseg_web_is_the_phones_own_localhost(phone: Any) -> None:
    """While the command runs; afterwards the phone has its port back."""
    command = [sys.executable, "-m", "edgeseg", "web", "efficientnet_lite0_unet.int8", "--usb", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    url = process.stdout.readline().strip()
    if not url:
        error = process.stderr.read()
        if "cannot be downloaded" in error:
            pytest.skip(error)
        pytest.fail(error)
    port = url.rstrip("/").rpartition(":")[2]
    assert (phone.root / "reversed").read_text() == f"tcp:{port}"
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert (phone.root / "reversed").read_text() == ""
    assert f"for the browser of {phone.serial}:" in process.stderr.read()
