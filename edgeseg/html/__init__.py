"""Pages of one file each: one skeleton, one style sheet, one kind of chart; light and dark, no script, no request."""

from edgeseg.html.page import render

__all__ = ["render"]
