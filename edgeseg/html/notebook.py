"""Show values in a notebook, whose cells take HTML from ``_repr_html_``."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def html_table(rows: Sequence[Sequence[str]], *, head: Sequence[str] = ()) -> str:
    """Return a table; every text is escaped.

    Args:
        rows: the cells of each row; the first cell is the row's head.
        head: the heads of the columns; without them the table has none.
    """
    heads = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        f"<tr><th>{escape(first)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in rest)}</tr>"
        for first, *rest in rows
    )
    return f"<table>{f'<thead><tr>{heads}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"
