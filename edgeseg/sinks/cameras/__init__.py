"""Send frames to cameras that other programs open."""
