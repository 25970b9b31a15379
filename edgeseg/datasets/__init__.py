"""Labelled data sets: finding the pairs of a split and reading them as pictures and class ids."""

from edgeseg.datasets.classes import Classes, given_classes, read_classes, read_colour_map
from edgeseg.datasets.faults import BadExample, FaultKind
from edgeseg.datasets.source import Data, DataSource, LabelledSplit, as_source, is_labelled, open_classes, open_split

__all__ = [
    # Opening
    "open_split",
    "open_classes",
    "is_labelled",
    "as_source",
    "Data",
    "DataSource",
    "LabelledSplit",
    # Classes
    "Classes",
    "given_classes",
    "read_classes",
    "read_colour_map",
    # What may be wrong
    "BadExample",
    "FaultKind",
]
