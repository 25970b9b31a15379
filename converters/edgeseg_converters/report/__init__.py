"""Report what an artifact kept of its model and what it costs to run, as one HTML page and its JSON."""

from edgeseg_converters.report.content import Entry, Measured, Report
from edgeseg_converters.report.gallery import Change, Flip, most_changed
from edgeseg_converters.report.page import save, to_html

__all__ = ["Change", "Entry", "Flip", "Measured", "Report", "most_changed", "save", "to_html"]
