"""Start a model from an encoder that others have trained: ``load_encoder`` fills it, ``create_with_encoder`` builds it."""
