from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from edgeseg.benchmark.compare import compare
from edgeseg.benchmark.page import page
from edgeseg.benchmark.result import LatencyResult, Lost, to_json
from edgeseg.cli import main

Make = Callable[..., LatencyResult]

_VOID = {"meta", "rect", "line", "circle"}


class _Checked(HTMLParser):
    """Every tag is closed where it should be; keeps the text, the tags and what is loaded."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [str(value) for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in _VOID
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def test_the_numbers_are_there_and_nothing_is_loaded(make_result: Make) -> None:
    before = make_result(latencies_s=(0.01, 0.0101) * 10, rounds=(10, 10), warnings=("it was hot",))
    after = make_result(latencies_s=(0.02, 0.0202) * 10, rounds=(10, 10), artifact="m.int8.tflite")
    pair = compare(before, after)
    text = page([before, after], [pair], {"m.int8.tflite": 0.6134})
    found = _Checked(text)
    assert found.loaded == []
    assert "script" not in found.tags
    assert not re.search(r"url\(|@import|https?:", text)
    assert found.tags.count("svg") == 5  # pairs, all results, accuracy, and each result's calls
    for number in ("10.05", "20.10", "2.000", "0.6134", "slower", "it was hot", "EPYC", "numpy 2.4", "40 °C to 50 °C"):
        assert number in found.text, number
    assert found.tags.count("circle") == 20 + 20 + 1  # every call, and one accuracy


def test_without_pairs_and_without_accuracy(make_result: Make) -> None:
    found = _Checked(page([make_result()], []))
    assert "Before and after" not in found.text
    assert "Accuracy" not in found.text
    assert "Before you believe" not in found.text
    assert found.tags.count("svg") == 2


def test_names_are_escaped(make_result: Make) -> None:
    evil = "<script>alert(1)</script>&\"'.tflite"
    result = make_result(artifact=evil, runtime=evil, warnings=(evil,), accelerator=evil)
    text = page([result], [compare(result, result)], {evil: 0.5})
    found = _Checked(text)
    assert "script" not in found.tags
    assert evil in found.text


def test_a_tool_without_samples_and_a_gpu_that_is_none(make_result: Make) -> None:
    report = {"median_ms": 9.0, "mean_ms": 9.5, "std_ms": 1.0, "min_ms": 8.0, "max_ms": 10.0}
    reported = make_result(latencies_s=(), rounds=(), reported=(report,))
    software = make_result(accelerator="gpu", software_rendering=True)
    found = _Checked(page([reported, software], []))
    assert "statistics and no single calls" in found.text
    assert "this is no GPU's latency" in found.text


def test_the_command_writes_it(make_result: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(tmp_path / name) for name in ("before.json", "after.json")]
    for file in files:
        Path(file).write_text(to_json([make_result()]))
    (tmp_path / "a.json").write_text('{"artifact": "m.fp32.tflite", "mean_iou": 0.25}')
    out = tmp_path / "page.html"
    accuracy = ["--accuracy", str(tmp_path / "a.json")]
    assert main(["compare", *files, "--format", "html", "--output", str(out), *accuracy]) == 0
    assert "0.2500" in _Checked(out.read_text()).text
    assert main(["compare", *files, *accuracy]) == 2
    assert "--accuracy goes with --format html" in capsys.readouterr().err


def test_devices_side_by_side_and_one_that_is_down(
    make_result: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = make_result()
    board = make_result(
        latencies_s=tuple(2 * value for value in here.latencies_s),
        environment=dataclasses.replace(here.environment, device="ssh:pi5"),
    )
    (tmp_path / "fleet.json").write_text(to_json([here, board], [Lost("adb:<1>", "the link was lost.")]))
    out = tmp_path / "page.html"
    assert main(["compare", str(tmp_path / "fleet.json"), "--format", "html", "--output", str(out)]) == 0
    found = _Checked(out.read_text())
    assert "16.00 (1.00x)" in found.text and "32.00 (2.00x)" in found.text
    assert "not measured: the link was lost." in found.text
    assert [word for word in found.words if word == "adb:<1>"]
    assert "Devices" in found.words and "Devices" not in _Checked(page([here], [])).text
