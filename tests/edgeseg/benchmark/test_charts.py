from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable

from edgeseg.benchmark import charts
from edgeseg.benchmark.compare import compare
from edgeseg.benchmark.result import LatencyResult

Make = Callable[..., LatencyResult]


def test_a_label_says_which_result_it_is(make_result: Make) -> None:
    result = make_result(artifact="m.int8.tflite", num_threads=4, scope="end-to-end")
    assert charts.label(result) == "m.int8.tflite, cpu, 4 threads, end-to-end, local"
    assert charts.label(make_result(artifact="m.tflite", num_threads=None)) == "m.tflite, cpu, local"


def test_a_long_run_is_thinned_and_one_call_does_not_flatten_it(make_result: Make) -> None:
    latencies = [0.01 + 0.0001 * (index % 7) for index in range(20_000)]
    latencies[0] = 1.0
    result = make_result(latencies_s=tuple(latencies), rounds=(20_000,))
    found = charts.calls(result, "name")
    assert found.count("<circle") <= 1500
    assert found.count('class="over"') == 1
    assert "1000" not in re.findall(r">([\d.]+)</text>", found)


def test_results_of_different_orders_share_a_logarithmic_axis(make_result: Make) -> None:
    slow = make_result(latencies_s=(1.0,) * 6)
    drawn = ET.fromstring(charts.spans([make_result(), slow], ["fast", "slow"]))
    words = [element.text for element in drawn.iter("text")]
    assert {"fast", "slow", "ms"} <= set(words)
    assert [word for word in words if word and word.isdigit()][-1] == "1000"


def test_a_pair_is_drawn_in_the_color_of_its_verdict(make_result: Make) -> None:
    before = make_result(latencies_s=(0.01, 0.0101) * 10, rounds=(10, 10))
    after = make_result(latencies_s=(0.02, 0.0202) * 10, rounds=(10, 10))
    kinds = {
        kind: [element.get("class") for element in ET.fromstring(charts.forest([compare(*pair)])).iter("rect")]
        for kind, pair in {"bad": (before, after), "good": (after, before), "soft": (before, before)}.items()
    }
    # The band of noise, then the ratio of the fastest and the one of the medians.
    assert kinds == {kind: ["track", kind, kind] for kind in ("bad", "good", "soft")}


def test_a_circle_for_each_result_whose_accuracy_is_known(make_result: Make) -> None:
    results = [make_result(artifact=name, size_bytes=size) for name, size in (("a", 400), ("b", 100), ("c", 100))]
    assert charts.trade_off(results, {}) == ""
    drawn = ET.fromstring(charts.trade_off(results, {"a": 0.6, "b": 0.5}))
    radii = [float(circle.get("r", 0)) for circle in drawn.iter("circle")]
    assert radii == [18.0, 10.5]  # 3, and 15 times the root of the share of the largest file
