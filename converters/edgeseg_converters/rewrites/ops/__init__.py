"""Replace TensorFlow ops of the frozen function, one rule a file: what is inside a layer of anybody's code."""
