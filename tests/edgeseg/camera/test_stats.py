from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from edgeseg.camera import stats as camera_stats
from edgeseg.camera.stats import STAGES, CameraStats


def test_an_empty_loop_still_has_a_result() -> None:
    result = CameraStats().to_dict()
    assert result["frames"] == {"captured": 0, "shown": 0, "dropped": 0}
    assert result["fps"] == 0.0
    assert result["age_ms"] == {}
    assert set(result["stages_ms"]) == set(STAGES) - {"age"}
    json.dumps(result)


def test_percentiles_are_numpys_in_milliseconds() -> None:
    stats = CameraStats()
    for value in range(1, 102):
        stats.add("render", value / 1e3)
    summary = stats.to_dict()["stages_ms"]["render"]
    assert (summary["count"], summary["min"], summary["max"]) == (101, 1.0, 101.0)
    assert (summary["median"], summary["p90"], summary["p99"]) == (51.0, 91.0, 100.0)
    assert stats.latest_ms("render", last=3) == pytest.approx(100.0)


def test_frames_a_second_count_the_gaps_not_the_stamps(monkeypatch: pytest.MonkeyPatch) -> None:
    stats = CameraStats()
    now = iter([10.0, 10.1, 10.2, 10.3, 10.4])
    monkeypatch.setattr(camera_stats.time, "perf_counter", lambda: next(now))
    for _ in range(5):
        stats.frame_shown(captured_s=9.9)
    assert stats.fps() == pytest.approx(10.0)  # five stamps bound four frames of 0.1 s
    assert stats.to_dict()["age_ms"]["max"] == pytest.approx(500.0)


def test_a_block_is_timed_and_one_that_fails_is_not() -> None:
    stats = CameraStats()
    with stats.timed("output", 0):
        time.sleep(0.01)
    with pytest.raises(ValueError, match="no"), stats.timed("output", 0):
        raise ValueError("no")
    summary = stats.to_dict()["stages_ms"]["output"]
    assert summary["count"] == 1
    assert summary["min"] >= 10.0


def test_only_the_newest_samples_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_stats, "WINDOW", 10)
    stats = CameraStats()
    for value in range(1000):
        stats.add("render", float(value))
    assert stats.to_dict()["stages_ms"]["render"]["min"] == 990e3


def test_resident_memory_grows_with_what_is_held() -> None:
    # In a process of its own: this one may have 100 MB at hand that TensorFlow gave back to the allocator.
    code = (
        "from edgeseg.camera.stats import resident_mb\n"
        "before = resident_mb()\n"
        "held = bytearray(b'x') * 100_000_000\n"
        "print(resident_mb() - before, len(held))"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert 95 < float(printed.split()[0]) < 110  # 100 MB and the pages that bound them
