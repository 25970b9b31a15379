"""Run ONNX Runtime's own basic optimizations once, at export."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnx_ir as ir
import onnxruntime

from edgeseg_converters.onnx.file import ConsumingPass, write


class RunBasicOptimizations(ConsumingPass):
    """Run ONNX Runtime's "basic" passes and read the result back.

    They hold for every provider: constants are folded, Pad, Mul and Add become part of the convolution before or after
    them, Transposes are pushed through the graph until they meet and cancel. Of the tools tried on the zoo only this
    one and onnxslim fold a Mul into a convolution; onnxscript and onnxoptimizer keep it. The CPU provider runs these
    passes on any file anyway, so the file is what was measured, and every other reader of ONNX gets it as clean.

    They keep the Transposes of outputs that nobody reads, and name opsets that are not used:
    ``RemoveUnusedNodesPass`` and ``RemoveUnusedOpsetsPass`` run after them.
    """

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
