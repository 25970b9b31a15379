from __future__ import annotations

import itertools
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeseg.camera import Camera, Trace
from edgeseg.camera import trace as camera_trace
from edgeseg.camera.display import Display
from edgeseg.camera.stats import STAGES
from edgeseg.errors import InputError
from edgeseg.runtime.null import NullBackend
from edgeseg.segmenter import Segmenter
from edgeseg.sources import Source, open_source
from edgeseg.spec import ModelSpec


@pytest.fixture
def segmenter(tiny_spec: ModelSpec) -> Segmenter:
    answer = np.full((1, *tiny_spec.input_size), 2, np.uint8)
    return Segmenter(NullBackend(tiny_spec.replace(output_kind="argmax"), answer))


@pytest.fixture
def images(tmp_path: Path) -> Callable[[int], Source]:
    def make(count: int) -> Source:
        folder = tmp_path / "images"
        folder.mkdir()
        for index in range(count):
            cv2.imwrite(str(folder / f"{index:03d}.png"), np.zeros((64, 96, 3), np.uint8))
        return open_source(str(folder))

    return make


def _read(path: Path) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = json.loads(path.read_text())
    return events


def _stages(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["ph"] == "X"]


@pytest.fixture
def traced(segmenter: Segmenter, images: Callable[[int], Source], tmp_path: Path) -> Iterator[tuple[Path, Camera]]:
    path = tmp_path / "new" / "trace.json"
    with Trace(path) as trace, Camera(segmenter, images(12), smooth=2, trace=trace) as camera:
        Display(camera=camera, spec=segmenter.spec).run()
    yield path, camera


def test_every_stage_of_every_frame_is_in_it_in_order(traced: tuple[Path, Camera]) -> None:
    stages = _stages(_read(traced[0]))
    for stage in camera_trace.TRACKS:
        frames = [event["args"]["frame"] for event in stages if event["name"] == stage]
        assert frames == list(range(12)), stage
    # A frame goes from stage to stage: none begins before the one before has ended.
    for frame in range(12):
        way = [event for event in stages if event["args"]["frame"] == frame]
        by_name = [next(event for event in way if event["name"] == stage) for stage in camera_trace.TRACKS]
        for before, after in itertools.pairwise(by_name):
            assert before["ts"] + before["dur"] <= after["ts"] + 1e-3  # microseconds are written to the nanosecond


def test_the_stages_of_a_track_do_not_overlap(traced: tuple[Path, Camera]) -> None:
    events = _read(traced[0])
    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert list(names.values()) == ["capture", "preprocess", "inference", "display"]
    for track in names:
        spans = sorted((e["ts"], e["ts"] + e["dur"]) for e in _stages(events) if e["tid"] == track)
        assert spans
        assert all(end <= begin + 1e-3 for (_, end), (begin, _) in itertools.pairwise(spans))
    assert {event["pid"] for event in events} == {1}


def test_the_times_are_those_of_the_statistics(traced: tuple[Path, Camera]) -> None:
    path, camera = traced
    measured = camera.stats.to_dict()["stages_ms"]
    for stage in set(STAGES) - {"age"}:
        sum_us = sum(event["dur"] for event in _stages(_read(path)) if event["name"] == stage)
        # The statistics have means rounded to a microsecond, of 12 frames.
        assert sum_us == pytest.approx(measured[stage]["mean"] * 12e3, abs=12), stage


def test_dropped_frames_are_instants(tmp_path: Path, segmenter: Segmenter, images: Callable[[int], Source]) -> None:
    path = tmp_path / "trace.json"
    with Trace(path) as trace, Camera(segmenter, images(1), trace=trace) as camera:
        camera.stats.add_dropped(3, 2)
        camera.stats.add_dropped(9, 1)
        list(camera)
    instants = [event for event in _read(path) if event["ph"] == "i"]
    assert [(event["name"], event["args"]) for event in instants] == [
        ("dropped", {"frame": 3, "count": 2}),
        ("dropped", {"frame": 9, "count": 1}),
    ]
    assert sum(event["args"]["count"] for event in instants) == camera.stats.dropped


def test_what_was_killed_ends_with_a_whole_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_trace, "_WAITING", 4)
    path = tmp_path / "trace.json"
    trace = Trace(path)
    sizes = set()
    for frame in range(10):
        trace.stage("render", frame, frame + 0.5, frame)
        if not path.exists():
            continue
        text = path.read_text()
        sizes.add(len(text))
        events = json.loads(text + "]")  # the bracket that the format lets a writer omit
        assert [event["args"]["frame"] for event in _stages(events)] == list(range((frame + 1) // 4 * 4))
    assert len(sizes) == 2
    trace.close()
    assert len(_stages(_read(path))) == 10


def test_memory_holds_a_second_of_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(np.arange(0.0, 1e3, 0.4))
    monkeypatch.setattr(camera_trace.time, "perf_counter", lambda: float(next(now)))
    trace = Trace(tmp_path / "trace.json")
    waiting = []
    for frame in range(20):
        trace.stage("render", 0.0, 0.1, frame)
        waiting.append(len(trace._waiting))
    assert max(waiting) == 2
    monkeypatch.undo()
    trace.close()
    assert len(_stages(_read(tmp_path / "trace.json"))) == 20


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_text("mine")
    with pytest.raises(InputError, match="exists; give `overwrite=True`"):
        Trace(path)
    with Trace(path, overwrite=True):
        assert path.read_text() == "mine"
    assert path.read_text() == "mine"  # no frame came
    with Trace(path, overwrite=True) as trace:
        trace.stage("render", 0.0, 0.1, 0)
    assert len(_stages(_read(path))) == 1


def test_without_a_frame_there_is_no_file(tmp_path: Path) -> None:
    Trace(tmp_path / "trace.json").close()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_ends_the_trace_and_not_the_camera(
    tmp_path: Path,
    segmenter: Segmenter,
    images: Callable[[int], Source],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(file: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(camera_trace, "_WAITING", 1)
    monkeypatch.setattr(os, "write", full)
    with (
        caplog.at_level(logging.WARNING),
        Trace(tmp_path / "trace.json") as trace,
        Camera(segmenter, images(5), trace=trace) as camera,
    ):
        assert len(list(camera)) == 5
    (record,) = (record for record in caplog.records if record.name == camera_trace.__name__)
    assert record.getMessage().endswith("trace.json' cannot be written: No space left on device")


def test_a_file_that_came_meanwhile_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "trace.json"
    with caplog.at_level(logging.WARNING), Trace(path) as trace:
        trace.stage("render", 0.0, 0.1, 0)
        path.write_text("mine")
    assert path.read_text() == "mine"
    assert "the trace ends" in caplog.text


def test_a_camera_without_a_trace_writes_none(
    segmenter: Segmenter, images: Callable[[int], Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(Trace, "_add", never)
    with Camera(segmenter, images(3)) as camera:
        assert len(list(camera)) == 3
