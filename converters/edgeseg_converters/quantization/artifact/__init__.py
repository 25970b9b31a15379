"""Make the float file that an engine quantizes of somebody's ``.tflite`` or ``.onnx``, which has no Keras model."""
