"""Load model files of Keras 3 and Keras 2: check their configs first, and never run code in them."""
