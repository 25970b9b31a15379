"""Build a functional model again from the configs of its layers, with variables of its own that hold the same values.

A model lists its variables in the order of its layers, and a subclass that keeps layers as attributes has them in
another order than a model that is built from the same graph. So two models are paired by their graphs, call by call.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import tree
from numpy.typing import NDArray

from edgeseg.errors import InputError, UnsupportedModel
from edgeseg.models.keras_errors import reason_of
from edgeseg.models.keras_graph import finalize, graph_of, size_of, twin
from edgeseg.models.keras_internals import call_of, calls_of, inputs_structure, layers_within, maker_of
from edgeseg.models.weights.hdf5 import split_number

# What a layer's or a model's own get_config and from_config raise where they do not fit each other.
_OF_A_CONFIG = (ValueError, TypeError, NotImplementedError, KeyError, AttributeError)


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What differs in a clone.

    Attributes:
        input_size: ``(H, W)`` of every input, in pixels; the model's own when ``None``.
        policy: a Keras dtype policy for all layers but those that make the outputs; the layers' own when ``None``.
        linear: ids of the operations that give what they take instead.
        without_activation: ids of the layers whose attribute ``activation`` is linear instead.
    """

    input_size: tuple[int, int] | None = None
    policy: str | None = None
    linear: frozenset[int] = field(default_factory=frozenset)
    without_activation: frozenset[int] = field(default_factory=frozenset)

    def alters(self, graph: Any) -> bool:
        """Return whether a layer of a functional model is another one in the clone."""
        changed = self.linear | self.without_activation
        return self.policy is not None or any(id(operation) in changed for operation in operations_within(graph))


def clone(
    model: keras.Model, changes: Changes | None = None, *, custom_objects: Mapping[str, Any] | None = None
) -> keras.Model:
    """Build a model again, its nested models too.

    Args:
        model: functional or built Sequential; it is not changed.
        changes: what differs in the clone.
        custom_objects: the classes and functions that the model was loaded with.

    Returns:
        A functional model.

    Raises:
        InputError: a layer does not work at the input size.
        UnsupportedModel: a layer cannot be built from its config, or has other weights then.
    """
    changes = changes or Changes()
    size = changes.input_size
    inputs = [
        keras.Input(batch_shape=_resized(x.shape, size), dtype=x.dtype, name=maker_of(x).name)
        for x in graph_of(model).inputs
    ]
    try:
        with own_classes(model, custom_objects):
            built = _Cloner(model, changes).build(model, inputs)
    except (ValueError, TypeError) as error:
        reason = reason_of(error)
        if size is None:
            raise UnsupportedModel(f"'{model.name}' cannot be rebuilt from its config: {reason}") from error
        raise InputError(
            f"the model cannot be rebuilt at {size[0]},{size[1]} (H,W): {reason} "
            f"Its own size is {model.input_shape[1:3]}."
        ) from error
    copy_weights(model, built)
    return built


def resized(
    model: keras.Model, input_size: tuple[int, int], *, custom_objects: Mapping[str, Any] | None = None
) -> keras.Model:
    """Build a model again for another input size: as its class does where its config names the size, else by layers.

    What was built is compared with the model, at the model's own size.

    Args:
        model: functional, of one image of a fixed size.
        input_size: ``(H, W)`` in pixels.
        custom_objects: the classes and functions that the model was loaded with.

    Raises:
        InputError: a layer does not work at the input size, or gives something else when it is built from its config.
        UnsupportedModel: a layer cannot be built from its config, or has other weights then.
    """
    with own_classes(model, custom_objects):
        built, same = from_own_config(model, input_size), from_own_config(model)
    if built is None or same is None or not (_filled(model, built) and _filled(model, same)):
        built = clone(model, Changes(input_size=input_size), custom_objects=custom_objects)
        same = clone(model, custom_objects=custom_objects)
    require_same(model, same)
    _require_one_each(model, built)
    return built


