"""Write a run's folder after every epoch: checkpoints, history, curves and samples."""
