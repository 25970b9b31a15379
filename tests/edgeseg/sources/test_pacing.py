from __future__ import annotations

from types import SimpleNamespace

import pytest

from edgeseg.sources import pacing
from edgeseg.sources.pacing import Clock, SenderClock

FRAME_S = 1 / 8  # exact in binary, so that the times below are compared without a tolerance


class Time:
    """A time that passes only when it is told to, or when the clock waits."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(pacing, "time", time)
    return time


def clock(time: Time) -> Clock:
    return Clock(SimpleNamespace(wait=time.wait))  # type: ignore[arg-type]


def test_frames_in_time_are_due_one_after_the_other(time: Time) -> None:
    paced = clock(time)
    assert [paced.wait(FRAME_S) for _ in range(4)] == [100, 100.125, 100.25, 100.375]
    assert time.now == 100.375


def test_a_late_reader_gets_the_newest_frame_that_is_due_and_then_is_in_time_again(time: Time) -> None:
    paced = clock(time)
    paced.wait(FRAME_S)
    time.now += 3.5 * FRAME_S
    assert [paced.wait(FRAME_S) for _ in range(4)] == [None, None, 100.375, 100.5]
    assert time.now == 100.5


def test_a_decoder_slower_than_the_clock_still_gives_frames(time: Time) -> None:
    paced = clock(time)
    due = []
    for _ in range(30):
        time.now += 1.25 * FRAME_S  # each frame takes so long to decode
        due.append(paced.wait(FRAME_S))
    assert due.count(None) < 10
    assert due[-1] is None or time.now - due[-1] < 2 * FRAME_S  # and does not fall behind


def test_a_decoder_a_little_faster_than_the_clock_does_not_pass_over_frames_for_ever(time: Time) -> None:
    paced = clock(time)
    paced.wait(FRAME_S)
    time.now += 60
    due = []
    for _ in range(10):
        time.now += 0.9 * FRAME_S
        due.append(paced.wait(FRAME_S))
    assert due.count(None) == 1


def test_a_sender_is_believed_where_its_first_time_stamp_can_be_right(
    time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    clock = SenderClock("camera")
    assert [clock.captured_s(age_s) for age_s in (0.5, -0.5, 11.0, 2.0)] == [99.5, 100.0, 100.0, 98.0]
    assert not caplog.records
    assert [SenderClock("door").captured_s(age_s) for age_s in (-0.5, 11.0)] == [100.0, 100.0]
    wrong = SenderClock("gate")
    assert [wrong.captured_s(age_s) for age_s in (3600.0, 0.5)] == [100.0, 100.0]
    assert [record.getMessage().split(":")[0] for record in caplog.records[-1:]] == [
        "'gate' says when its frames were captured, but by a clock that is 3600.0 s off"
    ]
