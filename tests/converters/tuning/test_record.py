"""``record``, ``result``, ``charts`` and ``page``: what a tuning keeps, and how it is shown."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edgeseg.benchmark.result import Environment, LatencyResult
from edgeseg.errors import InputError
from edgeseg.proof import Agreement
from edgeseg_converters.tuning.candidates import Candidate, Place, Variant
from edgeseg_converters.tuning.charts import trade_off
from edgeseg_converters.tuning.page import page
from edgeseg_converters.tuning.record import (
    NAME,
    Answer,
    Artifact,
    FileAccuracy,
    Measured,
    Record,
    changed,
    read_record,
)
from edgeseg_converters.tuning.result import COLUMNS, Point, TuneResult, front

FP16, INT8, DYNAMIC = (Variant("tflite", precision, "generic") for precision in ("fp16", "int8", "dynamic"))
CPU, GPU = Place("litert", "cpu"), Place("litert-compiled", "gpu")

RIGHT = Agreement(images=1, pixels=9, first=1.0, worst=1.0, last=1.0, passed=True)


def _latency(variant: Variant, ms: float, memory: int | None = 5_000_000) -> LatencyResult:
    return LatencyResult(
        artifact=variant.recipe.file_name("<unet>"),
        sha256="a" * 64,
        size_bytes=2_000_000,
        accelerator="cpu",
        runtime="runtime 1",
        num_threads=1,
        scope="inference",
        latencies_s=(ms / 1e3,) * 4,
        rounds=(2, 2),
        warmup_runs=1,
        peak_memory_bytes=memory,
        environment=Environment(device="local", machine="EPYC", system="Linux", cpus=2),
    )


def _artifact(variant: Variant, size: int, mean_iou: float | None, failure: str = "") -> Artifact:
    accuracy = FileAccuracy(num_images=4, agreement=0.99, mean_iou=mean_iou, mean_iou_float=mean_iou and 0.7)
    return Artifact(
        variant=variant, sha256="a" * 64, size_bytes=size, verified=0.999, accuracy=accuracy, failure=failure
    )


def _record(*, labeled: bool = True) -> Record:
    one, two = Candidate(INT8, CPU, 1), Candidate(FP16, CPU, 2)
    return Record(
        key={"model": "a"},
        model="<unet>",
        device="ssh:pi5",
        date="2026-01-31T12:00:00Z",
        num_threads=(1, 2),
        artifacts=(
            _artifact(INT8, 1_000_000, 0.69 if labeled else None),
            _artifact(FP16, 2_000_000, 0.7 if labeled else None),
            _artifact(DYNAMIC, 1_100_000, 0.5 if labeled else None, "mIoU fell by 20.0 points"),
            _artifact(Variant("tflite", "fp32", "generic"), 4_000_000, 0.7 if labeled else None),
        ),
        answers=(
            Answer(variant=INT8, place=GPU, failure="there is no GPU"),
            Answer(variant=FP16, place=GPU, failure="there is no GPU"),
            Answer(variant=INT8, place=CPU, runtime="runtime 1", agreement=RIGHT),
            Answer(variant=FP16, place=CPU, runtime="runtime 1", agreement=RIGHT),
        ),
        turns=2,
        measured=(
            Measured(candidate=two, result=_latency(FP16, 8.0), turns=2, lost="2.00 times the fastest"),
            Measured(candidate=one, result=_latency(INT8, 4.0, None), turns=2, tied=True),
        ),
        chosen=one,
        unmade=(Variant("onnx", "int8", "generic"),),
    )


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None
    record = _record()
    record.save(tmp_path)
    assert read_record(tmp_path) == record
    record.save(tmp_path)  # over the one that is there
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"format_version": 2}, r"has format version 2, this edgeseg reads 1; update edgeseg\."),
        ({"artifacts": [{}]}, r"is no record of edgeseg tune: 'artifacts\[0\]\.variant' is missing"),
        ({"turns": -1}, r"'turns' is -1; accepted: integer >= 0"),
        ({"device": "a\x1b[2J"}, r"'device' is 'a\\x1b\[2J'; accepted: text without"),
    ],
)
def test_a_record_that_is_none_is_refused(tmp_path: Path, change: dict[str, object], text: str) -> None:
    _record().save(tmp_path)
    path = tmp_path / NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=text):
        read_record(tmp_path)


def test_a_record_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"tune\.json' is no record of edgeseg tune"):
        read_record(tmp_path)


def test_the_parts_in_which_keys_differ() -> None:
    assert changed({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}) == ["b", "c"]
    assert changed({"a": "1"}, {"a": "1"}) == []


def test_each_row_says_what_became_of_a_candidate(tmp_path: Path) -> None:
    result = TuneResult(tmp_path, _record())
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in result.rows()]
    assert [(row["File"], row["Outcome"]) for row in rows] == [
        ("<unet>.int8.tflite", "chosen"),
        ("<unet>.fp16.tflite", "2.00 times the fastest"),
        ("<unet>.dynamic.tflite", "mIoU fell by 20.0 points"),
        ("<unet>.fp32.tflite", "not asked: the budget ended"),
        ("<unet>.int8.onnx", "not made: the budget ended"),
    ]
    first = rows[0]
    assert (first[">Median ms"], first[">mIoU"], first[">Size MB"], first[">Memory MB"]) == (
        "4.00",
        "0.6900",
        "1.00",
        "-",
    )
    assert result.absent_rows() == [["litert-compiled gpu", "there is no GPU"]]  # once, for all files
    assert result.sentence == (
        "int8.tflite on litert cpu, 1 thread takes 4.00 ms on ssh:pi5, with a mIoU of 0.6900 (float model 0.7000) and "
        "1.00 MB."
    )
    assert "the same command continues where it stopped" in result.remarks[0]
    assert json.loads(json.dumps(result.to_dict()))["chosen"]["num_threads"] == 1


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (CPU, "--backend litert --num-threads 1"),
        (GPU, "--backend litert-compiled --accelerator gpu"),
        (Place("onnx", "cuda"), "--backend onnx --provider cuda"),
    ],
)
def test_the_command_names_the_device_and_the_accelerator(tmp_path: Path, place: Place, words: str) -> None:
    record = dataclasses.replace(_record(), chosen=Candidate(INT8, place, 1 if place == CPU else None))
    file = f"'{tmp_path}/<unet>.int8.tflite'"
    assert TuneResult(tmp_path, record).command == f"edgeseg benchmark {file} --device ssh:pi5 {words}"
    here = dataclasses.replace(record, device="local")
    assert TuneResult(tmp_path, here).command == f"edgeseg predict {file} IMAGE {words}"


def test_an_accelerator_that_fails_one_file_is_a_row(tmp_path: Path) -> None:
    record = _record()
    taken = dataclasses.replace(record.answers[0], failure="", runtime="GPU", agreement=None)
    wrong = dataclasses.replace(record.answers[1], failure="12.000% of the decided pixels have Keras' class")
    record = dataclasses.replace(record, answers=(dataclasses.replace(taken, agreement=RIGHT), wrong))
    rows = TuneResult(tmp_path, record).rows()
    assert ["<unet>.fp16.tflite", "-", "litert-compiled gpu"] in [row[:3] for row in rows]
    assert TuneResult(tmp_path, record).absent_rows() == []


def test_the_front_has_what_no_other_beats_in_everything() -> None:
    points = [
        Point(ms=4, size_mb=2, quality=0.7, memory_mb=9),
        Point(ms=5, size_mb=1, quality=0.6, memory_mb=9),
        Point(ms=5, size_mb=2, quality=0.6, memory_mb=9),  # the first is faster and better
        Point(ms=4, size_mb=2, quality=0.7, memory_mb=8),
        Point(ms=4, size_mb=2, quality=0.7, memory_mb=8),  # none of two that are alike beats the other
    ]
    assert front(points) == [1, 3, 4]
    assert front([]) == []


def test_the_chart_joins_what_is_better_than_all_that_is_faster() -> None:
    points = [Point(ms=ms, size_mb=1, quality=q, memory_mb=0) for ms, q in ((4, 0.6), (5, 0.5), (6, 0.7), (8, 0.65))]
    chart = trade_off(points, ["<a>", "b", "c", "d"], 2, lambda point: point.quality, more_is_better=True, title="mIoU")
    root = ElementTree.fromstring(chart)
    dots = {dot[0].text: (dot.get("class"), dot.get("cx"), dot.get("cy")) for dot in root.iter("circle")}
    assert [dots[name][0] for name in ("<a>", "b", "c", "d")] == ["dot", "dot", "blob", "dot"]
    (line,) = root.iter("polyline")
    assert line.get("points") == " ".join(f"{dots[name][1]},{dots[name][2]}" for name in ("<a>", "c"))
    assert float(dots["c"][2] or 0) < float(dots["<a>"][2] or 0)  # more is higher up


@pytest.mark.parametrize("labeled", [True, False])
def test_the_page_needs_nothing_else_and_escapes_names(tmp_path: Path, labeled: bool) -> None:
    text = page(TuneResult(tmp_path, _record(labeled=labeled)))
    assert "<unet>" not in text and "&lt;unet&gt;" in text
    assert not re.search(r"(src|href)=|<script", text)
    assert ("mIoU over latency" in text) == labeled
    assert text.count("<svg") == 3  # one candidate of two says its memory
    assert "What the device does not have" in text


def test_a_file_that_fails_its_verification_is_named() -> None:
    failed = [
        Artifact(variant=variant, sha256="a" * 64, verified=verified, failure=f"failed its verification: {verified}")
        for variant, verified in ((FP16, 0.5), (INT8, 0.6))
    ]
    record = dataclasses.replace(_record(), artifacts=tuple(failed), answers=(), measured=(), chosen=None)
    result = TuneResult(Path("tuned"), record)
    assert (result.chosen, result.path, result.command) == (None, None, "")
    assert result.failure == (
        "no file passes its verification; the best is int8.tflite: it failed its verification: 0.6"
    )


def test_the_page_says_why_nothing_is_chosen(tmp_path: Path) -> None:
    record = dataclasses.replace(
        _record(), artifacts=_record().artifacts[2:3], answers=(), measured=(), chosen=None, complete=True
    )
    result = TuneResult(tmp_path, record)
    assert result.failure == "no file passes its gate; the best is dynamic.tflite: mIoU fell by 20.0 points"
    text = page(result)
    assert "No file passes its gate; the best is dynamic.tflite" in text
    assert "<svg" not in text
