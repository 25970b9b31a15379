"""TFLite: TensorFlow's converter on the frozen function, then the ModelSpec and readable names in the flatbuffer."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from tensorflow.lite.python.convert_phase import ConverterError  # not public, but what convert() raises

from edgeseg.errors import UnsupportedModel
from edgeseg.spec import METADATA_KEY, ModelSpec
from edgeseg_converters import delegate_ops, tflite_metadata
from edgeseg_converters.foreign import ForeignOps
from edgeseg_converters.frozen import INPUT_NAME, OUTPUT_NAMES

# What the converter says when TFLite has no builtin for an op.
_FOREIGN_OPS = re.compile(r"(?:TF Select|Custom) ops: ([^\n]+)")


def convert(frozen: Any, spec: ModelSpec) -> bytes:
    """Convert a frozen function.

    Args:
        frozen: what ``frozen.freeze`` made.
        spec: goes into the file as the metadata entry ``edgeseg.spec``; its precision is obeyed.

    Returns:
        A ``.tflite`` file of builtin ops; the two custom ops of ``delegate_ops`` where the rewrites put them.

    Raises:
        UnsupportedModel: an op that TFLite's builtins do not have; never Flex or a custom op in silence.
    """
    delegated = delegate_ops.in_use(frozen)
    # The constructor that takes a frozen graph as it is; from_concrete_functions would freeze it a second time, which
    # takes twice as long as all the rest. The converter behind both is the same.
    converter = tf.compat.v1.lite.TFLiteConverter(frozen.graph.as_graph_def(), frozen.inputs, frozen.outputs)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.allow_custom_ops = delegated
    if spec.provenance.precision == "fp16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    try:
        data = converter.convert()
    except ConverterError as error:
        foreign = [op for ops in _FOREIGN_OPS.findall(str(error)) for op in ops.split(", ")]
        if foreign:
            raise ForeignOps(delegate_ops.NO_BUILTIN, foreign) from error
        raise UnsupportedModel(f"the model does not convert to TFLite. {str(error).splitlines()[0]}.") from error
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    if delegated:
        delegate_ops.put_in(model)
    return _finish(model, spec)


def tap_logits(data: bytes) -> bytes:
    """The same model with the logits as its output, for measuring what the class map alone hides.

    Args:
        data: a file of ``convert`` whose output is a class map.

    Returns:
        A file whose output is the input of the ARG_MAX, ``(1, h, w, C)`` float32.
    """
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    graph = model.subgraphs[0]
    arg_max = next(op for op in graph.operators if _op_name(model, op) == "ARG_MAX")
    graph.outputs = [int(arg_max.inputs[0])]
    # The signature names the class map as the output; the interpreter is given the plain subgraph instead.
    model.signatureDefs = None
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _finish(model: Any, spec: ModelSpec) -> bytes:
    """Put the spec into the file, as ours and as TFLite's metadata.

    The two tensors that users see are named, in the graph and in a signature.
    """
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].name = INPUT_NAME.encode()
    graph.tensors[graph.outputs[0]].name = OUTPUT_NAMES[spec.output_kind].encode()
    signature = schema.SignatureDefT(signatureKey=b"serving_default")
    signature.inputs = [schema.TensorMapT(INPUT_NAME.encode(), graph.inputs[0])]
    signature.outputs = [schema.TensorMapT(OUTPUT_NAMES[spec.output_kind].encode(), graph.outputs[0])]
    model.signatureDefs = [signature]
    standard = tflite_metadata.to_flatbuffer(spec, INPUT_NAME, OUTPUT_NAMES[spec.output_kind])
    for name, content in ((METADATA_KEY, spec.to_json().encode()), (tflite_metadata.ENTRY, standard)):
        entry, buffer = schema.MetadataT(), schema.BufferT()
        buffer.data = np.frombuffer(content, np.uint8)
        entry.name, entry.buffer = name.encode(), len(model.buffers)
        model.buffers.append(buffer)
        model.metadata = [*(model.metadata or []), entry]
    return tflite_metadata.append_labels(bytes(flatbuffer_utils.convert_object_to_bytearray(model)), spec)


def _op_name(model: Any, op: Any) -> str:
    return str(flatbuffer_utils.opcode_to_name(model, op.opcodeIndex))
