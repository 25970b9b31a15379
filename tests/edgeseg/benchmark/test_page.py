from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from edgeseg.benchmark import charts
from edgeseg.benchmark.accuracy import read_mean_iou
from edgeseg.benchmark.compare import compare
from edgeseg.benchmark.page import page
from edgeseg.benchmark.result import LatencyResult, to_json
from edgeseg.cli import main
from edgeseg.errors import InputError
from edgeseg.html import svg

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


def test_a_long_run_is_thinned_and_one_call_does_not_flatten_it(make_result: Make) -> None:
    latencies = [0.01 + 0.0001 * (index % 7) for index in range(20_000)]
    latencies[0] = 1.0
    result = make_result(latencies_s=tuple(latencies), rounds=(20_000,))
    found = charts.calls(result, "name")
    assert found.count("<circle") <= 1500
    assert found.count('class="over"') == 1
    assert "1000" not in re.findall(r">([\d.]+)</text>", found)


def test_results_of_other_orders_get_a_logarithmic_axis(make_result: Make) -> None:
    slow = make_result(latencies_s=(1.0,) * 6)
    _Checked(f"<p>{charts.spans([make_result(), slow], ['fast', 'slow'])}</p>")
    axis = svg.Axis(low=1, high=1000, start=0, end=300, log=True)
    assert axis(10) == pytest.approx(100)
    assert svg.Axis(low=0, high=100, start=0, end=100).ticks(5) == [0, 20, 40, 60, 80, 100]


def test_accuracies_of_all_three_kinds_of_file(tmp_path: Path) -> None:
    kinds = {
        "one": {"artifact": "m.int8.onnx", "mean_iou": 0.5, "num_images": 3},
        "list": [{"artifact": "dir/a.tflite", "mean_iou": 0.4}, {"artifact": "b.tflite", "mean_iou": None}],
        "report": {
            "model": "m",
            "artifacts": [
                {"format": "tflite", "precision": "fp32", "accuracy": None},
                {"format": "tflite", "precision": "int8", "accuracy": {"mean_iou": 0.61, "mean_iou_float": 0.63}},
            ],
        },
    }
    found = {}
    for name, content in kinds.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        found[name] = read_mean_iou(tmp_path / f"{name}.json")
    assert found == {
        "one": {"m.int8.onnx": 0.5},
        "list": {"a.tflite": 0.4},
        "report": {"m.int8.tflite": 0.61, "m.fp32.tflite": 0.63},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("{", "none of the files with a mIoU"),
        ('{"mean_iou": 0.5}', "none of the files with a mIoU"),
        ("3", "none of the files with a mIoU"),
        ('{"artifact": "m", "mean_iou": null}', "has no mIoU in it"),
        ('{"artifact": "m", "mean_iou": 61}', "outside of"),
    ],
)
def test_a_file_without_accuracy(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_mean_iou(tmp_path / "a.json")


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
