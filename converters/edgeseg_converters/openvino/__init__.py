"""Make OpenVINO models from the ONNX file of an export."""
