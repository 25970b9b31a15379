"""Convert the frozen function to an ONNX file, float or integer."""
