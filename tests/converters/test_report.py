"""``report.content``, ``report.gallery``, ``report.model_explorer`` and ``report.page``: the report says what was
measured: every class, the images that changed most, and nothing from outside the file.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg.benchmark import Environment, LatencyResult
from edgeseg.drawing.palette import drawing_palette
from edgeseg.errors import InputError
from edgeseg.imaging import encode_image
from edgeseg.runtime.null import NullBackend
from edgeseg.segmenter import Segmenter
from edgeseg.spec import ModelSpec
from edgeseg_converters.calibration import CalibrationSet, Stability
from edgeseg_converters.quantization.accuracy import (
    Accuracy,
    Baseline,
    EvaluationImages,
    baseline,
    compare,
)
from edgeseg_converters.quantization.domain_shift import Domain
from edgeseg_converters.quantization.rescue import Cost, Rescue
from edgeseg_converters.recipes import AccuracyGate
from edgeseg_converters.report import Entry, Measured, Report, most_changed, save, to_html
from edgeseg_converters.report.gallery import MAX_SIDE, _bounded, flipped_map
from edgeseg_converters.report.model_explorer import node_data_files
from edgeseg_converters.report.page import TEMPLATE, _image
from edgeseg_converters.tflite.layer_errors import LayerError
from edgeseg_converters.verification.half_arithmetic import HalfVerification

SIZE = (20, 30)
SPEC = ModelSpec(
    name="tiny",
    input_size=SIZE,
    class_names=("background", "<b>", "disc"),
    palette=((0, 0, 0), (200, 40, 0), (0, 80, 120)),
    output_kind="argmax",
)
ACCURACY = Accuracy(
    source="shapes/val",
    num_images=3,
    mean_iou=(0.8, 0.7),
    per_class_iou={"background": (0.9, 0.89), "<b>": (0.7, 0.51), "disc": (float("nan"), float("nan"))},
    agreement=0.93,
    changed=(0.01, 0.15, 0.05),
    passed=False,
    reason="the class '<b>' fell by 19.0 points (0.700 to 0.510); at most 3",
)
VOID = ("meta", "link", "img", "br", "hr", "input", "wbr")


class _Page(HTMLParser):
    """Checks that tags are closed in order, and collects what is there."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def _timed(*latencies_s: float) -> LatencyResult:
    environment = Environment(
        device="local", machine="a CPU", system="Linux x86_64", cpus=2, date="2026-01-31T12:00:00Z"
    )
    return LatencyResult(
        artifact="tiny",
        sha256="0" * 64,
        size_bytes=1,
        accelerator="cpu",
        runtime="ai-edge-litert 2.3.0",
        num_threads=2,
        scope="inference",
        latencies_s=latencies_s,
        rounds=(len(latencies_s),),
        warmup_runs=3,
        peak_memory_bytes=5_000_000,
        environment=environment,
    )


@pytest.fixture
def before(tmp_path: Path) -> Baseline:
    """Three images of which the float model says that all is background."""
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.png").write_bytes(encode_image(rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)))
    images = EvaluationImages(tuple(sorted(tmp_path.glob("*.png"))), None, "some")
    return baseline(_answers(np.zeros(SIZE, np.uint8)), images)


