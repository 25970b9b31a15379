"""From the ONNX file of an export to an MNN model."""
