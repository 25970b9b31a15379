"""Correct a float file before it is quantized, so that its integers err less: its head, its rounding, its biases."""
