"""Count the pixels of classes, in whole images and in regions of interest, and write them as a table."""
