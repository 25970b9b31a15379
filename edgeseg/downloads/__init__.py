"""Bring files of other projects from the packages that publish them: known by their hash, and never run."""
