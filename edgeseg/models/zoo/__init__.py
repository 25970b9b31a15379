"""Build the architectures of the zoo: a table of them, and one family per module."""
