"""Run a model on tensors and keep its outputs, one file each: the same program here and in the emulated system.

    python _arm64_answers.py MODEL TENSORS OUTPUTS

TENSORS and OUTPUTS are folders of ``.npy`` files of the same names. A tensor whose output is there is not run again.
The last line is what the backend says of itself, as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from edgeseg.runtime.litert import LiteRTBackend
from edgeseg.tflite.cpu import Cpu


def main(model: Path, tensors: Path, outputs: Path) -> None:
    """Run what was not run yet."""
    backend = LiteRTBackend(model, num_threads=1)
    for path in sorted(tensors.glob("*.npy")):
        done = outputs / path.name
        if done.exists():
            continue
        partial = outputs / f"{path.name}.partial"
        with partial.open("wb") as file:
            np.save(file, np.array(backend.run(np.load(path))))
        partial.rename(done)
    print(json.dumps({"half_arithmetic": backend.half_arithmetic, "lse": Cpu.here().lse, "runtime": backend.runtime}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
