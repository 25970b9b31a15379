"""``base`` and ``detached``: what a live source does when its device misbehaves, on devices that are made up: no
machine of ours has a camera.
"""

from __future__ import annotations

import threading
import time

import cv2
import numpy as np
import pytest

from edgeseg.errors import InputError, SourceLost
from edgeseg.sources import Captured
from edgeseg.sources.detached import Detached
from edgeseg.sources.stream import Stream
from edgeseg.video.container import HungUp

pytestmark = pytest.mark.usefixtures("nothing_left")


class Capture:
    """Gives what a script says: ``y`` a frame, ``d`` a damaged one, ``n`` none; none for ever behind its end."""

    def __init__(self, script: str) -> None:
        self._script = iter(script)
        self._now = "n"
        self.released = False

    def grab(self) -> bool:
        self._now = next(self._script, "n")
        return self._now != "n"

    def retrieve(self) -> tuple[bool, np.ndarray | None]:
        return (True, np.zeros((2, 3, 3), np.uint8)) if self._now == "y" else (False, None)

    def get(self, _: int) -> float:
        return 0.0

    def release(self) -> None:
        self.released = True


class Device:
    """Opens one script after the other; an empty one means that it is not there."""

    name = "device"
    stem = "device"

    def __init__(self, *scripts: str, recovers: bool = False) -> None:
        self._scripts = list(scripts)
        self._recovers = recovers
        self.opened: list[Capture] = []
        self.asked_s: list[float] = []

    def open(self) -> Capture:
        self.asked_s.append(time.perf_counter())
        script = self._scripts.pop(0) if self._scripts else ""
        if script == "hangs up":
            raise HungUp("device hangs up.")
        if not script:
            raise InputError("device is not there.")
        self.opened.append(Capture(script))
        return self.opened[-1]

    def may_recover(self) -> bool:
        return self._recovers


def stream(device: Device, *, reconnect_s: float | None = None, timeout_s: float = 5) -> Stream:
    return Stream(device, reconnect_s=reconnect_s, timeout_s=timeout_s)  # type: ignore[arg-type]


def test_a_camera_that_stands_still_for_a_moment_is_not_lost() -> None:
    device = Device("ynnny", recovers=True)
    source = stream(device)
    assert [captured.index for captured in (source.read(), source.read()) if captured] == [0, 1]
    assert len(device.opened) == 1
    source.close()
    assert device.opened[0].released


def test_a_camera_that_stands_still_for_longer_than_the_timeout_is_lost() -> None:
    device = Device("y", recovers=True)
    source = stream(device, timeout_s=0.2)
    source.read()
    with pytest.raises(SourceLost, match="'device' broke off after 1 frame"):
        source.read()
    assert device.opened[0].released


def test_a_damaged_frame_is_passed_over_and_counted() -> None:
    source = stream(Device("yddy"))
    assert [captured.index for captured in (source.read(), source.read()) if captured] == [0, 3]
    source.close()


def test_a_lost_device_is_tried_again_with_growing_pauses_and_the_index_goes_on() -> None:
    device = Device("yy", "", "", "y")
    source = stream(device, reconnect_s=30)
    assert [captured.index for captured in (source.read(), source.read(), source.read()) if captured] == [0, 1, 2]
    _, lost_s, again_s, back_s = device.asked_s
    assert again_s - lost_s >= 0.25
    assert back_s - again_s >= 0.5
    source.close()


def test_a_device_that_opens_and_gives_nothing_is_not_back(caplog: pytest.LogCaptureFixture) -> None:
    device = Device("y", *["n"] * 1000)
    source = stream(device, reconnect_s=0.3)
    source.read()
    with pytest.raises(SourceLost, match=r"did not come back within 0.3 s"):
        source.read()
    assert len(device.opened) < 10
    assert len(caplog.records) == 1


