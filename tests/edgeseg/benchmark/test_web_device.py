"""A browser as a device (``devices.web``, ``edgeseg.web.exchange``): a real Chromium, and one that lies."""

from __future__ import annotations

import dataclasses
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from edgeseg._internal.json import WrongValue
from edgeseg.benchmark.compare import Alike, compare
from edgeseg.benchmark.devices import open_device
from edgeseg.benchmark.devices.web import WebDevice, _latencies_s
from edgeseg.benchmark.measure import Case, measure
from edgeseg.benchmark.plan import Plan
from edgeseg.errors import BackendUnavailable, DeviceLost, InputError
from edgeseg.proof import verify
from edgeseg.web.exchange import Exchange, Opened
from edgeseg.web.runtime import LITERT, ONNX
from edgeseg.web.server import WebServer
from edgeseg.web.site import Site

GREETING = {"browser": "b", "system": "s", "cpus": 2, "isolated": True, "timer_ms": 0.005}
OPENED = {"accelerator": "wasm", "threads": 1, "fully_accelerated": True, "init_ms": 1.0}


@pytest.fixture
def browser(open_browser: Callable[..., Any]) -> Iterator[Any]:
    try:
        LITERT.folder()
        ONNX.folder()
    except InputError as error:
        pytest.skip(f"LiteRT.js cannot be had: {error}")
    browser = open_browser("--disable-gpu")
    yield browser
    browser.close()


@pytest.fixture
def device(browser: Any) -> WebDevice:
    """A device whose page a Chromium opens as soon as it is announced."""

    def announced(line: str) -> None:
        if line.startswith("http"):
            browser("Page.navigate", url=line)

    return WebDevice(announce=announced)


def test_a_browser_is_verified_and_measured(device: WebDevice, proven: Path) -> None:
    artifact = proven / "unet_mini.fp32.tflite"
    with device:
        verdict = verify(artifact, device=device, repeat=2)
        assert verdict.passed and verdict.agreement.worst == 1.0
        assert (verdict.device, verdict.runtime.partition(",")[0]) == ("web", "LiteRT.js 2.5.3")
        with pytest.raises(BackendUnavailable, match=r"a browser has no 'npu' for models"):
            verify(artifact, device=device, options={"accelerator": "npu"})
        for name, value in (("delegate", "libedgetpu.so.1"), ("backend", "litert"), ("input_size", (32, 48))):
            with pytest.raises(InputError, match=f"a browser takes no `{name}`"):
                verify(artifact, device=device, options={name: value})
        with pytest.raises(InputError, match=r"the browser: This browser offers \d threads, not 64"):
            verify(artifact, device=device, options={"num_threads": 64})
        onnx = verify(proven / "unet_mini.fp32.onnx", device=device, repeat=1)
        assert onnx.passed and onnx.runtime.startswith("onnxruntime-web 1.30.0, WASM")
    plan = Plan(rounds=2, num_runs=20, min_secs=0.0, warmup_runs=2, warmup_min_secs=0.0)
    (result,) = measure([Case(artifact, "cpu", {"num_threads": 1})], device, plan)
    assert result.rounds == (10, 10) and result.agreement is not None and result.agreement.passed
    assert result.environment.device == "web" and "Chrom" in result.environment.machine
    assert result.environment.extra["isolated"] == "yes"
    (sustained,) = measure([Case(artifact, "cpu")], device, dataclasses.replace(Plan.sustained(0.01), verify=False))
    assert sustained.rounds == (len(sustained.latencies_s),) and sustained.warnings[-1].startswith("drift ")
    (here,) = measure([Case(artifact, "cpu", {"num_threads": 1})], open_device("local"), plan)
    with pytest.raises(InputError, match="device"):
        compare(here, result)
    assert compare(here, result, allow=get_args(Alike)).median.value > 0


def test_times_that_cannot_be_are_refused() -> None:
    for times, wrong in (
        (b"", "0 bytes for the times"),
        (b"1234567", "7 bytes for the times"),
        (np.array([1.0, 0.0]).tobytes(), "a call took no time"),
        (np.array([1.0, np.nan]).tobytes(), "less than a nanosecond or more than eleven days"),
        (np.array([-1.0]).tobytes(), "less than a nanosecond or more than eleven days"),
        (np.array([np.inf]).tobytes(), "less than a nanosecond or more than eleven days"),
    ):
        with pytest.raises(DeviceLost, match=wrong):
            _latencies_s(times)
    assert _latencies_s(np.array([1.5, 2.0]).tobytes()) == (0.0015, 0.002)


