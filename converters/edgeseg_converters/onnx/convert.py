"""ONNX: tf2onnx on the frozen function, its aftercare, then the ModelSpec in ``metadata_props``."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import tensorflow as tf
import tf2onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel
from tf2onnx.tf_loader import tf_optimize
from tf2onnx.verbose_logging import set_scope_level

from edgeseg.errors import UnsupportedModel
from edgeseg.spec import METADATA_KEY, ModelSpec
from edgeseg_converters.keras_model.freeze import INPUT_NAME, OUTPUT_NAMES
from edgeseg_converters.keras_model.unsupported_ops import ForeignOps
from edgeseg_converters.onnx.missing_ops import HANDLERS
from edgeseg_converters.onnx.tidy import tidy
from edgeseg_converters.recipes import DEFAULT_OPSET


def to_onnx(frozen: Any, spec: ModelSpec, *, opset: int = DEFAULT_OPSET) -> bytes:
    """Convert a frozen function.

    Args:
        frozen: what ``frozen.freeze`` made, NHWC.
        spec: goes into the file as the metadata property ``edgeseg.spec``; its precision and layout are obeyed.
        opset: version of ONNX's operators, one of ``recipes.OPSETS``.

    Returns:
        An ``.onnx`` file; in ``fp16`` its input and output keep their dtypes. In the layout ``nchw`` its input is
        ``(1, 3, H, W)`` and its scores are ``(1, C, h, w)``; a class map is ``(1, h, w)`` in both.

    Raises:
        UnsupportedModel: tf2onnx does not know an op.
    """
    (source,), (result,) = frozen.inputs, frozen.outputs
    nchw = spec.layout == "nchw"
    try:
        # What from_graph_def does, which takes no optimizers. Each of some thirty runs of them has a copy of the
        # graph, weights and all, and the copies are cycles that Python seldom looks for: 176 MB took 17 GB.
        with tf.Graph().as_default(), _quiet():
            graph_def = tf_optimize([source.name], [result.name], _inlinable(frozen.graph.as_graph_def()))
        with _only_new_objects_collected(), _quiet():
            model, _ = tf2onnx.convert._convert_common(
                graph_def,
                name=spec.name,
                custom_op_handlers=HANDLERS,
                optimizers={name: _collected(made) for name, made in tf2onnx.optimizer._get_optimizers().items()},
                continue_on_error=True,
                input_names=[source.name],
                output_names=[result.name],
                opset=opset,
                inputs_as_nchw=[source.name] if nchw else None,
                outputs_as_nchw=[result.name] if nchw and spec.output_kind != "argmax" else None,
                tensors_to_rename={source.name: INPUT_NAME, result.name: OUTPUT_NAMES[spec.output_kind]},
            )
    except ValueError as error:
        raise UnsupportedModel(f"the model does not convert to ONNX. {error}") from error
    # tf2onnx only logs what it does not know, and leaves it in the graph.
    foreign = [node.op_type for node in model.graph.node if not node.domain and not onnx.defs.has(node.op_type)]
    if foreign:
        raise ForeignOps("the model does not convert to ONNX. tf2onnx has nothing for", foreign)
    model = tidy(model)
    if spec.provenance.precision == "fp16":
        model = convert_float_to_float16(model, keep_io_types=True)
        _drop_repeated_casts(model.graph)
        # The tool appends its input Cast behind the nodes that read it, which onnx.checker refuses.
        OnnxModel(model).topological_sort()
    onnx.helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    onnx.checker.check_model(model, full_check=True)  # with strict shape inference
    return bytes(model.SerializeToString())


def with_spec(data: bytes, spec: ModelSpec) -> bytes:
    """The same file with another ModelSpec; its other properties stay.

    Args:
        data: an ``.onnx`` file.
        spec: goes into the metadata property ``edgeseg.spec``.
    """
    model = onnx.load_from_string(data)
    known = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**known, METADATA_KEY: spec.to_json()})
    return bytes(model.SerializeToString())


def tap_logits(data: bytes) -> bytes:
    """The same model with the logits as its output, for measuring what the class map alone hides.

    Args:
        data: a file of ``convert`` whose output is a class map.

    Returns:
        A file whose output is the input of the ArgMax as ``(1, h, w, C)``, float32 or float16.
    """
    model = onnx.load_from_string(data)
    graph = model.graph
    producers = {output: node for node in graph.node for output in node.output}
    arg_max = producers[graph.output[0].name]
    while arg_max.op_type != "ArgMax":  # ours, behind its Cast; the model may have one of its own
        arg_max = producers[arg_max.input[0]]
    axis = next((a.i for a in arg_max.attribute if a.name == "axis"), 0)
    tapped, dtype = arg_max.input[0], onnx.TensorProto.FLOAT
    if axis == 1:  # an NCHW argmax; the caller compares NHWC
        graph.node.append(onnx.helper.make_node("Transpose", [tapped], ["tapped_nhwc"], perm=[0, 2, 3, 1]))
        tapped = "tapped_nhwc"
    # A cast also tells the checker the dtype, which an inner tensor of an fp16 model does not show.
    graph.node.append(onnx.helper.make_node("Cast", [tapped], ["tapped"], to=dtype))
    del graph.output[:]
    graph.output.append(onnx.helper.make_tensor_value_info("tapped", dtype, [None] * 4))
    return bytes(model.SerializeToString())


def _inlinable(graph_def: Any) -> Any:
    """The same graph, in which functions that ask for XLA are inlined like all others.

    Keras asks for it in a Conv2D with groups; TensorFlow then keeps the function, of which tf2onnx knows nothing.
    """
    functions = graph_def.library.function
    for part in (*graph_def.node, *functions, *(node for function in functions for node in function.node_def)):
        part.attr.pop("_XlaMustCompile", None)
        part.attr.pop("_noinline", None)
    return graph_def


def _drop_repeated_casts(graph: onnx.GraphProto) -> None:
    """Keep one of the equal casts that the fp16 tool makes of a tensor for each Min and Max that reads it."""
    made: set[str] = set()
    for node in list(graph.node):
        if node.op_type == "Cast" and node.output[0] in made:
            graph.node.remove(node)  # the first one that is equal
        made.update(node.output)


def _collected(optimizer: Callable[[], Any]) -> Callable[[], Any]:
    """An optimizer of tf2onnx's that first drops the copy of the graph that the one before it worked on."""

    def make() -> Any:
        gc.collect()
        return optimizer()

    return make


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep tf2onnx from logging its errors, which come back as ours, and TensorFlow that its calls are deprecated."""
    with (
        set_scope_level(logging.CRITICAL, logging.getLogger("tf2onnx")),
        set_scope_level(logging.ERROR, tf.get_logger()),
    ):
        yield


@contextmanager
def _only_new_objects_collected() -> Iterator[None]:
    """Keep a collection from looking at TensorFlow's million objects, which takes half a second."""
    if gc.get_freeze_count():  # whoever froze them does not want them thawed
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
