"""Trace the areas of class maps as polygons, write them for other tools, and count classes in regions of interest."""
