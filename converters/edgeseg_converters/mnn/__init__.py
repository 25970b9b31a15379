"""Make MNN models from the ONNX file of an export."""
