from __future__ import annotations

from edgeseg.html.notebook import html_table


def test_a_table_has_heads_and_escapes_everything() -> None:
    assert html_table([("a<b", "1 & 2")], head=("file", "<i>")) == (
        "<table><thead><tr><th>file</th><th>&lt;i&gt;</th></tr></thead>"
        "<tbody><tr><th>a&lt;b</th><td>1 &amp; 2</td></tr></tbody></table>"
    )
    assert "<thead>" not in html_table([("a", "b")])