class Endless:
    """A source that counts, and fails as it is told."""

    name, live, fps, missing_frames = "endless", True, None, 0

    def __init__(self, *, frames: int = 10**9, failure: Exception | None = None, decode_s: float = 0.0) -> None:
        self._frames = frames
        self._decode_s = decode_s  # what no other thread can end
        self._failure = failure
        self._stop = threading.Event()
        self.read_so_far = 0
        self.closed = False

    def read(self) -> Captured | None:
        if self._stop.is_set() or self.read_so_far == self._frames:
            if self._failure is not None:
                raise self._failure
            return None
        self.read_so_far += 1
        self._stop.wait(0.001)
        time.sleep(self._decode_s)
        return Captured(
            index=self.read_so_far - 1,
            name="",
            image_bgr=np.zeros((1, 1, 3), np.uint8),
            captured_s=time.perf_counter(),
        )

    def stop(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self.closed = True


def test_a_file_waits_to_be_asked_and_loses_nothing() -> None:
    inner = Endless(frames=50)
    source = Detached(inner, newest=False)
    time.sleep(0.1)
    assert inner.read_so_far <= 2
    assert [captured.index for captured in iter(source.read, None)] == list(range(50))
    assert source.read() is None
    source.close()
    assert inner.closed


def test_what_is_live_does_not_wait() -> None:
    inner = Endless()
    source = Detached(inner, newest=True)
    first = source.read()
    time.sleep(0.1)
    second = source.read()
    source.close()
    assert first is not None
    assert second is not None
    assert second.index > first.index + 1
    assert source.read() is None
    assert inner.closed


def test_a_file_that_is_slow_to_decode_is_waited_for() -> None:
    inner = Endless(decode_s=1.0)
    inner.live = False
    source = Detached(inner, newest=False)
    while not inner.read_so_far:
        time.sleep(0.01)
    source.close()
    assert inner.closed


@pytest.mark.parametrize(
    ("failure", "raised", "message"),
    [
        (SourceLost("gone."), SourceLost, "^gone.$"),
        (InputError("no image."), InputError, "^no image.$"),
        (cv2.error("native"), SourceLost, "OpenCV failed in reading it: native"),
    ],
)
def test_an_error_comes_after_the_last_frame_and_stays(
    failure: Exception, raised: type[Exception], message: str
) -> None:
    source = Detached(Endless(frames=1, failure=failure), newest=False)
    assert source.read() is not None
    for _ in range(2):
        with pytest.raises(raised, match=message):
            source.read()
    source.close()
    assert source.read() is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_that_nobody_foresaw_is_no_end() -> None:
    source = Detached(Endless(frames=0, failure=ZeroDivisionError()), newest=True)
    with pytest.raises(SourceLost, match="the thread that reads it failed"):
        source.read()
    source.close()


class Time:
    """A time that passes only where something waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("edgeseg.sources.stream.time", self)

    def perf_counter(self) -> float:
        return self.now


class Stop(threading.Event):
    """The end of a stream, which waits in that time."""

    def __init__(self, time: Time) -> None:
        super().__init__()
        self._time = time

    def wait(self, timeout: float | None = None) -> bool:
        self._time.now += timeout or 0.0
        return self.is_set()


def test_a_server_that_hangs_up_before_its_first_frame_is_asked_less_and_less(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)
    device = Device("y", *["hangs up"] * 1000)
    monkeypatch.setattr(f"{__name__}.time", time)
    source = Stream(device, reconnect_s=60, timeout_s=5, stop=Stop(time))  # type: ignore[arg-type]
    source.read()
    with pytest.raises(SourceLost, match=r"did not come back within 60 s: it device hangs up\."):
        source.read()
    assert len([each for each in device.asked_s if each < 30]) <= 10
    source.close()


def test_a_server_that_gives_one_frame_and_hangs_up_is_asked_less_and_less(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    time = Time(monkeypatch)
    device = Device(*["y"] * 1000)
    asked: list[float] = []
    device.asked_s = asked
    monkeypatch.setattr(f"{__name__}.time", time)  # the device's clock
    source = Stream(device, reconnect_s=60, timeout_s=5, stop=Stop(time))  # type: ignore[arg-type]
    while time.now < 30:
        assert source.read() is not None
    # Pauses of 0, 0.25, 0.5, 1, 2, 4 and from there on 8 s: the first try and eight more begin within 30 s.
    assert len([each for each in asked if each < 30]) == 9
    assert 25 < time.now < 40
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) <= 2 * 30 / 5 + 1  # a line about a loss at most every five seconds, and one that it is back
    assert lines[0] == "'device' broke off; waiting for it, 60 s at most."
    assert lines[1] == "'device' is back."
    assert any("times since the last line" in line for line in lines)
    source.close()


def test_a_connection_that_was_good_for_a_while_is_asked_for_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)
    device = Device("y", "yy", "y")
    monkeypatch.setattr(f"{__name__}.time", time)
    source = Stream(device, reconnect_s=60, timeout_s=5, stop=Stop(time))  # type: ignore[arg-type]
    source.read()
    source.read()
    time.now += 10
    source.read()
    source.read()
    assert device.asked_s == [0, 0, 10]
    source.close()


class Slow:
    """Opens until it is told that nobody waits any more."""

    def __init__(self) -> None:
        self.stop: threading.Event | None = None
        self.source = Endless()

    def __call__(self, stop: threading.Event) -> Endless:
        self.stop = stop
        stop.wait(30)
        return self.source


def test_an_interrupt_ends_the_wait_for_a_silent_server_and_what_opens_later_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = Slow()
    wait = threading.Event.wait

    def interrupted(event: threading.Event, timeout: float | None = None) -> bool:
        if timeout == 0.2 and slow.stop is not None:
            raise KeyboardInterrupt
        return wait(event, timeout)

    monkeypatch.setattr(threading.Event, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Detached.opened("slow", slow)
    deadline = time.monotonic() + 10
    while not slow.source.closed and time.monotonic() < deadline:
        time.sleep(0.01)
    assert slow.source.closed


def test_what_fails_in_opening_is_raised_where_it_is_waited_for() -> None:
    def fail(stop: threading.Event) -> Endless:
        raise InputError("not there.")

    with pytest.raises(InputError, match=r"^not there\.$"):
        Detached.opened("none", fail)
