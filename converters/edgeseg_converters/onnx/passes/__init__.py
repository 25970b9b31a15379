"""Passes on ONNX graphs, and which of them run, in order.

Each is one of onnx-ir's: it takes an ``onnx_ir.Model``, says whether it changed it, and gives it back. Those of
``onnx_ir.passes.common`` are used as they are.
"""

from __future__ import annotations

from onnx_ir.passes import Sequential
from onnx_ir.passes.common import (
    CommonSubexpressionEliminationPass,
    RemoveUnusedNodesPass,
    RemoveUnusedOpsetsPass,
    TopologicalSortPass,
)

from edgeseg_converters.onnx.passes.biases import AddComputedBiases
from edgeseg_converters.onnx.passes.float16 import ConvertToFloat16
from edgeseg_converters.onnx.passes.integer_input import TakeBytes
from edgeseg_converters.onnx.passes.naming import NameNodesByOutput, RenumberNames, ShortenNames
from edgeseg_converters.onnx.passes.normalizations import JoinNormalizations, NormalizationsToConvolutions
from edgeseg_converters.onnx.passes.onnxruntime_basic import RunBasicOptimizations
from edgeseg_converters.onnx.passes.resize import DropEmptyScales, ExactSizes
from edgeseg_converters.onnx.passes.shapes import DropShapes, InferShapes
from edgeseg_converters.onnx.passes.zero_points import DropZeroPoints

#: What tf2onnx leaves: output sizes, work on constants, transposes, normalizations. For a model of fixed shapes,
#: float32, as tf2onnx wrote it; the result has the same inputs and outputs and computes the same, beyond float
#: rounding of folded constants.
TIDY = Sequential(
    ExactSizes(),
    DropEmptyScales(),
    AddComputedBiases(),
    RunBasicOptimizations(),
    RemoveUnusedOpsetsPass(),
    RemoveUnusedNodesPass(),
    InferShapes(),
    JoinNormalizations(),
    RemoveUnusedNodesPass(),
    DropShapes(),
    RenumberNames(),
)

#: A tidy model in half precision.
FLOAT16 = Sequential(
    ConvertToFloat16(),
    TopologicalSortPass(),
    CommonSubexpressionEliminationPass(),
    DropShapes(),
)

#: A float file for the quantizer: shapes are inferred, normalizations are convolutions, nodes are named by their
#: outputs. Constants that nobody reads any more go, as the quantizer wants some of their names for scales of its own.
PREPARE_TO_QUANTIZE = Sequential(
    InferShapes(),
    NormalizationsToConvolutions(),
    RemoveUnusedNodesPass(),
    NameNodesByOutput(),
)

#: A quantized graph without what a file does not need, 7 % smaller for a model of 3 M parameters; what it computes
#: stays.
COMPACT = Sequential(
    DropZeroPoints(),
    RemoveUnusedNodesPass(),
    DropShapes(),
    ShortenNames(),
)

#: What the quantizer leaves: its nodes are appended, its input is float, its names are long.
FINISH_QUANTIZED = Sequential(TopologicalSortPass(), TakeBytes(), COMPACT)
