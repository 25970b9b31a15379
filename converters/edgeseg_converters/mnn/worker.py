"""Convert an ONNX file to an MNN model, as a process of its own.

python worker.py FOLDER fp32|fp16

Reads ``model.onnx`` and ``spec.json`` in the folder and writes ``model.mnn`` there, and runs it once on zeros: of some
models the converter makes files that give nothing, or that end the process. It imports nothing of edgeseg.

The native module is called directly: the command ``mnnconvert`` around it installs a package by pip, by which it
reports every conversion to MNN's maker. Seen in MNN 3.6.1 (MNN/tools/mnnconvert.py, MNN/tools/utils/log.py).
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(folder: Path, precision: str) -> None:
    """Convert one model; fp16 cuts the weights, which is exact where they are halves already."""
    import _tools
    import MNN
    import numpy as np

    arguments = ["mnnconvert", "-f", "ONNX", "--modelFile", str(folder / "model.onnx")]
    arguments += ["--MNNModel", str(folder / "model.mnn")]
    arguments += ["--bizCode", (folder / "spec.json").read_text(encoding="utf-8")]
    # It returns True of failures, too: whether there is a file, and a right one, is what counts.
    _tools.mnnconvert([*arguments, *(["--fp16"] if precision == "fp16" else [])])
    if not (folder / "model.mnn").exists():
        return  # the caller says so, with what the converter printed last
    interpreter = MNN.Interpreter(str(folder / "model.mnn"))
    session = interpreter.createSession({"backend": "CPU", "precision": "high", "numThread": 1})
    for tensor in interpreter.getSessionInputAll(session).values():
        axes = tensor.getDimensionType()
        zeros = np.zeros_like(MNN.Tensor(tensor, axes).getNumpyData())
        tensor.copyFrom(MNN.Tensor(tensor.getShape(), tensor.getDataType(), zeros, axes))
    status = interpreter.runSession(session)
    shape = interpreter.getSessionOutput(session).getShape()
    if status or min(shape, default=0) < 1:
        sys.exit(f"what it makes gives an output of shape {shape}, and the status {status}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