def test_names_of_browsers() -> None:
    for name, where in (("web", ("127.0.0.1", 0)), ("web:0.0.0.0", ("0.0.0.0", 0)), ("web:[::1]:81", ("::1", 81))):
        opened = open_device(name)
        assert isinstance(opened, WebDevice) and opened._where == where
    with pytest.raises(InputError, match="web, web:HOST, web:HOST:PORT"):
        open_device("webb")
    with pytest.raises(InputError, match=r"'web:::1' is no address; accepted: web:HOST"):
        open_device("web:::1")


@pytest.fixture
def asked() -> Iterator[tuple[Exchange, Callable[..., int]]]:
    """An exchange, and a function that posts to its server as a browser would."""
    exchange = Exchange()
    with WebServer(Site({}), port=0, exchange=exchange) as server:
        key = server.url.partition("#")[2]

        def post(path: str, body: bytes, **headers: str) -> int:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
            connection.request("POST", f"/device/{path}", body, {"X-Edgeseg-Key": key, **headers})
            answer = connection.getresponse()
            answer.read()
            connection.close()
            return answer.status

        yield exchange, post


def packed(about: Any, content: bytes = b"") -> bytes:
    text = json.dumps(about).encode()
    return len(text).to_bytes(4, "little") + text + content


def test_only_the_page_with_the_key_is_heard(asked: tuple[Exchange, Callable[..., int]]) -> None:
    exchange, post = asked
    greeting = json.dumps(GREETING).encode()
    assert post("greeting", greeting, **{"X-Edgeseg-Key": "wrong"}) == 403
    assert post("greeting", greeting, Origin="http://evil.example") == 403
    assert post("greeting", greeting, **{"Content-Length": str(100_000_000)}) == 413
    assert post("elsewhere", b"") == 404
    assert exchange.greeting is None
    assert post("greeting", b"{}") == 400
    assert post("greeting", greeting) == 200
    assert exchange.await_greeting(0).cpus == 2
    assert post("answer", packed({"id": 1})) == 403  # it does not name its session
    first = exchange.session
    assert post("answer", packed({"id": 1}), **{"X-Edgeseg-Session": first}) == 200
    assert post("greeting", greeting) == 200  # another page, or the same one loaded anew
    assert post("answer", packed({"id": 1}), **{"X-Edgeseg-Session": first}) == 403


def test_what_a_browser_says_is_read_with_limits(
    asked: tuple[Exchange, Callable[..., int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange, post = asked
    for broken in (b"", b"\xff\xff\xff\xff", packed([]), packed({"id": -1}), packed({"id": 1, "error": "x" * 5000})):
        with pytest.raises(WrongValue):
            exchange.answer(broken)
        assert post("answer", broken, **{"X-Edgeseg-Session": exchange.session}) == 400

    def answered(answer: Any, wait_s: float = 10.0) -> Any:
        def reply() -> None:
            number = json.loads(exchange.next_request(0, 1) or b'{"id": 0}')["id"]
            with suppress(WrongValue):  # which its server answers with 400
                exchange.answer(packed({"id": number, **answer}))

        thread = threading.Thread(target=reply)
        thread.start()
        try:
            return exchange.ask(Opened, {"request": "open"}, timeout_s=wait_s)[0]
        finally:
            thread.join()

    assert answered(OPENED).threads == 1
    with pytest.raises(InputError, match=r"the browser: no memory\\nat node 3"):
        answered({"error": "no memory\nat node 3"})
    for wrong in ({"accelerator": "npu"}, {"threads": -1}, {"init_ms": float("nan")}, {"fully_accelerated": "yes"}):
        with pytest.raises(DeviceLost, match="what the browser says cannot be right"):
            answered({**OPENED, **wrong})
    with pytest.raises(DeviceLost, match="the browser did not answer within 0 s"):
        answered({**OPENED, "id": 999}, wait_s=0.3)
    monkeypatch.setattr("edgeseg.web.exchange.SILENCE_S", -1.0)
    with pytest.raises(DeviceLost, match="nothing came from the browser for"):
        answered({**OPENED, "id": 999})
    exchange.close()
    assert json.loads(exchange.next_request(0, 10) or b"")["request"] == "end"
    with pytest.raises(DeviceLost, match="no browser opened the page"):
        exchange.await_greeting(0)
