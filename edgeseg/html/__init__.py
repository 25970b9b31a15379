"""Make pages of one file each: one skeleton, one style sheet, one kind of chart; light and dark, without scripts."""

from edgeseg.html.page import render

__all__ = ["render"]
