"""Find the pairs of a labeled split, and read them as images and class ids."""

from edgeseg.datasets.classes import Classes, given_classes, read_classes, read_color_map
from edgeseg.datasets.faults import BadExample, FaultKind
from edgeseg.datasets.source import Data, DataSource, LabeledSplit, as_source, is_labeled, open_classes, open_split

__all__ = [
    # Opening
    "open_split",
    "open_classes",
    "is_labeled",
    "as_source",
    "Data",
    "DataSource",
    "LabeledSplit",
    # Classes
    "Classes",
    "given_classes",
    "read_classes",
    "read_color_map",
    # What may be wrong
    "BadExample",
    "FaultKind",
]
