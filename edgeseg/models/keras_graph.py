"""Make any Keras model a functional one with a single output; the original model is not changed."""

from __future__ import annotations

import inspect
from typing import Any

import keras

from edgeseg.errors import InputError, UnsupportedModel, did_you_mean
from edgeseg.models.keras_errors import reason_of
from edgeseg.models.keras_internals import (
    forget_calls,
    functional_inside,
    inputs_structure,
    is_functional,
    layers_within,
    maker_of,
    outputs_structure,
)


def graph_of(operation: Any) -> Any:
    """Return the functional model that a layer is or, if Sequential, contains; ``None`` for any other layer."""
    inner = functional_inside(operation) if isinstance(operation, keras.Sequential) else operation
    return inner if is_functional(inner) else None


def twin(operation: Any, **changes: Any) -> Any:
    """Return a copy of a layer that shares its variables and has a place in graphs of its own.

    Calling a layer on symbolic tensors writes into it (``layer.output`` of a layer with two places raises), and a
    layer rebuilt from its config would have variables of its own.

    Args:
        operation: a layer, or an operation of ``keras.ops``.
        changes: attributes that differ in the copy, such as ``name``.
    """
    copy = object.__new__(type(operation))
    copy.__dict__.update(operation.__dict__)
    copy.__dict__.update(changes)  # around __setattr__, which tracks what it sees and is locked in a built layer
    forget_calls(copy)
    return copy


def takes_training(operation: Any) -> bool:
    """Return whether ``training`` can switch a layer to inference mode; an operation has no such argument.

    Args:
        operation: a layer, or an operation of ``keras.ops``.
    """
    return isinstance(operation, keras.Layer) and "training" in inspect.signature(operation.call).parameters


def finalize(model: keras.Layer) -> None:
    """Update layers at any depth after their weights changed: Normalization computes with a copy of its statistics."""
    for layer in layers_within(model):
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def size_of(model: keras.Model) -> tuple[int | None, int | None]:
    """Return ``(H, W)`` of a model's input in pixels, ``None`` for a side that is not fixed or not known."""
    if graph_of(model) is not None:
        shape: Any = model.inputs[0].shape
    else:
        shape = (model.get_build_config() or {}).get("input_shape") if model.built else None
    is_map = isinstance(shape, (tuple, list)) and len(shape) == 4
    return (shape[1], shape[2]) if is_map else (None, None)


def require_image(model: keras.Model, name: str) -> None:
    """Refuse a functional model that does not take an image, and say what to put before it.

    Args:
        model: a model with one input.
        name: its name in messages.

    Raises:
        InputError: its input is not ``(B, H, W, 3)``.
    """
    shape = tuple(graph_of(model).inputs[0].shape)
    if len(shape) == 4 and shape[-1] == 3:
        return
    before, after = "the layers that make its input from RGB", ""
    if len(shape) == 4 and shape[1] == 3:
        before, after = "keras.layers.Permute((3, 1, 2))", " and Permute((2, 3, 1)) after its output"
    elif len(shape) == 4 and shape[-1] == 1:
        before = "keras.ops.image.rgb_to_grayscale"
    raise InputError(
        f"'{name}' must take one image (B, H, W, 3), it takes {shape}; "
        f"make a keras.Model of a keras.Input((H, W, 3)) with {before} before it{after}."
    )


def as_functional(model: keras.Model, input_size: tuple[int, int]) -> keras.Model:
    """Return a subclassed model as a functional one of a single layer, which has its variables.

    Args:
        model: takes an image ``(B, H, W, 3)``; functional and Sequential models are returned as they are, except that a
            list or dict of one input is replaced by the tensor.
        input_size: ``(H, W)`` in pixels.

    Raises:
        UnsupportedModel: Keras cannot infer what the model returns for an image of that size.
    """
    if isinstance(model, keras.Sequential) and not model.built:
        model.build((None, *input_size, 3))
    inner = graph_of(model)
    if inner is not None:
        if len(inner.inputs) != 1 or inputs_structure(inner) is inner.inputs[0]:
            return model
        return keras.Model(inner.inputs[0], outputs_structure(inner), name=model.name)
    inputs = keras.Input((*input_size, 3), name="image")
    try:
        outputs = twin(model)(inputs)
    except (ValueError, TypeError, NotImplementedError, AttributeError, RuntimeError) as error:  # from the user's call
        raise UnsupportedModel(
            f"'{model.name}' is a subclassed model, and its call fails on an image {(None, *input_size, 3)}: "
            f"{reason_of(error)}"
        ) from error
    return keras.Model(inputs, outputs, name=model.name)


def plain(model: keras.Model) -> keras.Model:
    """Return a functional model of somebody's own class as one of Keras' class, with the same layers.

    Such a class may do more in ``predict`` and ``fit`` than compute the graph: a task of KerasHub also scales and crops
    the image.
    """
    if graph_of(model) is None or type(model).__module__.partition(".")[0] == "keras":
        return model
    return keras.Model(inputs_structure(model), outputs_structure(model), name=model.name)


def output_names(model: keras.Model) -> tuple[str, ...]:
    """Return a name for each output of a functional model: its key in a dict, else the name of its layer."""
    structure = outputs_structure(graph_of(model))
    names: list[str] = []
    for path, tensor in keras.tree.flatten_with_path(structure):
        keys = [str(key) for key in path if isinstance(key, str)]
        name = "/".join(keys) or maker_of(tensor).name
        count = sum(known.partition(":")[0] == name for known in names)
        names.append(f"{name}:{count}" if count else name)
    return tuple(names)


def select_output(model: keras.Model, output: str | None = None) -> keras.Model:
    """Return the model with one of its outputs, without the layers that only the others need.

    Args:
        model: a functional model.
        output: one of ``output_names``; may be omitted where there is only one.

    Raises:
        InputError: there is no such output.
        UnsupportedModel: there are several outputs, and none is named.
    """
    names = output_names(model)
    if output is None and len(names) > 1:
        raise UnsupportedModel(
            f"the model has {len(names)} outputs ({', '.join(names)}), export takes one; "
            f"pick it by `output={names[0]!r}`."
        )
    output = names[0] if output is None else output
    if output not in names:
        raise InputError(
            f"the model has no output '{output}'.{did_you_mean(output, names)} Accepted: {', '.join(names)}."
        )
    inner = graph_of(model)
    if outputs_structure(inner) is inner.outputs[0]:
        return model
    return keras.Model(inputs_structure(inner), inner.outputs[names.index(output)], name=model.name)
