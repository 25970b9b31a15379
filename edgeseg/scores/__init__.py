"""Keep what a model gives for each class in each pixel, and enlarge it to the image's own size."""
