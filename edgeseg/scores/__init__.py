"""What a model gives for each class in each pixel: at the image's own size, as classes and as soft edges."""
