from __future__ import annotations

import re
import sys
from pathlib import Path

import jinja2
import pytest

from edgeseg.errors import BackendUnavailable
from edgeseg.html import render

TEMPLATE = """{% extends "base.html.j2" %}
{% from "table.html.j2" import table %}
{% block title %}{{ name }}{% endblock %}
{% block header %}<h1>{{ name|upper }}</h1>{% endblock %}
{% block content %}{{ table(("Result", ">ms"), rows, note) }}{{ rows|length|counted("row") }}{% endblock %}
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with a template of its own."""
    (tmp_path / "a_page").mkdir()
    (tmp_path / "a_page" / "__init__.py").touch()
    (tmp_path / "a_page" / "page.html.j2").write_text(TEMPLATE)
    monkeypatch.syspath_prepend(tmp_path)
    return "a_page"


def filled_in(package: str, **values: object) -> str:
    content = {"name": "m", "rows": [["a", "1.5"]], "note": "", "remarks": [], **values}
    return render(package, "page.html.j2", filters={"upper": str.upper}, values=content)


def test_the_skeleton_has_the_style_and_lets_nothing_in_from_outside(package: str) -> None:
    html = filled_in(package)
    assert html.startswith("<!doctype html>\n<html")
    assert "<title>m</title>" in html
    assert "<h1>M</h1>" in html
    assert "@media (prefers-color-scheme: dark)" in html
    assert "default-src 'none'" in html
    assert not re.search(r"<script|<link|url\(|@import|https?:|[{]%|[}]}", html)


def test_everything_is_escaped(package: str) -> None:
    evil = "<script>'&\""
    html = filled_in(package, name=evil, rows=[[evil, evil]], note=evil, remarks=[evil])
    assert "<script" not in html
    assert html.count("&lt;script&gt;&#39;&amp;&#34;") == 5  # the title, two cells, the note and the remark
    assert "&lt;SCRIPT&gt;" in html


def test_numbers_are_on_the_right_and_are_counted(package: str) -> None:
    html = filled_in(package, rows=[["a", "1.5"], ["b", "2"]], note="in milliseconds")
    assert '<tr><th class="left">Result</th><th>ms</th></tr>' in html
    assert '<tr><td class="left">b</td><td>2</td></tr>' in html
    assert "<caption>in milliseconds</caption>" in html
    assert "2 rows" in html
    assert "1 row<" in filled_in(package).replace("1 row\n", "1 row<")
    assert "<caption>" not in filled_in(package)


def test_what_a_reader_must_know_is_first(package: str) -> None:
    heading = "Before you believe the numbers"
    assert heading not in filled_in(package)
    html = filled_in(package, remarks=["It was hot."])
    assert html.index(heading) < html.index("<li>It was hot.</li>") < html.index("<table")


def test_a_forgotten_value_is_an_error(package: str) -> None:
    with pytest.raises(jinja2.UndefinedError, match="'name' is undefined"):
        render(package, "page.html.j2", filters={}, values={"rows": [], "note": "", "remarks": []})


def test_a_device_without_jinja2_is_told_what_to_install(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(BackendUnavailable, match=r'an HTML page needs .* pip install "edgeseg\[charts\]"'):
        filled_in(package)
