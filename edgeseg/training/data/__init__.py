"""Turn the files of a split into augmented batches."""
