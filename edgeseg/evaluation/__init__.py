"""Scores of a model on labelled images, and the files that keep them."""
