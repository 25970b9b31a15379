"""Start a model of the zoo from an encoder that others have trained: ``load_encoder`` fills it."""
