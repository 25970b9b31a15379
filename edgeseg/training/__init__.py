"""Training of segmentation models with Keras: data, augmentation, schedules, and the fit with its checkpoints."""
