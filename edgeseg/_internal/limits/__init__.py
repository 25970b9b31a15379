"""Bound what a file from outside may cost: how much of it is read, and how much memory it may claim."""