@pytest.fixture
def report(before: Baseline) -> Report:
    now = np.zeros(SIZE, np.uint8)
    now[:5] = 1
    accuracy = dataclasses.replace(ACCURACY, changed=(0.2, 0.25, 0.21))
    layer = LayerError(
        tensor="conv;relu",
        op="CONV_2D",
        range_db=20.5,
        channel_db=18.0,
        model_db=-np.inf,
        low=-1.0,
        high=70.0,
        scale=0.25,
        limits=(-1.0, 62.75),
        clipped=0.125,
    )
    exact = LayerError(
        tensor="kept",
        op="ADD",
        range_db=np.inf,
        channel_db=np.inf,
        model_db=30.0,
        low=0.0,
        high=1.0,
        scale=None,
        limits=None,
        clipped=0.0,
    )
    better = dataclasses.replace(ACCURACY, mean_iou=(0.8, 0.79), passed=True, reason="")
    rescue = Rescue(
        kept=("conv;relu",),
        num_ops=2,
        costs=(Cost("conv;relu", 0.5), Cost("kept", 0.0)),
        tried=((1, better),),
        data=b"",
        accuracy=better,
    )
    gallery = most_changed(before, _answers(now), accuracy)
    return Report(
        model="tiny",
        spec=SPEC,
        entries=(
            Entry(format="tflite", precision="fp32", measured=Measured(4_000_000, _timed(0.010, 0.011, 0.012))),
            Entry(
                format="tflite",
                precision="int8",
                measured=Measured(1_100_000, _timed(0.013, 0.014, 0.016), accuracy),
                rescue=rescue,
                without_rescue=Measured(1_000_000, _timed(0.012, 0.013, 0.014), ACCURACY),
                layers=(layer, exact),
                gallery=gallery,
                same_indices=(0.98, 0.81),
            ),
        ),
        calibration=CalibrationSet(
            paths=(Path("shapes/train/images/0.png"),), source="shapes/train", available=10, seed=0
        ),
        stability=Stability(0.2, ("conv;relu", 0.4), False),
        domain=Domain(3.5, 40),
        tools={"tensorflow": "2.21.0"},
    )


def test_the_template_is_package_data() -> None:
    assert resources.files("edgeseg_converters.report").joinpath(TEMPLATE).is_file()


def test_the_page_is_whole_and_needs_nothing_else(report: Report) -> None:
    html = to_html(report)
    page = _Page(html)
    assert page.open == []
    assert "script" not in page.tags
    assert len(page.sources) == 4 * 3
    assert all(source.startswith("data:image/") for source in page.sources)
    assert not re.search(r"https?://|@import|url\(", html)


def test_every_class_is_there_and_escaped(report: Report) -> None:
    html = to_html(report)
    page = _Page(html)
    for name in SPEC.class_names:
        assert name in page.text
    assert "'<b>'" not in html
    assert "</span><b>" not in html
    assert "fell by 19.0 points" in page.text
    table = html[html.index('class="classes"') : html.index("</table>", html.index('class="classes"'))]
    # What fell most is first; a class that does not occur is last and has no number.
    assert re.findall(r"</span>([^<]+)", table) == ["&lt;b&gt;", "background", "disc"]
    assert "nan" not in page.text.lower()
    assert re.search(r'class="bad">\N{MINUS SIGN}19\.0', table)


def test_the_headline_says_who_failed_and_which_class_fell(report: Report) -> None:
    assert not report.passed
    assert report.headline == "int8 tflite failed: the class '<b>' fell by 19.0 points (0.700 to 0.510); at most 3."


def test_a_report_that_passed_says_by_how_much(report: Report) -> None:
    good = dataclasses.replace(ACCURACY, passed=True, reason="")
    entry = dataclasses.replace(report.entries[1], measured=Measured(1, accuracy=good))
    passed = dataclasses.replace(report, entries=(entry,))
    assert passed.passed
    assert passed.headline == "int8 tflite passed: mIoU -10.0 points, the worst class '<b>' -19.0."
    unlabeled = dataclasses.replace(good, mean_iou=None, per_class_iou={})
    entry = dataclasses.replace(entry, measured=Measured(1, accuracy=unlabeled))
    passed = dataclasses.replace(report, entries=(entry,))
    assert passed.headline == "int8 tflite passed: 93.00% of the pixels kept their class."
    assert any("no labels" in remark for remark in passed.remarks())
    assert 'class="classes"' not in to_html(passed)


