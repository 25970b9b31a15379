"""Compare the architecture in a model file with a model that takes its weights, and build the one that fits."""