def _require_one_each(model: keras.Model, built: keras.Model) -> None:
    """Refuse a clone that mixes the images of a batch: a Reshape in it counts the pixels of another size."""
    inputs = [keras.KerasTensor((x.shape[0] or 1, *x.shape[1:]), x.dtype) for x in built.inputs]
    outputs = built.compute_output_spec(tree.pack_sequence_as(inputs_structure(graph_of(built)), inputs))
    if any(output.shape[0] != inputs[0].shape[0] for output in tree.flatten(outputs)):
        height, width = inputs[0].shape[1:3]
        raise InputError(
            f"'{model.name}' gives several maps for one image at {height},{width} (H,W): a Reshape in it names the "
            f"pixels of its own size, {model.input_shape[1:3]}."
        )


def from_own_config(model: keras.Model, input_size: tuple[int, int] | None = None) -> keras.Model | None:
    """Return a model of a class with a config of its own, as that class builds it for an input size; without weights.

    Args:
        model: functional.
        input_size: ``(H, W)`` in pixels, which the config must name; the model's own when ``None``.

    Returns:
        A model of the same class; ``None`` where the class is Keras' or its config does not do it.
    """
    kind, own = type(model), size_of(model)
    if kind.__module__.split(".")[0] == "keras":
        return None
    try:
        config = model.get_config()
        if input_size not in (None, own):
            config = _config_at(config, own, input_size)
        built = kind.from_config(config)
    except _OF_A_CONFIG:
        return None
    fits = graph_of(built) is not None and size_of(built) == (input_size or own)
    return built if fits else None


def operations_within(graph: Any) -> Iterator[Any]:
    """Yield the operation of every call in a functional model, those of a nested model in place of the call to it."""
    for call in calls_of(graph):
        inner = graph_of(call.operation)
        if inner is None:
            yield call.operation
        else:
            yield from operations_within(inner)