def test_the_arithmetic_of_an_fp16_file_is_a_remark(report: Report) -> None:
    written = HalfVerification(written=True, required=False, argmax_agreement=0.998)
    for half, remark in (
        (written, "fp16 tflite computes in half precision on CPUs that have it: 99.800% of the pixels"),
        (dataclasses.replace(written, written=False, reason="x"), "every CPU, without half arithmetic, as x."),
    ):
        entry = Entry(format="tflite", precision="fp16", measured=Measured(1), half=half)
        with_half = dataclasses.replace(report, entries=(entry,))
        assert remark in _Page(to_html(with_half)).text
        assert with_half.to_dict()["artifacts"][0]["half_arithmetic"]["written"] is half.written
        assert entry.passed
    refused = dataclasses.replace(written, written=False, required=True, reason="x")
    entry = dataclasses.replace(entry, half=refused)
    assert (entry.passed, entry.verdict) == (False, "failed: no half arithmetic, as x")


def test_a_file_that_was_held_against_nothing_has_not_passed(report: Report) -> None:
    alone = dataclasses.replace(report, entries=report.entries[:1])
    assert alone.entries[0].verdict == "not checked against any gate"
    assert alone.headline == "No artifact was compared with the model."
    assert ">passed<" not in to_html(alone)


def test_what_is_not_faster_and_what_is_not_stable_is_said(report: Report) -> None:
    remarks = " ".join(report.remarks())
    assert "int8 tflite is not faster than fp32 tflite here: 14.00 ms against 11.00 ms, slower than float" in remarks
    assert "The calibration images were too few" in remarks
    assert "look unlike those that the model was trained on" in remarks
    assert "the same place as float in 98.0%, 81.0% of the windows" in remarks
    assert all(remark in _Page(to_html(report)).text for remark in report.remarks())
    # Twice as fast, and steady.
    fast = dataclasses.replace(report.entries[1], measured=Measured(1, _timed(*(0.005,) * 5), ACCURACY))
    assert "faster" not in " ".join(dataclasses.replace(report, entries=(report.entries[0], fast)).remarks())


def test_the_image_that_changed_most_comes_first(before: Baseline) -> None:
    now = np.zeros(SIZE, np.uint8)
    now[:5, :10] = 2
    now[7, 0] = 1
    names = [change.file for change in most_changed(before, _answers(now), _accuracy((0.1, 0.9, 0.3)), count=2)]
    assert names == ["b.png", "c.png"]
    (first,) = most_changed(before, _answers(now), _accuracy((0.0, 0.9, 0.0)))  # what did not change is no change
    assert first.changed == pytest.approx(51 / 600)
    assert [(flip.before, flip.after, flip.share) for flip in first.flips] == [
        ("background", "disc", pytest.approx(50 / 600)),
        ("background", "<b>", pytest.approx(1 / 600)),
    ]
    assert np.array_equal(first.flipped[..., 3] == 255, now != 0)


def test_the_shares_are_those_that_the_gate_measured(before: Baseline) -> None:
    now = np.zeros(SIZE, np.uint8)
    now[:, 3] = 1
    accuracy = compare(before, _answers(now), AccuracyGate())
    found = most_changed(before, _answers(now), accuracy)
    assert [change.changed for change in found] == pytest.approx(list(accuracy.changed))


def test_the_map_has_exactly_the_pixels_that_flipped_in_the_new_color() -> None:
    rng = np.random.default_rng(1)
    old, new = rng.integers(0, 3, (2, 40, 50), dtype=np.uint8)
    drawn = flipped_map(old, new, SPEC)
    assert np.array_equal(drawn[..., 3], np.where(old != new, 255, 0))
    assert np.array_equal(drawn[old != new][:, :3], np.array(drawing_palette(SPEC.palette))[new[old != new]])
    assert not drawn[old == new].any()
    # And it survives being put into the page.
    (encoded,) = re.findall("base64,(.*)", _image(drawn))
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(encoded), np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(decoded[..., [2, 1, 0, 3]], drawn)


