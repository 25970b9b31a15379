"""Convert to TFLite: TensorFlow's converter on the frozen function, then the ModelSpec and readable names."""

from __future__ import annotations

import re
from typing import Any

import tensorflow as tf

from edgeseg.errors import UnsupportedModel
from edgeseg.spec import METADATA_KEY, ModelSpec
from edgeseg.tflite.half_arithmetic import ENTRY, HALF
from edgeseg_converters.keras_model.freeze import INPUT_NAME, OUTPUT_NAMES
from edgeseg_converters.keras_model.graph import unique_name
from edgeseg_converters.keras_model.tensorflow_internals import converter_error
from edgeseg_converters.keras_model.unsupported_ops import ForeignOps
from edgeseg_converters.tflite import delegate_pooling, metadata
from edgeseg_converters.tflite.graph import TfliteGraph
from edgeseg_converters.tflite.litert_internals import schema
from edgeseg_converters.tflite.split_activations import split_activations

# The converter's message when TFLite has no builtin for an op.
_FOREIGN_OPS = re.compile(r"(?:TF Select|Custom) ops: ([^\n]+)")


def to_tflite(frozen: Any, spec: ModelSpec, *, to_quantize: bool = False) -> bytes:
    """Convert a frozen function.

    Args:
        frozen: the result of ``freeze.freeze``.
        spec: goes into the file as the metadata entry ``edgeseg.spec``; its precision is obeyed.
        to_quantize: whether a quantizer reads the file, which needs activations fused into the ops before them.

    Returns:
        A ``.tflite`` file of builtin ops; with the two custom ops of ``delegate_pooling`` where the rewrites put them.

    Raises:
        UnsupportedModel: TFLite has no builtin for an op; Flex or a custom op is never used silently.
    """
    delegated = delegate_pooling.in_use(frozen)
    # This constructor takes a frozen graph as it is; from_concrete_functions would freeze it a second time, which takes
    # twice as long as all the rest. The converter that does the work is the same.
    converter = tf.compat.v1.lite.TFLiteConverter(frozen.graph.as_graph_def(), frozen.inputs, frozen.outputs)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.allow_custom_ops = delegated
    # The versions are in the ModelSpec; for this entry the file is read and written once more.
    converter.exclude_conversion_metadata = True
    if spec.provenance.precision == "fp16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    graph = TfliteGraph.read(run_converter(converter))
    if delegated:
        delegate_pooling.put_in(graph)
    if not to_quantize:
        split_activations(graph)
    return finish(graph, spec)


def run_converter(converter: Any) -> bytes:
    """Run a converter and raise its errors as ours.

    Raises:
        UnsupportedModel: TFLite has no builtin for an op.
    """
    try:
        return bytes(converter.convert())
    except converter_error() as error:
        foreign = [op for ops in _FOREIGN_OPS.findall(str(error)) for op in ops.split(", ")]
        if foreign:
            raise ForeignOps(delegate_pooling.NO_BUILTIN, foreign) from error
        raise UnsupportedModel(f"the model does not convert to TFLite. {str(error).splitlines()[0]}.") from error


def tap_logits(data: bytes) -> bytes:
    """Return the same model with the logits as its output, to measure what the class map alone hides.

    Args:
        data: a file of ``to_tflite`` whose output is a class map.

    Returns:
        A file whose output is the input of the ARG_MAX, ``(1, h, w, C)`` float32, or int8 with its scale.
    """
    graph = TfliteGraph.read(data)
    op = graph.producer(graph.outputs[0])
    while op is not None and graph.op_name(op) != "ARG_MAX":  # edgeseg's, before its Cast; the model may have its own
        op = graph.producer(op.inputs[0])
    if op is None:
        raise ValueError("the file's output is no class map")
    return graph.with_outputs([op.inputs[0]]).write()


def ask_for_half(data: bytes, spec: ModelSpec) -> bytes:
    """Return the same file with the entry by which it computes in half precision on CPUs that have it.

    Args:
        data: a file of ``to_tflite``; TensorFlow's converter may have written another entry of that name.
        spec: the ModelSpec inside it.
    """
    graph = TfliteGraph.read(data)
    graph.set_metadata(ENTRY, HALF)
    return metadata.append_labels(graph.write(), spec)


def finish(graph: TfliteGraph, spec: ModelSpec) -> bytes:
    """Put the spec into the file, as edgeseg's and as TFLite's metadata; those of an earlier call are replaced.

    The two tensors that users see are named, in the graph and in a signature. From the names of the others the parts
    are removed that the converter appends, the names of everything that was fused into them.

    Args:
        graph: of the file.
        spec: of the artifact.
    """
    _shorten_names(graph)
    graph.tensors[graph.inputs[0]].name = INPUT_NAME.encode()
    graph.tensors[graph.outputs[0]].name = OUTPUT_NAMES[spec.output_kind].encode()
    signature = schema.SignatureDefT(signatureKey=b"serving_default")
    signature.inputs = [schema.TensorMapT(INPUT_NAME.encode(), graph.inputs[0])]
    signature.outputs = [schema.TensorMapT(OUTPUT_NAMES[spec.output_kind].encode(), graph.outputs[0])]
    graph.model.signatureDefs = [signature]
    graph.set_metadata(METADATA_KEY, spec.to_json().encode())
    graph.set_metadata(metadata.ENTRY, metadata.to_flatbuffer(spec, INPUT_NAME, OUTPUT_NAMES[spec.output_kind]))
    return metadata.append_labels(graph.write(), spec)


def _shorten_names(graph: TfliteGraph) -> None:
    taken: set[str] = set()
    for tensor in graph.tensors:
        name = unique_name((tensor.name or b"").decode().partition(";")[0], taken)
        taken.add(name)
        tensor.name = name.encode()
