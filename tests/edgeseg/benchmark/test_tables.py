from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable

from edgeseg.benchmark.compare import compare
from edgeseg.benchmark.result import LatencyResult
from edgeseg.benchmark.tables import COLUMNS, COMPARISON_COLUMNS, comparison_rows, rows, runs_on, to_csv, warning_lines

Make = Callable[..., LatencyResult]


def test_a_row_has_the_statistics(make_result: Make) -> None:
    (row,) = rows([make_result()])
    found = dict(zip(COLUMNS, row, strict=True))
    assert found[">Median ms"] == "16.00"
    assert found[">Min"] == "10.00"
    assert found[">Init"] == "200.0"  # from 100 ms on a hundredth says nothing
    assert (found[">Memory MB"], found[">Size MB"], found[">Threads"]) == ("2.0", "1.50", "2")


def test_what_is_not_known_is_a_dash(make_result: Make) -> None:
    reported = ({"median_ms": 9.0, "mean_ms": 9.5, "std_ms": 1.0, "min_ms": 8.0, "max_ms": 10.0},)
    result = make_result(latencies_s=(), rounds=(), reported=reported, init_s=(), peak_memory_bytes=None, num_threads=0)
    found = dict(zip(COLUMNS, rows([result])[0], strict=True))
    assert [found[name] for name in (">p90", ">p99", ">Init", ">Memory MB")] == ["-"] * 4
    assert (found[">Median ms"], found[">Threads"]) == ("9.00", "default")
    unasked = make_result(num_threads=0)
    assert (
        dict(zip(COMPARISON_COLUMNS, *comparison_rows([compare(unasked, unasked)]), strict=True))[">Threads"]
        == "default"
    )


def test_where_it_really_ran(make_result: Make) -> None:
    assert runs_on(make_result(accelerator="gpu", fully_accelerated=True)) == "gpu"
    assert runs_on(make_result(accelerator="gpu", fully_accelerated=False)) == "gpu (in part)"
    software = make_result(accelerator="gpu", fully_accelerated=True, software_rendering=True)
    assert "software rendering: no GPU's latency" in runs_on(software)


def test_a_comparison_has_its_interval_and_a_verdict(make_result: Make) -> None:
    before = make_result(latencies_s=(0.01, 0.0101) * 10, rounds=(10, 10))
    after = make_result(latencies_s=(0.02, 0.0202) * 10, rounds=(10, 10))
    twice, half, same = comparison_rows([compare(before, after), compare(after, before), compare(before, before)])
    assert dict(zip(COMPARISON_COLUMNS, twice, strict=True))[">Ratio"] == "2.000"
    assert [row[-1] for row in (twice, half)] == ["slower", "faster"]
    assert same[-1] == "no difference that these runs can tell"


def test_csv_quotes_what_needs_it(make_result: Make) -> None:
    text = to_csv(COLUMNS, rows([make_result(artifact='a,"b".tflite')]))
    head, row = csv.reader(io.StringIO(text))
    assert head[0] == "Artifact" and head[4] == "Median ms"
    assert row[0] == 'a,"b".tflite'


def test_warnings_are_one_line_for_each_kind_and_device(make_result: Make) -> None:
    first, second = (
        make_result(artifact=f"{name}.tflite", warnings=(f"wide spread: {name}", "drift")) for name in "ab"
    )
    on_a_pi = make_result(
        warnings=("wide spread: c",), environment=dataclasses.replace(first.environment, device="ssh:pi")
    )
    assert warning_lines([first, second, on_a_pi]) == [
        "local: wide spread in 2 of 2 results, such as: a",
        "local: drift in 2 of 2 results",
        "ssh:pi: wide spread: c",
    ]
    alone = make_result(artifact="c.tflite")
    assert warning_lines([alone, first])[0] == "local: a.tflite on cpu, 2 threads: wide spread: a"
    assert warning_lines([alone]) == []
