"""Convert the frozen function by tf2onnx, run the passes, and write the ModelSpec into ``metadata_props``."""

from __future__ import annotations

from typing import Any

import onnx
import onnx_ir as ir

from edgeseg.errors import UnsupportedModel
from edgeseg.runtime.onnx_ops import ops_of
from edgeseg.spec import METADATA_KEY, ModelSpec
from edgeseg_converters.keras_model.freeze import INPUT_NAME, OUTPUT_NAMES
from edgeseg_converters.keras_model.unsupported_ops import ForeignOps
from edgeseg_converters.onnx import tf2onnx_internals
from edgeseg_converters.onnx.file import read, write
from edgeseg_converters.onnx.memory import new_objects_collected
from edgeseg_converters.onnx.missing_ops import HANDLERS
from edgeseg_converters.onnx.passes import FLOAT16, TIDY
from edgeseg_converters.onnx.passes.taps import ReturnLogits
from edgeseg_converters.recipes import DEFAULT_OPSET


@new_objects_collected()
def to_onnx(frozen: Any, spec: ModelSpec, *, opset: int = DEFAULT_OPSET) -> bytes:
    """Convert a frozen function.

    Args:
        frozen: the result of ``freeze``, NHWC.
        spec: goes into the file as the metadata property ``edgeseg.spec``; its precision and layout are obeyed.
        opset: version of ONNX's operators, one of ``recipes.OPSETS``.

    Returns:
        An ``.onnx`` file; in ``fp16`` its input and output keep their dtypes. In the layout ``nchw`` its input is
        ``(1, 3, H, W)`` and its scores are ``(1, C, h, w)``; a class map is ``(1, h, w)`` in both.

    Raises:
        UnsupportedModel: tf2onnx does not know an op.
    """
    passed = TIDY(ir.from_proto(_converted(frozen, spec, opset)))
    if spec.provenance.precision == "fp16":
        passed = FLOAT16(passed)
    passed.model.metadata_props[METADATA_KEY] = spec.to_json()
    data = write(passed.model)
    onnx.checker.check_model(data, full_check=True)  # with strict shape inference
    return data


def with_spec(data: bytes, spec: ModelSpec) -> bytes:
    """Return the same file with another ModelSpec; its other properties stay.

    Args:
        data: an ``.onnx`` file.
        spec: goes into the metadata property ``edgeseg.spec``.
    """
    model = onnx.load_from_string(data)
    known = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**known, METADATA_KEY: spec.to_json()})
    return bytes(model.SerializeToString())


def tap_logits(data: bytes) -> bytes:
    """Return the same model with the logits as its output, for measuring what the class map alone hides.

    Args:
        data: a file of ``to_onnx`` whose output is a class map.

    Returns:
        A file whose output is the input of the ArgMax as ``(1, h, w, C)``, float32 or float16.
    """
    return write(ReturnLogits()(read(data)).model)


def _converted(frozen: Any, spec: ModelSpec, opset: int) -> onnx.ModelProto:
    """Convert a frozen function by tf2onnx alone."""
    (source,), (result,) = frozen.inputs, frozen.outputs
    nchw = spec.layout == "nchw"
    try:
        graph_def = tf2onnx_internals.optimize(frozen.graph.as_graph_def(), source.name, result.name)
        model = tf2onnx_internals.convert(
            graph_def,
            HANDLERS,
            name=spec.name,
            input_names=[source.name],
            output_names=[result.name],
            opset=opset,
            inputs_as_nchw=[source.name] if nchw else None,
            outputs_as_nchw=[result.name] if nchw and spec.output_kind != "argmax" else None,
            tensors_to_rename={source.name: INPUT_NAME, result.name: OUTPUT_NAMES[spec.output_kind]},
        )
    except ValueError as error:
        raise UnsupportedModel(f"the model does not convert to ONNX. {error}") from error
    foreign = [op.name for op in ops_of(model).ops if not op.domain and not onnx.defs.has(op.name)]
    if foreign:
        raise ForeignOps("the model does not convert to ONNX. tf2onnx has no conversion for", foreign)
    return model
