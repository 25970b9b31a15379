"""From the files of a split to augmented batches."""
