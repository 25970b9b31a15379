"""Build the encoders that several families of the zoo share."""
