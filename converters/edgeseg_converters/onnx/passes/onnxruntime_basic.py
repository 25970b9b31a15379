"""ONNX Runtime's own basic optimizations, once, at export."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnx_ir as ir
import onnxruntime

from edgeseg_converters.onnx.file import write


class RunBasicOptimizations(ir.passes.PassBase):
    """Run ONNX Runtime's "basic" passes and read the result back.

    They are those that hold for every provider: constants folded, Pad, Mul and Add taken into the convolution before or
    after them, Transposes pushed through the graph until they meet and cancel. Of what was tried on the zoo only these
    and onnxslim fold a Mul into a convolution; onnxscript and onnxoptimizer leave it. These are the ones that the CPU
    provider runs on any file anyway, so the file is what was measured, and every other reader of ONNX gets it as clean.

    They leave the Transposes of outputs that nobody reads, and name opsets of which nothing is used:
    ``RemoveUnusedNodesPass`` and ``RemoveUnusedOpsetsPass`` come after them.
    """

    @property
    def in_place(self) -> bool:
        """It gives another model back."""
        return False

    @property
    def changes_input(self) -> bool:
        """It uses the model up, as ``write`` does."""
        return True

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """See the class."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "optimized.onnx"
            options.optimized_model_filepath = str(path)
            onnxruntime.InferenceSession(write(model), options, providers=["CPUExecutionProvider"])
            optimized = ir.from_proto(onnx.load(path))
        optimized.producer_name, optimized.producer_version = model.producer_name, model.producer_version
        return ir.passes.PassResult(optimized, modified=True)
