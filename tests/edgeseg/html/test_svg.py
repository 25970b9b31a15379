from __future__ import annotations

import math
import re

import pytest

from edgeseg.html import svg


def test_an_axis_goes_from_its_start_to_its_end() -> None:
    axis = svg.Axis(low=0, high=10, start=300, end=100)
    assert [axis(value) for value in (0, 5, 10)] == [300, 200, 100]
    assert svg.Axis(low=1, high=1000, start=0, end=300, log=True)(10) == pytest.approx(100)
    assert svg.Axis(low=2, high=2, start=0, end=100)(2) == 50  # one value alone is in the middle


def test_ticks_are_round_and_within() -> None:
    assert svg.Axis(low=0, high=100, start=0, end=100).ticks(5) == [0, 20, 40, 60, 80, 100]
    assert svg.Axis(low=2, high=2, start=0, end=100).ticks() == [2]
    assert svg.Axis(low=0.5, high=2, start=0, end=100, log=True).ticks() == pytest.approx([0.5, 0.7, 1, 1.5, 2])
    decades = svg.Axis(low=0.9, high=2e4, start=0, end=100, log=True).ticks()
    assert decades == [1, 10, 100, 1000, 10_000]


def test_values_of_different_orders_get_a_logarithmic_axis() -> None:
    assert not svg.axis(1, 20, from_zero=True).log
    assert svg.axis(1, 20, from_zero=True).low == 0
    assert svg.axis(1, 20, from_zero=False).low == 1
    far = svg.axis(1, 21, from_zero=True)
    assert far.log
    assert 0 < far.low < 1
    assert math.isclose(far(far.high), svg.END)


def test_a_grid_has_a_line_and_a_number_for_each_tick_and_the_unit() -> None:
    parts = svg.grid(svg.Axis(low=0, high=4, start=0, end=100), 50, "ms")
    assert "".join(parts).count('<line class="grid"') == 5
    assert re.findall(r">([^<]+)</text>", "".join(parts)) == ["0", "1", "2", "3", "4", "ms"]


def test_text_is_escaped_and_pressed_together_where_it_is_too_long() -> None:
    assert svg.text(1, 2, "<b>&", anchor="end") == '<text x="1.0" y="2.0" text-anchor="end">&lt;b&gt;&amp;</text>'
    assert "textLength" not in svg.text(0, 0, "short", anchor="end", width=100)
    assert 'textLength="100"' in svg.text(0, 0, "long" * 20, anchor="end", width=100)
    assert 'aria-label="&lt;b&gt;"' in svg.drawing(10, [], "<b>")