def test_images_are_bounded_and_a_lone_pixel_stays_and_keeps_its_color() -> None:
    image = np.zeros((2 * MAX_SIDE, 3 * MAX_SIDE, 4), np.uint8)
    image[500, 700] = 200, 40, 0, 255
    small = _bounded(image)
    assert small.shape == (MAX_SIDE * 2 // 3, MAX_SIDE, 4)
    seen = small[small[..., 3] > 0]
    # One of nine pixels: a ninth of the opacity, and the color not darkened by the transparent black around it.
    assert seen.tolist() == [[200, 40, 0, 28]]


def test_the_rescue_says_what_was_kept_and_what_it_cost(report: Report) -> None:
    text = " ".join(_Page(to_html(report)).text.split())
    assert "1 of 2 ops stayed in float" in text
    assert "from 1.00 MB to 1.10 MB, a call from 13.00 ms to 14.00 ms" in text
    assert "and mIoU against float from \N{MINUS SIGN}10.0 to \N{MINUS SIGN}1.0 points" in text


def test_the_json_holds_all_but_the_images(report: Report, tmp_path: Path) -> None:
    page, data = save(report, tmp_path / "tiny.report.html")
    assert (page.name, data.name) == ("tiny.report.html", "tiny.report.json")
    assert page.read_text(encoding="utf-8") == to_html(report)
    content = json.loads(data.read_text(encoding="utf-8"))
    assert content == report.to_dict()
    assert content["format_version"] == 1
    assert ModelSpec.from_json(json.dumps(content["spec"])) == SPEC
    first, second = content["artifacts"]
    assert (first["accuracy"], first["latency"]["summary"]["median_ms"]) == (None, pytest.approx(11))
    assert second["accuracy"]["per_class_iou"]["disc"] == {"float": None, "quantized": None}
    assert second["layers"][0]["range_db"] == 20.5
    assert second["layers"][1]["range_db"] is None  # infinity is no JSON
    assert [change["file"] for change in second["gallery"]] == ["b.png", "c.png", "a.png"]
    assert second["rescue"]["kept"] == ["conv;relu"]
    assert str(tmp_path) not in data.read_text(encoding="utf-8")


def test_the_errors_of_each_op_are_files_for_model_explorer(report: Report, tmp_path: Path) -> None:
    save(report, tmp_path / "tiny.report.html")
    errors = json.loads((tmp_path / "tiny.int8.tflite.errors.node-data.json").read_text(encoding="utf-8"))
    # 30 dB of signal over noise are -30 of noise over signal; what has no ratio has no value.
    assert errors["results"] == {"kept": {"value": -30.0}}
    assert errors["name"] == "noise of int8 against the signal, dB"
    costs = json.loads((tmp_path / "tiny.int8.tflite.costs.node-data.json").read_text(encoding="utf-8"))
    assert costs["results"] == {"conv;relu": {"value": 0.5}, "kept": {"value": 0.0}}
    assert len(list(tmp_path.glob("*.node-data.json"))) == 2  # the float file has no errors
    with pytest.raises(InputError, match="exists"):
        save(report, tmp_path / "other.html")


def test_without_a_rescue_and_of_onnx_there_are_no_costs(report: Report) -> None:
    plain, integer = report.entries
    unrescued = dataclasses.replace(report, entries=(plain, dataclasses.replace(integer, rescue=None)))
    assert [name for name, _ in node_data_files(unrescued)] == ["tiny.int8.tflite.errors.node-data.json"]
    onnx = dataclasses.replace(report, entries=(dataclasses.replace(integer, format="onnx", layers=None),))
    assert list(node_data_files(onnx)) == []


def test_nothing_is_overwritten_unasked(report: Report, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("{}")
    with pytest.raises(InputError, match="exists"):
        save(report, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()
    save(report, tmp_path / "r.html", overwrite=True)
    with pytest.raises(InputError, match=r"\.html"):
        save(report, tmp_path / "r.json")


def _answers(class_map: NDArray[np.uint8]) -> Segmenter:
    return Segmenter(NullBackend(SPEC, class_map[None]))


def _accuracy(changed: tuple[float, ...]) -> Accuracy:
    return dataclasses.replace(ACCURACY, changed=changed)
