"""Makes an ONNX file, float or integer, of the frozen function."""
