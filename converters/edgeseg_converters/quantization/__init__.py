"""Integer artifacts: made, held against the float model, and rescued where they lost too much."""
