from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from edgeseg._internal.json import convert
from edgeseg.benchmark import tables
from edgeseg.benchmark.compare import compare
from edgeseg.benchmark.page import page
from edgeseg.benchmark.result import LatencyResult, Lost, read, read_lost, to_json
from edgeseg.choices import Alike
from edgeseg.errors import InputError

Make = Callable[..., LatencyResult]


def test_a_file_gives_back_what_was_written(tmp_path: Path, make_result: Make) -> None:
    stages = {"preprocess": (0.001,) * 6, "inference": (0.01,) * 6, "postprocess": (0.001,) * 6}
    results = [
        make_result(),
        make_result(scope="end-to-end", stages_s=stages, warnings=("busy",), coverage=(3, 4), fully_accelerated=False),
        make_result(latencies_s=(), rounds=(), reported=({"median_ms": 9.0, "mean_ms": 9.5},)),
    ]
    (tmp_path / "r.json").write_text(to_json(results))
    assert read(tmp_path / "r.json") == results


def test_devices_without_a_result_are_in_the_file(tmp_path: Path, make_result: Make) -> None:
    lost = [Lost("ssh:pi5", "no connection")]
    (tmp_path / "r.json").write_text(to_json([make_result()], lost))
    assert (len(read(tmp_path / "r.json")), read_lost(tmp_path / "r.json")) == (1, lost)
    (tmp_path / "r.json").write_text(to_json([make_result()]))
    assert "lost" not in (tmp_path / "r.json").read_text()
    assert read_lost(tmp_path / "r.json") == []


def test_the_statistics_are_numpys(make_result: Make) -> None:
    result = make_result()
    ms = np.array(result.latencies_s) * 1e3
    summary = result.summary
    assert summary.median_ms == pytest.approx(np.median(ms)) == pytest.approx(result.median_s * 1e3)
    found = [summary.p5_ms, summary.p90_ms, summary.p95_ms, summary.p99_ms]
    assert found == pytest.approx(np.percentile(ms, (5, 90, 95, 99)))
    assert (summary.mean_ms, summary.std_ms) == pytest.approx((ms.mean(), ms.std(ddof=1)))
    assert (summary.min_ms, summary.max_ms) == pytest.approx((10, 28))
    assert (summary.init_ms, summary.first_ms, summary.peak_memory_mb) == pytest.approx((200, 60, 2))
    assert result.spread == pytest.approx((np.percentile(ms, 90) - np.percentile(ms, 10)) / np.median(ms))


def test_the_statistics_in_the_file_are_for_others_and_not_read(tmp_path: Path, make_result: Make) -> None:
    data = json.loads(to_json([make_result()]))
    data["results"][0]["summary"]["median_ms"] = 1.0
    (tmp_path / "r.json").write_text(json.dumps(data))
    (result,) = read(tmp_path / "r.json")
    assert result.summary.median_ms == pytest.approx(16)


def test_a_tool_without_samples_gives_what_it_has(make_result: Make) -> None:
    reports = tuple(
        {"median_ms": median, "mean_ms": 11.0, "std_ms": 1.0, "min_ms": least, "max_ms": most}
        for median, least, most in ((9.0, 8.0, 20.0), (10.0, 7.0, 15.0), (30.0, 9.0, 40.0))
    )
    result = make_result(latencies_s=(), rounds=(), reported=reports, init_s=(), first_s=(), peak_memory_bytes=None)
    summary = result.summary
    assert (summary.median_ms, summary.min_ms, summary.max_ms, summary.p90_ms) == (10, 7, 40, None)
    assert (summary.init_ms, summary.first_ms, summary.peak_memory_mb, result.spread) == (None, None, None, 0)
    assert result.by_round() == [(0.009,), (0.010,), (0.030,)]
    assert result.median_s == pytest.approx(0.010)


