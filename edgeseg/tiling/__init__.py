"""Turn class maps of any size into what other tools read."""
