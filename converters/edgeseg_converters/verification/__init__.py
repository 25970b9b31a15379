"""Prove artifacts: compared with the Keras model here, and the proof that travels to the device."""
