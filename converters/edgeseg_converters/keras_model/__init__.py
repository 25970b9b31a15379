"""Read the user's Keras model, prepare it, and freeze it to a static function, before any format."""
