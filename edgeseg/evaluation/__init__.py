"""Score a model on labeled images, and save the scores as files."""
