"""Make integer artifacts, compare them with the float model, and rescue those that lost too much."""
