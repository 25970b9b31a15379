"""Put the user's code in the place of layers whose own code is not in the file or never run, and refuse Lambdas.

A Lambda layer is Python bytecode. Its name is in the file, and what it makes of which shape can mostly be found out
without running it; so the message proposes the layer of Keras that does this, as the ``custom_objects`` to give.
"""

from __future__ import annotations

import contextlib
import copy
import math
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from edgeseg.errors import InputError
from edgeseg.models.keras_files import tensorflow_ops
from edgeseg.models.keras_files.allowed import is_keras_name, is_listed_class, is_listed_name
from edgeseg.models.keras_files.config import Entry, entries
from edgeseg.models.keras_files.custom_objects import KNOWN
from edgeseg.models.keras_files.keras2_graph import Graph, is_model, leaves

OWN = "CUSTOM_OBJECTS:"  # before a name in a config: in .h5 files, Keras puts the object there in place of its name
LAMBDAS = ("Lambda", "__lambda__")
_ACTIVATIONS = ("Activation", "Softmax", "ReLU", "LeakyReLU")
# What Keras raises for a config of which a part is missing: then there is nothing to propose.
_GIVE_UP = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError, InputError)

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable(package="edgeseg")
class OwnFunction(keras.layers.Layer):  # type: ignore[misc]
    """Runs a function of the user's in the place of a Lambda layer or of a function of TensorFlow.

    Args:
        function: its name among the custom objects: the file has no code.
        arguments: by name, after those of the call.

    Call: the arguments of the layer that it replaces.

    Raises:
        InputError: there is no such custom object.
    """

    def __init__(self, function: str, arguments: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.function, self.arguments = function.removeprefix(OWN), dict(arguments or {})
        self._run = keras.saving.get_registered_object(self.function)
        if self._run is None:
            raise InputError(
                f"the layer '{self.name}' runs a function of yours; give it: "
                f"`custom_objects={{{self.function!r}: your_function}}`."
            )

    def call(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102 - Keras' own
        kwargs.pop("name", None)  # TensorFlow's name for an op, once in every graph
        return self._run(*args, **self.arguments, **kwargs)

    def get_config(self) -> dict[str, Any]:  # noqa: D102 - Keras' own
        return {**super().get_config(), "function": OWN + self.function, "arguments": self.arguments}


def replace_layers(root: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Put the user's code in the place of layers that no file may name, and of functions of TensorFlow.

    Args:
        root: a model config; changed in place where something is replaced. Nothing of it is deserialized.
        own: the user's objects. What has the name of a Lambda layer or of another one that ``allowed`` does not list,
            or of a function (``tf.signal.rfft``) or the layer that calls it, replaces it: a layer class, made with
            the layer's ``name``, ``trainable`` and ``dtype``; a layer, of which the config is taken; a function.

    Returns:
        The inserted classes, by the name that the config now has for them.
    """
    replaced: dict[str, Any] = {}
    for entry in list(entries(root)):
        key = next((key for key in _keys(entry) if key in own), None)
        if key is not None:
            replaced |= _replace(entry.value, key, own[key])
    return replaced


def refuse_lambdas(root: dict[str, Any], own: Mapping[str, Any], path: str | Path, *, compiled: bool = False) -> None:
    """Refuse the Lambdas that are left, with a proposal for each.

    Args:
        root: a model config, of which all other names have been checked: what is around a Lambda is built, to find
            out its shapes.
        own: the user's objects.
        path: the file, for messages.
        compiled: whether its part for ``compile`` will be read.

    Raises:
        InputError: there is a Lambda, or another serialized function.
    """
    left = [entry for entry in entries(root, compiled=compiled) if entry.class_name in LAMBDAS]
    if left:
        names = ", ".join(dict.fromkeys(repr(entry.layer) for entry in left))
        raise InputError(
            f"'{path}' has Lambda layers, Python bytecode that edgeseg never runs: {names}. Put Keras layers in "
            f"their place: {_instead(root, left, {**KNOWN, **own})}; or name the zoo architecture and load weights "
            f"only: edgeseg export ZOO_NAME --weights {shlex.quote(str(path))}."
        )


def _keys(entry: Entry) -> Iterator[str]:
    """Yield the names under which the user may replace a layer, where it is one that no file may name."""
    config = entry.value.get("config")
    if not (entry.class_name in tensorflow_ops.CLASSES or _is_refused(entry)) or not isinstance(config, dict):
        return
    yield from (str(name) for name in (entry.value.get("name"), config.get("name")) if name is not None)
    if entry.class_name in tensorflow_ops.CLASSES:
        yield f"tf.{config.get('function')}"


def _is_refused(entry: Entry) -> bool:
    """Return whether a layer, or a call of ``keras.ops`` between layers, is one of Keras that is not listed."""
    name, module = entry.class_name, entry.value.get("module")
    if entry.key not in ("layers", "layer"):
        return name == "Lambda"
    if isinstance(module, str) and module.partition(".")[0] == "keras":
        return not is_listed_class(module, name)
    return is_keras_name(name) and not is_listed_name(name)


def _replace(value: dict[str, Any], key: str, own: Any) -> dict[str, Any]:
    """Write the user's code into the config of a layer; return its class by the name there."""
    config = value["config"]
    base = {name: config[name] for name in ("name", "trainable", "dtype") if name in config}
    if isinstance(own, keras.layers.Layer):
        code, new = type(own), {**own.get_config(), **base}
    elif isinstance(own, type):
        code, new = own, base
    elif callable(own):
        code, new = OwnFunction, {**base, "function": OWN + key, "arguments": config.get("arguments") or {}}
    else:
        raise InputError(f"CUSTOM_OBJECTS has {own!r} for {key!r}; accepted: a Keras layer, its class or a function.")
    # The name itself stays the function's, which the layer looks up.
    name = f"{code.__name__}:{key}" if code is OwnFunction else key
    value.update(class_name=name, config=new)
    _drop_defaults(value.get("inbound_nodes"))
    if "module" in value:
        value.update(module=None, registered_name=name, build_config=None)
    return {name: code}


def _drop_defaults(nodes: Any) -> None:
    """Drop the arguments of a layer's calls that are ``None``: a Lambda has ``mask=None``, others have no mask."""
    if isinstance(nodes, list):
        for node in nodes:
            _drop_defaults(node)
    elif isinstance(nodes, dict):  # of Keras 3: {"args", "kwargs"}; of Keras 2: the arguments themselves
        arguments = nodes.get("kwargs", nodes)
        for name in [name for name, value in arguments.items() if value is None]:
            del arguments[name]


# --- what to put in the place of a Lambda ---


@dataclass(frozen=True)
class _Proposal:
    """A layer that makes the same shapes as a Lambda.

    Attributes:
        code: the layer, as Python.
        imports: the line that it needs.
        meaning: what it is a guess at, for people.
    """

    code: str
    imports: str = "import keras"
    meaning: str = "a bilinear resize (align_corners: see edgeseg.models.layers.ResizeBilinear)"


def _instead(root: dict[str, Any], left: list[Entry], objects: Mapping[str, Any]) -> str:
    """Return the two lines that replace Lambda layers, and what their shapes say; else only where to put a layer."""
    shapes = dict(_shapes(root, objects))
    proposals = {}
    image = _image(root.get("config"))
    for entry in left:
        name = _own_name(entry)
        proposal = _proposal(*shapes[name], image if _takes_input(entry, root) else None) if name in shapes else None
        if proposal is not None:
            proposals[name] = proposal
    said = ", ".join(f"{name!r} makes {to or 'something'} of {of}" for name, (of, to) in shapes.items())
    unclear = [name for name in map(_own_name, left) if name not in proposals]
    if unclear:
        line = f"`custom_objects={{{unclear[0]!r}: YourLayer}}`, a layer or a function"
        return f"{line} ({said})" if said else line
    meanings = " and ".join(dict.fromkeys(proposal.meaning for proposal in proposals.values()))
    imports = "; ".join(sorted({proposal.imports for proposal in proposals.values()}))
    code = ", ".join(f"{name!r}: {proposal.code}" for name, proposal in proposals.items())
    return f"{said}; where that is {meanings}, give `custom_objects={{{code}}}`, after `{imports}`"


def _own_name(entry: Entry) -> str:
    config = entry.value.get("config")
    inner = config.get("name") if isinstance(config, dict) else None
    return str(entry.value.get("name") or inner or entry.layer.rpartition("/")[2])


def _proposal(source: Any, target: Shape | None, image: Shape | None) -> _Proposal | None:
    """Return the layer that turns one shape into the other; ``None`` where the shapes do not tell."""
    if not isinstance(source, list) and source == image and target in (None, image):
        return _Proposal("keras.layers.Rescaling(1 / 127.5, offset=-1)", meaning="x / 127.5 - 1 of the pixels")
    if target is None:
        return None
    if isinstance(source, list):
        is_pair = len(source) == 2 and all(len(shape) == 4 for shape in source)
        if is_pair and target == (*source[0][:1], *source[1][1:3], source[0][3]) and target != source[0]:
            return _Proposal("ResizeBilinear(align_corners=False)", "from edgeseg.models.layers import ResizeBilinear")
        return None
    inner, outer = source[1:], target[1:]
    if len(source) == 4 and outer in ((1, 1, source[3]), (source[3],)) and inner[:2] != (1, 1):
        keep = "keepdims=True" if len(target) == 4 else ""
        return _Proposal(f"keras.layers.GlobalAveragePooling2D({keep})", meaning="a mean over the map")
    if len(source) == len(target) == 4 and source[3] == target[3] and inner != outer:
        if None in inner or None in outer:
            return None
        (h, w), (height, width) = inner[:2], outer[:2]
        if height % h == 0 and width % w == 0:
            return _Proposal(f"keras.layers.UpSampling2D(({height // h}, {width // w}), interpolation='bilinear')")
        size = f"ResizeBilinear(({height}, {width}), align_corners=False)"
        return _Proposal(size, "from edgeseg.models.layers import ResizeBilinear")
    if len(source) != len(target) and _elements(inner) == _elements(outer) > 0:
        return _Proposal(f"keras.layers.Reshape({tuple(outer)})", meaning="a reshape")
    return None


def _elements(sides: Shape) -> int:
    """Return how many numbers a map has; 0 where a side is open."""
    return math.prod(side or 0 for side in sides)


def _shapes(root: dict[str, Any], objects: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Any, Shape | None]]]:
    """Yield the shapes that Lambda layers take and return, where they can be known without running them."""
    for entry in entries(root):
        config = entry.value.get("config")
        if not is_model(entry.value) or not isinstance(config, dict) or "output_layers" not in config:
            continue
        lambdas = {str(inner.get("name")) for inner in config["layers"] if inner.get("class_name") in LAMBDAS}
        if any(_tensors(inner.get("inbound_nodes")) for inner in config["layers"]):
            yield from _recorded_shapes(config, lambdas)
        elif lambdas:
            yield from _traced_shapes(config, lambdas, objects).items()


def _recorded_shapes(config: dict[str, Any], lambdas: set[str]) -> Iterator[tuple[str, tuple[Any, Shape | None]]]:
    """Yield the shapes that Keras 3 wrote beside the calls."""
    taken: dict[str, Any] = {}
    made: dict[str, Shape] = {}
    for layer in config["layers"]:
        tensors = _tensors(layer.get("inbound_nodes"))
        for maker, shape in tensors:
            made[maker] = shape
        if tensors:
            taken[str(layer.get("name"))] = tensors[0][1] if len(tensors) == 1 else [shape for _, shape in tensors]
    image = _image(config)
    for name in (name for name in taken if name in lambdas):
        output = made.get(name)
        if output is None and image is not None and not isinstance(taken[name], list) and len(taken[name]) == 4:
            output = (*image[:3], taken[name][3])  # nobody takes it: it is the model's output
        yield name, (taken[name], output)


def _tensors(node: Any) -> list[tuple[str, Shape]]:
    """Return the layer and the shape of each tensor in Keras 3's record of a call; Keras 2's has none."""
    if isinstance(node, dict) and node.get("class_name") == "__keras_tensor__":
        inner = node["config"]
        return [(str(inner["keras_history"][0]), tuple(inner["shape"]))]
    items = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [tensor for item in items for tensor in _tensors(item)]


def _takes_input(entry: Entry, root: dict[str, Any]) -> bool:
    """Return whether a layer is called on what the model is given."""
    nodes = entry.value.get("inbound_nodes")
    makers = {name for name, _ in _tensors(nodes)} | {leaf[0] for leaf in leaves(nodes)}
    return any(_own_name(other) in makers for other in entries(root) if other.class_name == "InputLayer")


def _image(config: Any) -> Shape | None:
    """Return the shape of a model's first input; ``None`` where it has none or is no image."""
    for layer in (config.get("layers") if isinstance(config, dict) else None) or ():
        inner = layer.get("config") or {}
        shape = inner.get("batch_shape") or inner.get("batch_input_shape")
        if layer.get("class_name") == "InputLayer" and shape:
            return tuple(shape) if len(shape) == 4 else None
    return None


def _traced_shapes(
    config: dict[str, Any], lambdas: set[str], objects: Mapping[str, Any]
) -> dict[str, tuple[Any, Shape | None]]:
    """Return the shapes that follow from the layers around, as Keras 2 wrote none; those that are known are enough."""
    found: dict[str, tuple[Any, Shape | None]] = {}
    with contextlib.suppress(*_GIVE_UP):
        _AroundLambdas(copy.deepcopy(config), objects, lambdas, found)
    return found


class _AroundLambdas(Graph):
    """The calls of a model, in which a Lambda makes what the layers after it need.

    Args:
        config: of the model, translated.
        objects: classes and functions by the names in the config.
        lambdas: the names of the Lambda layers.
        found: what each Lambda takes and makes is written here, as far as it is known.
    """

    def __init__(
        self,
        config: dict[str, Any],
        objects: Mapping[str, Any],
        lambdas: set[str],
        found: dict[str, tuple[Any, Shape | None]],
    ) -> None:
        self._lambdas, self._found, self._config = lambdas, found, config
        self._may_guess = False
        super().__init__(config, objects)

    def _make(self, name: str, entry: dict[str, Any], objects: Mapping[str, Any]) -> keras.Layer | None:
        return None if name in self._lambdas else super()._make(name, entry, objects)

    def _ready(self, call: Any) -> bool:
        return (self._may_guess or call[0] not in self._lambdas) and super()._ready(call)

    def _stuck(self, waiting: list[Any]) -> list[Any]:
        """Make the calls of Lambdas, now that everything beside them is known."""
        self._may_guess = True
        guessed = []
        for call in waiting:
            if call[0] in self._lambdas and self._ready(call):
                source = keras.tree.map_structure(lambda tensor: tuple(tensor.shape), self._arguments(call[2])[0][0])
                target = self._shape_after(call[0], source)
                self._found[call[0]] = (source, target)
                if target is not None:
                    self._values[call[0], call[1]] = [keras.Input(batch_shape=target)]
                    guessed.append(call)
        self._may_guess = False
        return [call for call in waiting if call not in guessed] if guessed else super()._stuck(waiting)

    def _shape_after(self, name: str, source: Any) -> Shape | None:
        """Return the shape that a Lambda makes: as its config says, or as what it is merged with, or as the image."""
        batch, *_, channels = source[0] if isinstance(source, list) else source
        said = self._entries[name]["config"].get("output_shape")
        if isinstance(said, list) and all(side is None or isinstance(side, int) for side in said):
            return (batch, *said)
        after = [entry for entry in self._entries.values() if self._takes(entry, name)]
        for entry in after:
            for reference in self._references(entry.get("inbound_nodes")):
                values = self._values.get(self._key(reference))
                if values is not None and len(values[0].shape) == 4:
                    return (batch, *values[0].shape[1:3], channels)
        ends = [name, *(str(entry["name"]) for entry in after if entry["class_name"] in _ACTIVATIONS)]
        image = _image(self._config)
        if image is not None and any(item[0] in ends for item in self._references(self._config["output_layers"])):
            return (*image[:3], channels)
        return None

    def _takes(self, entry: dict[str, Any], name: str) -> bool:
        return any(reference[0] == name for reference in self._references(entry.get("inbound_nodes")))
