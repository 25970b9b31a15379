"""A run's folder: checkpoints, history, curves and samples, written after every epoch."""
