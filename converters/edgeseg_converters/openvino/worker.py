"""Convert an ONNX file to an OpenVINO model, as a process of its own.

python worker.py FOLDER fp32|fp16

Reads ``model.onnx`` in the folder and writes ``model.xml`` and ``model.bin`` there, if OpenVINO compiles the model for
the CPU: it reads models that it then does not compile, quantized ones among them. It imports nothing of edgeseg.
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgeseg.runtime.openvino.library import import_openvino


def main(folder: Path, precision: str) -> None:
    """Convert one model; fp16 rounds the weights, which the runtime widens again."""
    openvino = import_openvino()
    core = openvino.Core()
    try:
        model = core.read_model(folder / "model.onnx")
        core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except RuntimeError as error:
        sys.exit(" ".join(str(error).split())[:1000])
    openvino.save_model(model, folder / "model.xml", compress_to_fp16=precision == "fp16")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
