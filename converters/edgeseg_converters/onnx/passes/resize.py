"""Give every Resize an exact output size, and only one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import onnx_ir as ir

from edgeseg_converters.onnx.passes.constants import add_constant, array_of
from edgeseg_converters.onnx.passes.shapes import InferShapes

_REGION, _SCALES, _SIZES = 1, 2, 3  # positions among the inputs


class ExactSizes(ir.passes.InPlacePass):
    """Give every Resize whose scales are not whole numbers its output size as int64 instead.

        Given:   y = Resize(x, "", scales)
        Result:  y = Resize(x, "", "", sizes)

    tf2onnx writes the size of a resize as float scales, and a runtime floors ``side * scale``: 7 to 31 gives 30. Whole
    scales are exact and stay, as some providers need them.

    A float32 scale is within 6e-8 of ``out / in``. Enlarged by 5e-7 it is above it after any rounding, so that flooring
    gives the intended size for every side below a million; one shape inference then gives the sizes of all.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """See the class."""
        resizes = [node for node in model.graph if node.op_type == "Resize" and _has_fractional_scales(node)]
        if resizes:
            with _enlarged_scales(resizes):
                InferShapes()(model)
        for count, node in enumerate(resizes):
            result = node.outputs[0]
            if result.shape is None:
                raise ir.passes.PassError(f"the size of '{result.name}' is not inferred")
            sizes = add_constant(model.graph, f"{result.name}_size_{count}", np.array(result.shape.numpy(), np.int64))
            node.resize_inputs(_SIZES + 1)
            for index, value in ((_REGION, None), (_SCALES, None), (_SIZES, sizes)):
                node.replace_input_with(index, value)
        return ir.passes.PassResult(model, bool(resizes))


class DropEmptyScales(ir.passes.InPlacePass):
    """Omit the scales and the region that a Resize to a size does not read.

        Given:   y = Resize(x, roi, [], sizes)
        Result:  y = Resize(x, "", "", sizes)

    Where tf2onnx writes a size, it writes empty scales as well, which the fp16 tool turns into a second size.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """See the class."""
        modified = False
        for node in model.graph:
            if node.op_type == "Resize" and len(node.inputs) == _SIZES + 1 and not _reads_region(node):
                for index in (_REGION, _SCALES):
                    modified |= node.inputs[index] is not None
                    node.replace_input_with(index, None)
        return ir.passes.PassResult(model, modified)


def _has_fractional_scales(node: ir.Node) -> bool:
    scales = array_of(node.inputs[_SCALES]) if len(node.inputs) == _SCALES + 1 else None
    return scales is not None and bool((scales != np.rint(scales)).any())


def _reads_region(node: ir.Node) -> bool:
    return node.attributes.get_string("coordinate_transformation_mode") == "tf_crop_and_resize"


@contextmanager
def _enlarged_scales(resizes: Iterable[ir.Node]) -> Iterator[None]:
    """Enlarge the scales while sizes are inferred in the block."""
    scales = dict.fromkeys(node.inputs[_SCALES] for node in resizes)
    written = [(value, value.const_value) for value in scales if value is not None]
    for value, tensor in written:
        if tensor is not None:
            value.const_value = ir.tensor(tensor.numpy() * np.float32(1 + 2**-21), name=value.name)
    yield
    for value, tensor in written:
        value.const_value = tensor
