"""The architectures: a table of them, and one family a file."""
