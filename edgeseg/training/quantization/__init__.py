"""Quantization-aware training: a model that computes in floats what the exported integer file computes."""
