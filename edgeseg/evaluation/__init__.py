"""Scores of a model on labeled images, and the files that keep them."""
