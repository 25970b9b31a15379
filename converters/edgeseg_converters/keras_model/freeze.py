"""Freeze a Keras model to one static TensorFlow function: batch 1, fixed size, constant weights, the chosen output.

Both converters start here. A batch of ``None`` blocks the fusing of dilated convolutions, and variables that are
not frozen give NaN in ``from_concrete_functions``.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edgeseg.choices import OutputKind
from edgeseg.errors import UnsupportedModel
from edgeseg.spec import ModelSpec
from edgeseg_converters.keras_model.output_head import add_head
from edgeseg_converters.keras_model.prepare import PreparedModel
from edgeseg_converters.keras_model.tensorflow_internals import function_graph, replace_input, with_constants

INPUT_NAME = "image"
# Ops whose second input is a filter.
_FILTERING = ("Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "MatMul", "BatchMatMulV2", "BatchMatMulV3")
OUTPUT_NAMES: dict[OutputKind, str] = {"argmax": "class_map", "softmax": "scores", "logits": "logits"}


class Frozen:
    """A static TensorFlow function of an image.

    It is no ``ConcreteFunction``: to make one, TensorFlow writes the graph with all weights four times, and keeps two.

    Attributes:
        graph: of the function.
    """

    def __init__(self, graph: Any) -> None:
        self.graph = graph

    @property
    def inputs(self) -> list[tf.Tensor]:
        """The tensor of the image."""
        return list(self.graph.inputs)

    @property
    def outputs(self) -> list[tf.Tensor]:
        """The tensor of the class map or the scores."""
        return list(self.graph.outputs)

    def __call__(self, image: Any) -> tuple[NDArray[Any], ...]:
        """Run the function on ``(1, H, W, 3)`` float32."""
        with tf.compat.v1.Session(graph=self.graph) as session:
            return tuple(session.run(self.outputs, {self.inputs[0].name: np.asarray(image)}))

    def concrete(self) -> Any:
        """Return TensorFlow's ``ConcreteFunction`` of the same ops, with a copy of all weights."""
        (source,), (result,) = self.inputs, self.outputs
        definition = self.graph.as_graph_def()
        signature = [tf.TensorSpec(source.shape, source.dtype, name=INPUT_NAME)]

        @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
        def serve(image: tf.Tensor) -> list[tf.Tensor]:
            fed = {source.name: image}
            results: list[tf.Tensor] = tf.graph_util.import_graph_def(
                definition, fed, return_elements=[result.name], name=""
            )
            return results

        return serve.get_concrete_function()


def freeze(model: keras.Model, spec: ModelSpec) -> Frozen:
    """Trace a model and make its weights constants.

    Args:
        model: from ``(B, H, W, 3)`` to logits or probabilities ``(B, h, w, C)``; one channel means a binary model.
        spec: ``input_size`` and ``output_kind`` are obeyed; with the dtype ``uint8`` also ``mean`` and ``std``, which
            then are part of the function.

    Returns:
        A function from ``(1, H, W, 3)`` float32, normalized or, with the dtype ``uint8``, in
        [0, 255], to ``(1, h, w)`` uint8 class ids for ``argmax``, else to ``(1, h, w, C)`` float32.

    Raises:
        UnsupportedModel: more than one input or output, an output that is no map, or scores that the model lacks.
        InputError: the input is no RGB image, or the number of class names is not that of the output's channels.
    """
    head = PreparedModel.of(model, spec).head
    return trace(head.model, spec, probabilities=head.probabilities)


def trace(model: keras.Model, spec: ModelSpec, *, probabilities: bool = False) -> Frozen:
    """Freeze a model that was checked before and ends in logits, or in probabilities if so declared."""
    signature = tf.TensorSpec((1, *spec.input_size, 3), tf.float32, name=INPUT_NAME)
    weights = [(variable, variable.numpy()) for variable in model.variables]

    def serve(image: tf.Tensor) -> tf.Tensor:
        # The weights are constants from the start: tracing variables and replacing them afterwards takes twice as long.
        constants = [(variable, tf.constant(array)) for variable, array in weights]
        with keras.StatelessScope(state_mapping=constants):
            pixels = _normalize(image, spec) if spec.dtype == "uint8" else image
            scores = tf.cast(model(pixels, training=False), tf.float32)  # a model may end in a cast of its own
            if scores.shape.rank and scores.shape[0] not in (None, 1):
                height, width = spec.input_size
                raise UnsupportedModel(
                    f"the model gives {scores.shape[0]} maps for one image of {height},{width} (H,W): a Reshape in it "
                    "names the pixels of another size; export it at that size."
                )
            return add_head(scores, spec.output_kind, probabilities=probabilities)

    graph = function_graph(serve, signature)
    if graph.captures or _calls_functions(graph):
        # A layer of the user's that holds a tf.Variable or calls a tf.function, which Keras does not see.
        function = tf.function(serve, input_signature=[signature], autograph=False)
        graph = with_constants(function.get_concrete_function()).graph
    _fold_filters(graph)
    return Frozen(graph)


def _calls_functions(graph: tf.Graph) -> bool:
    """Return whether an op of a graph has a function among its attributes."""
    # Not asked of the constants, as that copies them.
    values = [value for op in graph.get_operations() if op.type != "Const" for value in op.node_def.attr.values()]
    return any(value.HasField("func") or value.list.func for value in values)


def _fold_filters(graph: tf.Graph) -> None:
    """Turn filters that are computed from constants into constants: standardized weights, the patches of a ViT.

    TensorFlow folds nothing above 100 kB, and no integer kernel and no delegate takes a filter that is not constant.
    """
    known: set[str] = set()  # ops whose result depends on no image and no random number
    computed = []
    for op in graph.get_operations():
        if op.type == "Const" or (
            op.inputs and not op.op_def.is_stateful and all(tensor.op.name in known for tensor in op.inputs)
        ):
            known.add(op.name)
        elif op.type in _FILTERING and op.inputs[1].op.name in known and not _is_plain(op.inputs[1].op):
            computed.append(op)
    if not computed:
        return
    with tf.compat.v1.Session(graph=graph) as session:
        filters = session.run([op.inputs[1] for op in computed])
    with graph.as_default():
        for op, array in zip(computed, filters, strict=True):
            replace_input(op, 1, tf.constant(array, name=f"{op.name}/filter"))


def _is_plain(op: tf.Operation) -> bool:
    """Return whether a filter is a constant that is at most reshaped, which every converter folds."""
    while op.type in ("Identity", "Reshape"):
        op = op.inputs[0].op
    return bool(op.type == "Const")


def _normalize(image: Any, spec: ModelSpec) -> Any:
    """Compute ``(image - mean) / std`` by one 1x1 depthwise convolution, which every integer backend has.

    Folded into the network's first convolution it would be wrong at the borders: those are padded with zeros of the
    normalized image, not with black.
    """
    scale = 1 / np.asarray(spec.std, np.float32)
    kernel = tf.constant(scale.reshape(1, 1, 3, 1))
    scaled = tf.nn.depthwise_conv2d(image, kernel, strides=[1, 1, 1, 1], padding="VALID")
    return tf.nn.bias_add(scaled, tf.constant(-np.asarray(spec.mean, np.float32) * scale))
