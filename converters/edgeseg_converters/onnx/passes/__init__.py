"""Edit ONNX graphs by passes, and list which of them run, in order.

Each follows onnx-ir's contract: it takes an ``onnx_ir.Model``, returns it, and says whether it changed it. Those of
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
from edgeseg_converters.onnx.passes.integer_input import OmitNormalization, TakeBytes
from edgeseg_converters.onnx.passes.naming import NameNodesByOutput, RenumberNames, ShortenNames
from edgeseg_converters.onnx.passes.normalizations import JoinNormalizations, NormalizationsToConvolutions
from edgeseg_converters.onnx.passes.onnxruntime_basic import RunBasicOptimizations
from edgeseg_converters.onnx.passes.resize import DropEmptyScales, ExactSizes
from edgeseg_converters.onnx.passes.shapes import DropShapes, InferShapes
from edgeseg_converters.onnx.passes.zero_points import DropZeroPoints

#: Tidies what tf2onnx leaves: output sizes, work on constants, transposes, normalizations. For a float32 model of fixed
#: shapes, as tf2onnx wrote it; the result has the same inputs and outputs and computes the same, up to float rounding
#: of folded constants.
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

#: Converts a tidy model to half precision.
FLOAT16 = Sequential(
    ConvertToFloat16(),
    TopologicalSortPass(),
    CommonSubexpressionEliminationPass(),
    DropShapes(),
)

#: Prepares a float file for the quantizer: shapes are inferred, normalizations become convolutions, nodes are named by
#: their outputs. Unread constants are removed, as the quantizer uses some of their names for scales of its own.
PREPARE_TO_QUANTIZE = Sequential(
    InferShapes(),
    NormalizationsToConvolutions(),
    RemoveUnusedNodesPass(),
    NameNodesByOutput(),
)

#: Removes what a quantized file does not need, 7 % of it for a model of 3 M parameters; it computes the same.
COMPACT = Sequential(
    DropZeroPoints(),
    RemoveUnusedNodesPass(),
    DropShapes(),
    ShortenNames(),
)

#: Tidies what the quantizer leaves: its nodes are appended, its input is float, its names are long.
FINISH_QUANTIZED = Sequential(TopologicalSortPass(), TakeBytes(), OmitNormalization(), COMPACT)