def test_by_round_splits_the_calls(make_result: Make) -> None:
    result = make_result(rounds=(2, 4))
    assert result.by_round() == [(0.010, 0.011), (0.012, 0.020, 0.021, 0.028)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latencies_s": (0.01, 0.0), "rounds": (2,)}, "above 0 seconds"),
        ({"latencies_s": (), "rounds": ()}, "above 0 seconds"),
        ({"rounds": (3, 2)}, r"are \(3, 2\), which do not add up to 6"),
        ({"scope": "all"}, "scope must be one of"),
    ],
)
def test_what_cannot_be_is_refused(make_result: Make, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_result(**changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file"),
        ("{", "is no benchmark result of edgeseg"),
        ("[]", "is no benchmark result of edgeseg"),
        ('{"format_version": 1}', "is no benchmark result of edgeseg"),
        ('{"format_version": 2, "results": []}', "has format version 2, this edgeseg reads 1; update edgeseg"),
        (
            '{"format_version": 1, "results": [{"artifact": "m"}]}',
            "r.json' is no benchmark result of edgeseg: 'results\\[0\\].sha256' is missing",
        ),
        ('{"format_version": 1, "results": [3]}', r"'results\[0\]' is 3; accepted: object"),
    ],
)
def test_what_is_no_result_file_says_so(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "r.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "r.json")


def test_a_file_that_is_altered_anywhere_is_shown_or_refused(
    tmp_path: Path, make_result: Make, read_altered: Callable[..., tuple[int, int]]
) -> None:
    stages = {"preprocess": (0.001,) * 2, "inference": (0.01,) * 2, "postprocess": (0.001,) * 2}
    samples = make_result(
        scope="end-to-end",
        latencies_s=(0.01, 0.02),
        rounds=(1, 1),
        stages_s=stages,
        warnings=("busy",),
        coverage=(3, 4),
        input_size=(8, 9),
        fully_accelerated=False,
    )
    reported = make_result(latencies_s=(), rounds=(0, 0), reported=({"median_ms": 9.0, "p90_ms": 9.5},))
    path = tmp_path / "r.json"
    times: dict[object, LatencyResult] = {}

    def show(text: str) -> None:
        path.write_text(text)
        results = read(path)
        tables.rows(results)
        times.update({(one.latencies_s, one.rounds, str(one.reported)): one for one in results})

    for result in (samples, reported):
        accepted, refused = read_altered(show, json.loads(to_json([result])))
        assert refused > accepted > 0
    by_median = sorted(times.values(), key=lambda one: one.median_s)  # a comparison takes a tenth of a second
    comparisons = [compare(samples, one, allow=get_args(Alike)) for one in (*by_median[:2], *by_median[-2:])]
    assert all(np.isfinite(ratio) for row in tables.comparison_rows(comparisons) for ratio in map(float, row[6:8]))
    assert page([one.result for one in comparisons], comparisons, {}).count("<html") == 1
    assert all(json.dumps(one.to_dict(), allow_nan=False) for one in times.values())


def test_recorded_latencies_are_read() -> None:
    paths = (Path(__file__).parents[3] / "benchmarks" / "results").glob("peers-*.json")
    recorded = [entry for path in paths for entry in json.loads(path.read_text())["results"]]
    entries = [entry["latency"] for entry in recorded if "latency" in entry]
    assert len(entries) > 10
    for entry in entries:
        again = json.loads(json.dumps(convert(entry, LatencyResult).to_dict()))
        assert {name: again[name] for name in entry} == entry


def test_a_field_of_a_later_version_is_skipped(tmp_path: Path, make_result: Make) -> None:
    data = json.loads(to_json([make_result()]))
    data["results"][0]["power_w"] = 3
    data["results"][0]["environment"]["room"] = "cold"
    (tmp_path / "r.json").write_text(json.dumps(data))
    assert read(tmp_path / "r.json") == [make_result()]


def test_a_notebook_shows_the_statistics_as_a_table(make_result: Make) -> None:
    table = make_result(warnings=("the machine was <busy>",))._repr_html_()
    assert "<th>median</th><td>16.00 ms</td>" in table
    assert "<td>the machine was &lt;busy&gt;</td>" in table
    only_reported = make_result(latencies_s=(), rounds=(), reported=({"median_ms": 9.0, "mean_ms": 9.5},))
    assert "p99" not in only_reported._repr_html_()
