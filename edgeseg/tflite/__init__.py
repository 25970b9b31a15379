"""Read .tflite files on a device, without TensorFlow."""
