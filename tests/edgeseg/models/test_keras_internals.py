"""The private names of Keras: where to look for the replacement of one that is gone, and that one module has them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import pytest
from keras import layers

import edgeseg
import edgeseg_converters
from edgeseg.models.keras_graph import twin
from edgeseg.models.keras_internals import (
    call_of,
    calls_of,
    forget_calls,
    functional_inside,
    inputs_structure,
    is_functional,
    layers_directly_within,
    layers_within,
    maker_of,
    mark_dense,
    outputs_structure,
    replace_dtype_policy,
)

DOOR = Path("models") / "keras_internals.py"


@contextmanager
def replacement(name: str, place: str) -> Iterator[None]:
    """Turn the failure of a private name into a sentence that says where Keras may have it now."""
    try:
        yield
    except (AttributeError, AssertionError, TypeError) as error:
        pytest.fail(
            f"Keras {keras.__version__} has no {name} that works as in 3.15.1; look for its replacement in {place} "
            f"({error})"
        )


class Pair(layers.Layer):  # type: ignore[misc]
    """A layer that is made of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = layers.Dense(2)
        self.second = keras.Sequential([layers.Dense(2), layers.Dropout(0.5)])

    def call(self, x: object) -> object:
        return self.second(self.first(x))


def one_dense() -> keras.Model:
    inputs = keras.Input((4,), name="x")
    return keras.Model(inputs, layers.Dense(2, name="dense")(inputs))


def test_sequential_functional() -> None:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    with replacement("Sequential._functional", "Sequential.call, which runs it"):
        inside = functional_inside(model)
        assert inside is not None and inside.outputs[0] is model.outputs[0]
        assert functional_inside(keras.Sequential([layers.Dense(2)])) is None


def test_function_nodes_by_depth() -> None:
    model = one_dense()
    with replacement("Function._nodes_by_depth", "keras.Function.__init__ and what map_graph gives it"):
        assert is_functional(model)
        assert not is_functional(layers.Dense(2)) and not is_functional(keras.Model())
        assert [call.operation.name for call in calls_of(model)] == ["dense", "x"]


def test_operation_inbound_nodes_have_what_was_called_on_what() -> None:
    image, shared = keras.Input((4,)), layers.Dense(4)
    once = shared(image)
    twice = shared(once)
    with replacement("Operation._inbound_nodes", "the constructor of Keras' Node, which registers a call"):
        call = call_of(twice)
        assert call.operation is shared
        assert call.args[0] is once and call.inputs[0] is once and call.outputs[0] is twice
        total = call_of(keras.ops.concatenate([once, twice, once], axis=-1))
        assert total.args[0][1] is twice and total.kwargs.get("axis", -1) == -1
        assert [id(tensor) for tensor in total.inputs] == [id(once), id(twice), id(once)]


def test_keras_tensor_keras_history() -> None:
    model = one_dense()
    with replacement("KerasTensor._keras_history", "the constructor of Keras' Node, which marks a call's outputs"):
        assert maker_of(model.outputs[0]) is model.get_layer("dense")
        assert isinstance(maker_of(model.inputs[0]), layers.InputLayer)


def test_function_inputs_struct() -> None:
    image = keras.Input((4,), name="x")
    model = keras.Model({"x": image}, layers.Dense(2)(image))
    with replacement("Function._inputs_struct", "keras.Function.call, which checks the structure of what it is given"):
        assert inputs_structure(model).keys() == {"x"}
        assert inputs_structure(model)["x"] is model.inputs[0]


def test_function_outputs_struct() -> None:
    image = keras.Input((4,))
    model = keras.Model(image, {"main": layers.Dense(2)(image), "aux": [layers.Dense(3)(image)]})
    with replacement("Function._outputs_struct", "keras.Function, which packs its outputs into the structure"):
        assert outputs_structure(model)["main"].shape == (None, 2)
        assert outputs_structure(model)["aux"][0].shape == (None, 3)


def test_layer_flatten_layers() -> None:
    pair = Pair()
    with replacement("Layer._flatten_layers", "Layer.losses, which asks every layer within for its own"):
        names = {layer.name for layer in layers_within(pair)}
        assert names == {pair.name, pair.first.name, pair.second.name, *(inner.name for inner in pair.second.layers)}
        assert {layer.name for layer in layers_directly_within(pair)} == {pair.first.name, pair.second.name}


