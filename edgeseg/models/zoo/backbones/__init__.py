"""Encoders that several families of the zoo share."""