@contextmanager
def own_classes(layer: keras.Layer, custom_objects: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Let the classes of all layers in a layer be found by the names that configs have for them.

    Args:
        layer: the layer.
        custom_objects: the classes and functions that it was loaded with.
    """
    own = dict(custom_objects or {})
    given = [value for value in own.values() if hasattr(value, "__name__")]
    # A layer gives the name of its class, whatever it was called in the file.
    for value in (*given, *{type(inner) for inner in layers_within(layer)}):
        own[keras.saving.get_registered_name(value)] = value
    with keras.saving.custom_object_scope(own):
        yield


def paired_layers(model: keras.Model, other: keras.Model) -> list[tuple[Any, Any]]:
    """Return the operations of a model, each with the one in the same place of a model that has the same graph.

    Args:
        model: functional or Sequential.
        other: a clone of it, or of what it is a clone of.
    """
    pairs: dict[int, tuple[Any, Any]] = {}
    pending = list(zip(graph_of(model).outputs, graph_of(other).outputs, strict=True))
    seen = set()
    while pending:
        tensors = pending.pop()
        if id(tensors[0]) in seen:
            continue
        seen.add(id(tensors[0]))
        one, two = (call_of(tensor) for tensor in tensors)
        pending += zip(one.inputs, two.inputs, strict=True)
        graphs = graph_of(one.operation), graph_of(two.operation)
        if graphs[0] is None or graphs[1] is None:
            pairs[id(one.operation)] = one.operation, two.operation
        else:
            pending += zip(graphs[0].outputs, graphs[1].outputs, strict=True)
    return list(pairs.values())


def copy_weights(model: keras.Model, other: keras.Model) -> None:
    """Give a model's weights to another with the same graph, see ``paired_layers``, and make it compute with them.

    Raises:
        UnsupportedModel: two layers in the same place have other weights.
    """
    for one, two in paired_layers(model, other):
        if isinstance(one, keras.Layer):
            copy_layer_weights(one, two)
    finalize(other)


def copy_layer_weights(layer: keras.Layer, other: keras.Layer) -> None:
    """Give a layer's weights to another that was built from its config.

    Raises:
        UnsupportedModel: they have other weights.
    """
    weights, others = ([(_plain(v.name), tuple(v.shape)) for v in each.weights] for each in (layer, other))
    if weights != others:
        names = [", ".join(f"{name} {shape}" for name, shape in each) or "none" for each in (weights, others)]
        raise UnsupportedModel(
            f"'{layer.name}' ({type(layer).__name__}) has the weights {names[0]}; built again from its config it has "
            f"{names[1]}. Let its get_config return every argument of its __init__."
        )
    # Through numpy: arrays on several devices and arrays on one do not mix.
    for variable, own in zip(other.weights, layer.weights, strict=True):
        variable.assign(keras.ops.convert_to_numpy(own))


def require_same(
    model: keras.Model,
    rebuilt: keras.Model,
    activations: Mapping[int, list[str]] | None = None,
    *,
    flat: Collection[int] = (),
) -> None:
    """Refuse a clone that gives something else than the model itself, at the clone's input size.

    A layer may keep something that is neither a weight nor in its config. What is made of a clone is compared with the
    clone, so nobody would notice later.

    Args:
        model: the model.
        rebuilt: its clone, at a size that the model takes.
        activations: those that the clone does not have, in the order in which they are applied, by the position of the
            output.
        flat: positions of the outputs that are the pixels of the clone's maps in one axis.

    Raises:
        InputError: they differ.
    """
    with _kept(model, rebuilt):
        for images in _noise(rebuilt):
            got = _answers(rebuilt, images)
            for index, names in (activations or {}).items():
                for name in names:
                    got[index] = np.asarray(keras.activations.get(name)(keras.ops.convert_to_tensor(got[index])))
            expected = _answers(model, images)
            for index in flat:
                got[index] = got[index].reshape(expected[index].shape)
            # A model that draws random numbers differs from itself.
            if _differ(expected, got) and not _differ(expected, _answers(model, images)):
                size = ",".join(str(side) for side in images[0].shape[1:3])
                raise InputError(
                    f"'{model.name}' rebuilt from its config at {size} (H,W) gives something else than the model "
                    "itself: a layer holds values that are neither weights nor in its get_config; save the model with "
                    "the size that it shall have."
                )


class _Cloner:
    """Makes the layers of a clone, each once, and the nested models when they are called: their sizes follow from it.

    Args:
        model: to clone.
        changes: what differs in the clone.
    """

    def __init__(self, model: keras.Model, changes: Changes) -> None:
        self._changes = changes
        self._last = set(_last_of(model))
        self._made: dict[int, Any] = {}
        self._linear: set[int] = set()

    def build(self, model: keras.Model, inputs: list[keras.KerasTensor]) -> keras.Model:
        inner = graph_of(model)
        try:
            return keras.models.clone_model(
                twin(inner, name=model.name),  # the graph in a Sequential model has a name of its own
                input_tensors=tree.pack_sequence_as(inputs_structure(inner), inputs),
                clone_function=self._layer,
                call_function=self._call,
            )
        except UnsupportedModel:  # a layer that only the model's own class can make
            built = self._by_its_class(model, inputs)
            if built is None:
                raise
            return built

    def _by_its_class(self, model: keras.Model, inputs: list[keras.KerasTensor]) -> keras.Model | None:
        """Return what a model's own class builds in place of it; ``None`` where that is not enough."""
        size = inputs[0].shape[1:3] if len(inputs[0].shape) == 4 else None
        return None if self._changes.alters(graph_of(model)) else from_own_config(model, size)

    def _layer(self, operation: Any) -> Any:
        if graph_of(operation) is not None:
            return operation
        if id(operation) not in self._made:
            self._made[id(operation)] = self._new(operation)
        return self._made[id(operation)]

    def _new(self, operation: Any) -> Any:
        is_layer = isinstance(operation, keras.Layer)
        if id(operation) in self._changes.linear:
            policy = operation.dtype_policy if is_layer else None
            linear = keras.layers.Activation("linear", name=operation.name, dtype=policy)
            self._linear.add(id(linear))
            return linear
        if not is_layer:
            return twin(operation)
        try:
            config = operation.get_config()
            if id(operation) in self._changes.without_activation:
                config["activation"] = "linear"
            if self._changes.policy is not None and id(operation) not in self._last:
                config["dtype"] = self._changes.policy
            return type(operation).from_config(config)
        except _OF_A_CONFIG as error:
            raise UnsupportedModel(
                f"'{operation.name}' ({type(operation).__name__}) cannot be rebuilt from its config: {reason_of(error)}"
            ) from error

    def _call(self, operation: Any, *args: Any, **kwargs: Any) -> Any:
        tensors = [leaf for leaf in tree.flatten((args, kwargs)) if isinstance(leaf, keras.KerasTensor)]
        if id(operation) in self._linear:
            return operation(tensors[0])  # the other arguments are of what it replaces
        if graph_of(operation) is None:
            return operation(*args, **kwargs)
        if id(operation) not in self._made:
            inputs = [
                keras.Input(batch_shape=_fitted(own.shape, given.shape), dtype=own.dtype, name=maker_of(own).name)
                for own, given in zip(graph_of(operation).inputs, tensors, strict=True)
            ]
            # First by its class, which is then saved as one: a file may not have all that its layers need.
            built = self._by_its_class(operation, inputs)
            is_filled = built is not None and _filled(operation, built)
            self._made[id(operation)] = built if is_filled else self.build(operation, inputs)
        return self._made[id(operation)](*args, **kwargs)


def _last_of(model: keras.Model) -> Iterator[int]:
    """Yield the ids of the operations that make the outputs of a model, those in nested models too."""
    for tensor in graph_of(model).outputs:
        operation = maker_of(tensor)
        yield id(operation)
        if graph_of(operation) is not None:
            yield from _last_of(operation)


def _filled(model: keras.Model, built: keras.Model) -> bool:
    """Give a model's weights to another; return whether it has the same graph."""
    try:
        copy_weights(model, built)
    except (ValueError, UnsupportedModel):
        return False
    return True


def _config_at(config: Any, own: tuple[int | None, int | None], size: tuple[int, int], key: str = "") -> Any:
    """Return a config that names another input size where it names the model's own."""
    if isinstance(config, Mapping):
        is_size = (config.get("height"), config.get("width")) == own
        changed = dict(zip(("height", "width"), size, strict=True)) if is_size else {}
        return {name: changed.get(name, _config_at(value, own, size, name)) for name, value in config.items()}
    if not isinstance(config, list | tuple):
        return config
    if key.endswith(("size", "shape")):
        if tuple(config[:2]) == own:
            return type(config)((*size, *config[2:]))
        if tuple(config[1:3]) == own:
            return type(config)((config[0], *size, *config[3:]))
    return type(config)(_config_at(value, own, size) for value in config)


def _resized(shape: tuple[int | None, ...], input_size: tuple[int, int] | None) -> tuple[int | None, ...]:
    return shape if input_size is None else (shape[0], *input_size, *shape[3:])


def _fitted(shape: tuple[int | None, ...], given: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """Return the shape of a nested model's input: what was fixed is as large as what the model is given now."""
    return tuple(None if own is None else side for own, side in zip(shape, given, strict=True))


def _plain(name: str) -> str:
    """Return a variable's name without the number that Keras gives to one that has no name."""
    return split_number(name)[0]


def _noise(model: keras.Model) -> Iterator[list[NDArray[Any]]]:
    """Yield two images for each input: pixels, and such as were normalized before."""
    random = np.random.default_rng(0)
    shapes = [(tensor.shape[0] or 1, *(side or 32 for side in tensor.shape[1:])) for tensor in model.inputs]
    dtypes = [tensor.dtype for tensor in model.inputs]
    yield [random.integers(0, 256, shape).astype(dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
    yield [random.normal(size=shape).astype(dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]


def _answers(model: keras.Model, images: list[NDArray[Any]]) -> list[NDArray[Any]]:
    outputs = model(tree.pack_sequence_as(inputs_structure(graph_of(model)), images), training=False)
    return [keras.ops.convert_to_numpy(output).astype(np.float32) for output in tree.flatten(outputs)]


@contextmanager
def _kept(*models: keras.Model) -> Iterator[None]:
    """Restore the variables that a layer's own code writes when the models are run."""
    variables = [variable for model in models for variable in model.non_trainable_variables]
    before = [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)


def _differ(answers: list[NDArray[Any]], others: list[NDArray[Any]]) -> bool:
    def is_close(own: NDArray[Any], other: NDArray[Any]) -> bool:
        # The same layers on the same numbers; a float16 kernel that sums in another order is within 1e-2.
        largest = np.abs(own[np.isfinite(own)]).max(initial=0)
        return bool(own.shape == other.shape and np.allclose(other, own, rtol=0, atol=1e-2 * largest, equal_nan=True))

    return not all(is_close(own, other) for own, other in zip(answers, others, strict=True))