def test_operation_outbound_nodes_of_a_copy_are_its_own() -> None:
    model = one_dense()
    dense, start = model.get_layer("dense"), model.layers[0]
    copies = [object.__new__(type(layer)) for layer in (start, dense)]
    with replacement("Operation._outbound_nodes", "the constructor of Keras' Node, which registers a call"):
        for copied, layer in zip(copies, (start, dense), strict=True):
            copied.__dict__.update(layer.__dict__)
            forget_calls(copied)
        after = layers.Dense(2)
        after(copies[1](keras.Input((4,))))
        assert len(dense._inbound_nodes) == 1 and not dense._outbound_nodes
        assert len(copies[1]._inbound_nodes) == len(copies[1]._outbound_nodes) == 1
        assert len(start._outbound_nodes) == 1 and not copies[0]._outbound_nodes


def test_keras_tensor_sparse() -> None:
    with replacement("KerasTensor._sparse", "keras/src/backend/common/keras_tensor.py"):
        assert not mark_dense(keras.KerasTensor((4,), sparse=True)).sparse
    assert keras.ops.multiply(2, keras.Input((4,))).sparse, "keras.ops says what it returns: mark_dense may go"


def test_layer_dtype_policy() -> None:
    layer = layers.Dense(2, dtype="mixed_bfloat16")
    layer.build((None, 4))
    copied = twin(layer)
    with replacement("Layer._dtype_policy", "Layer.compute_dtype and the setter of Layer.dtype_policy"):
        replace_dtype_policy(copied, keras.DTypePolicy("float32"))
        assert (copied.compute_dtype, layer.compute_dtype) == ("float32", "bfloat16")
        assert copied(keras.Input((4,))).dtype == "float32"


def test_layer_dtype_policy_in_a_map_stays_that_of_the_layer_that_was_copied() -> None:
    policies = keras.dtype_policies.DTypePolicyMap("mixed_bfloat16")
    layer = layers.Dense(2, dtype=policies)
    layer.build((None, 4))
    copied = twin(layer)
    replace_dtype_policy(copied, keras.DTypePolicy("float32"))
    assert (copied.compute_dtype, layer.compute_dtype) == ("float32", "bfloat16")


def private_names() -> set[str]:
    """Every underscored name of Keras' own objects of the kinds that edgeseg handles."""
    image = keras.Input((4,))
    model = keras.Model(image, layers.Dense(2)(image))
    known = (
        image,
        model,
        keras.Sequential([image, layers.Dense(2)]),
        layers.Dense(2),
        layers.BatchNormalization(),
        keras.Variable([1.0]),
        keras.DTypePolicy("float32"),
        keras.optimizers.SGD(),
        keras.losses.MeanSquaredError(),
        keras.metrics.MeanIoU(2),
        keras.callbacks.TensorBoard(),
        keras,
    )
    names = {name for thing in known for name in dir(thing)} | {"_functional", "_keras_history"}
    return {name for name in names if name.startswith("_") and not name.startswith("__")}


def reached_for(code: str, names: set[str]) -> list[tuple[int, str]]:
    """Return where code reaches for one of the names, or into ``keras.src``: lines and what is there.

    Of ``self`` and ``cls`` only what the door has counts: many classes of ours have a ``_path`` or a ``_lock``.
    """
    door = {name for name in names if name in door_code()}
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if node.attr in (door if own else names) or ast.unparse(node) == "keras.src":
                found.append((node.lineno, ast.unparse(node)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in names:
            found.append((node.lineno, repr(node.value)))
        elif isinstance(node, ast.keyword) and node.arg in names:
            found.append((node.value.lineno, f"{node.arg}="))
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [alias.name for alias in node.names]
            modules = [f"{node.module}.{name}" for name in modules] if isinstance(node, ast.ImportFrom) else modules
            found += [(node.lineno, module) for module in modules if f"{module}.".startswith("keras.src.")]
    return found


def door_code() -> str:
    return (Path(edgeseg.__file__).parent / DOOR).read_text(encoding="utf-8")


def test_the_scan_sees_what_reaches_for_keras_and_only_that() -> None:
    code = """
import keras.src.ops
from keras.src import backend
from keras import src
x = tensor._keras_history.operation
self._inbound_nodes
self._path
getattr(layer, "_dtype_policy")
made.__dict__.update(_outbound_nodes=[])
y = keras.src.layers
model.layers, layer.dtype_policy, other._ours
"""
    assert [line for line, _ in sorted(reached_for(code, private_names()))] == [2, 3, 4, 5, 6, 8, 9, 10]


def modules() -> list[Path]:
    packages = (Path(edgeseg.__file__).parent, Path(edgeseg_converters.__file__).parent)
    return [path for package in packages for path in sorted(package.rglob("*.py")) if path != packages[0] / DOOR]


def test_no_other_module_reaches_for_a_private_name_of_keras() -> None:
    names = private_names()
    found = [
        f"{path.parent.name}/{path.name}:{line}: {what}"
        for path in modules()
        for line, what in reached_for(path.read_text(encoding="utf-8"), names)
    ]
    assert not found, "reach it through edgeseg/models/keras_internals.py:\n" + "\n".join(found)
