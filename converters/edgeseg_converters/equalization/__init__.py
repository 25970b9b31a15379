"""Equalize the channels of a float file, so that the one range of an integer tensor fits all of them."""
