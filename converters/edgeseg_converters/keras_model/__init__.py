"""The user's Keras model before any format: read, made ready, and frozen to a static function."""
