"""Model files of Keras 3 and Keras 2: their configs looked through, then loaded, never their code."""
