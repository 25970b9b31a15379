"""Find out which nodes of an artifact an accelerator takes, and why not the others: asked, or from a table."""

from edgeseg.coverage.ask import ACCELERATORS, accelerators, ask_coverage, coverage, coverage_of_all
from edgeseg.coverage.result import Coverage, LeftNode

__all__ = [
    # what to call
    "accelerators",
    "ask_coverage",
    "coverage",
    "coverage_of_all",
    # what comes back
    "Coverage",
    "LeftNode",
    # what to ask for
    "ACCELERATORS",
]
