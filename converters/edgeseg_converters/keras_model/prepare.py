"""Prepare the user's model once for all steps of an export; the model itself is not changed.

A ``PreparedModel`` is functional, has one map as output, a fixed size, and computes in float32. It also holds what was
read from the model: its graph, how to feed it, and how it ends.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import keras

from edgeseg.errors import InputError, UnsupportedModel
from edgeseg.models.ending import final_flattening
from edgeseg.models.keras_files.class_metrics import class_names_of
from edgeseg.models.keras_graph import as_functional, graph_of, require_image, select_output, twin
from edgeseg.models.opening import assumed_spec
from edgeseg.models.preprocessing import Conversion, conversion_of, size_for, warn_of_faint_images, zoo_model_of
from edgeseg.spec import ModelSpec
from edgeseg_converters.images import Samples
from edgeseg_converters.keras_model.float32 import float32_policy, in_float32
from edgeseg_converters.keras_model.graph import Graph
from edgeseg_converters.keras_model.output_head import Head, gives_ids, read_head
from edgeseg_converters.keras_model.training_mode import untouched
from edgeseg_converters.options import ExportOptions

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PreparedModel:
    """The model that the rest of an export starts from.

    Attributes:
        model: a functional model from ``(B, H, W, 3)`` to one map ``(B, h, w, C)``, with the variables of the given
            model, except for some of a mixed-precision model (see ``in_float32``); the given model itself where
            nothing had to change.
        graph: of ``model``.
        spec: how to feed it, and the ``output_kind`` that it must serve.
        head: how it ends.
    """

    model: keras.Model
    graph: Graph
    spec: ModelSpec
    head: Head

    @classmethod
    def of(
        cls,
        model: keras.Model,
        spec: ModelSpec | None = None,
        options: ExportOptions | None = None,
        samples: Samples | None = None,
    ) -> PreparedModel:
        """Prepare a model.

        Args:
            model: functional, Sequential or subclassed.
            spec: how to feed it; its input size is obeyed. When omitted, the zoo's own for a model of the zoo, else
                nameless classes and the normalization of ``assumed_spec``.
            options: which output to take, and the kind and layout of the artifacts; the spec's when omitted.
            samples: images to run the model on where its ops do not tell how it ends; noise when omitted.

        Raises:
            InputError: the input is no RGB image, there is no size, a layer does not fit it, there is no such output,
                or the number of class names is not that of the output's channels.
            UnsupportedModel: more than one input, several outputs and none named, an output that is no map or lacks
                the requested scores, code that fails on an image, or a layer in half precision that cannot be rebuilt
                in float32.
        """
        conversion = None if spec else conversion_of(model)
        with float32_policy():
            size = spec.input_size if spec else size_for(model, conversion)
            functional, graph = _readied(model, size, None if options is None else options.output)
        inferred = spec or _inferred(functional, conversion, model)
        spec = inferred.replace(dtype="float32")  # the recipe decides about an artifact's dtype
        if options is not None:
            spec = spec.replace(output_kind=options.output_kind, layout=options.layout)
        _check(functional, graph, spec)
        warn_of_faint_images(functional, spec)
        with untouched(functional), float32_policy():
            head = read_head(functional, graph, spec, samples)
        return cls(model=functional, graph=graph, spec=spec, head=head)


def _readied(
    model: keras.Model, input_size: tuple[int | None, int | None], output: str | None
) -> tuple[keras.Model, Graph]:
    """Return the model with one map as output, of fixed size, in float32; and its graph."""
    if graph_of(model) is not None and len(graph_of(model).inputs) == 1:
        require_image(model, model.name)  # first, as the sides of other shapes would be read wrong
    height, width = input_size
    if height is None or width is None:
        raise InputError(f"the model '{model.name}' has no fixed input size; give a spec with `input_size=(H, W)`.")
    functional = select_output(as_functional(model, (height, width)), output)
    read = Graph.from_model(functional)
    graph = _unflattened(read.with_scope_names())
    is_image = len(graph.inputs) == 1 and len(graph.inputs[0].shape) == 4
    if is_image and graph.inputs[0].shape[1:3] != (height, width):
        graph = graph.resized((height, width))
    graph = in_float32(functional, graph)
    return functional if graph is read else graph.to_model(), graph


def _unflattened(graph: Graph) -> Graph:
    """Remove the ``Reshape((H * W, C))`` before a graph's output and perhaps a softmax, which Keras 1 needed.

    The result is the same in rows and in a map: an activation after the Reshape works on each value or pixel.
    """
    flattening = final_flattening(graph.outputs[0], graph.producer)
    if flattening is None:
        return graph
    graph = graph.with_outputs((flattening.source,))
    activation: Any
    for activation in flattening.activations:
        # Over the last axis, which in rows of pixels may have been given by its number.
        by_number = getattr(activation.operation, "axis", -1) != -1
        operation = twin(activation.operation, axis=-1) if by_number else activation.operation
        graph = graph.followed_by(operation, activation.name)
    return graph


def _inferred(model: keras.Model, conversion: Conversion | None, given: keras.Model) -> ModelSpec:
    """Return the spec of a model that came without one: the zoo's for its models, else see ``assumed_spec``.

    The class names are those of the given model's metrics, where they name all classes.
    """
    size, channels = model.input_shape[1:3], model.output_shape[-1]
    zoo_model = zoo_model_of(model)
    if zoo_model is not None:
        spec = zoo_model.default_spec(max(channels, 2), size)
    else:
        spec = assumed_spec(model.name, size, channels, model=model, conversion=conversion, options=("spec",))
    class_names = class_names_of(given, spec.num_classes)
    if class_names is not None:
        return spec.replace(class_names=class_names)
    _log.warning(
        "'%s' does not name its classes; they are called %s to %s. edgeseg.load_model(FILE) reads the names in a file "
        "that edgeseg wrote; else give a spec with class_names",
        model.name,
        spec.class_names[0],
        spec.class_names[-1],
    )
    return spec


def _check(model: keras.Model, graph: Graph, spec: ModelSpec) -> None:
    """Refuse a model that cannot be frozen as the spec says."""
    if len(graph.inputs) != 1:
        raise UnsupportedModel(
            f"the model has {len(graph.inputs)} inputs ({', '.join(graph.input_names)}), export takes one; "
            "make a keras.Model of the image alone and export that."
        )
    require_image(model, model.name)
    (value,) = graph.outputs
    if gives_ids(graph):
        raise UnsupportedModel(
            f"'{model.name}' gives class ids or other whole numbers ({value.dtype}), export takes scores; "
            "remove the argmax or threshold at its end, `output_kind='argmax'` puts one there."
        )
    if len(value.shape) != 4:
        raise UnsupportedModel(
            f"the output must be a map (B, H, W, C), got {value.shape}; remove the final Reshape of a flattened model."
        )
    channels = value.shape[-1]
    if channels == 1 and spec.num_classes != 2:
        raise InputError(
            "the model has one output channel, which tells two classes apart; give two class names, the background's "
            f"first, got {spec.num_classes}."
        )
    if max(channels or 0, 2) != spec.num_classes:
        raise InputError(f"the model has {channels} output channels, but {spec.num_classes} class names were given.")
    if spec.num_classes > 256:
        raise UnsupportedModel(f"a class map is uint8, which holds 256 classes; the model has {spec.num_classes}.")
