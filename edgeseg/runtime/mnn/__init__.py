"""Run MNN models, and read what is in them."""
