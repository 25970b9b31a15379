"""Labelled data sets: finding the pairs of a split and reading them as pictures and class ids."""

from edgeseg.datasets.folders import Classes, FolderDataset, open_folder, read_classes

__all__ = ["Classes", "FolderDataset", "open_folder", "read_classes"]
