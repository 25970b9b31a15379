"""Make a model give maps of logits, which the loss takes: remove what its outputs end in otherwise."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from edgeseg.errors import UnsupportedModel
from edgeseg.models.clone import Changes, clone, operations_within, require_same
from edgeseg.models.ending import final_activations, final_flattening, require_more_than_one, steps_of
from edgeseg.models.intervals import Interval, ValueIntervals
from edgeseg.models.keras_graph import graph_of
from edgeseg.models.keras_internals import inputs_structure

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Endings:
    """What the outputs of a model end in after the maps of logits: activations, and the flattening of a map.

    Attributes:
        names: of the activations, in the order in which they are applied, by the position of the output.
        flat: positions of the outputs that are flattened.
        linear: ids of the operations that are such an activation, or a flattening, and nothing else.
        without_activation: ids of the layers of Keras that have one as their attribute ``activation``.
    """

    names: Mapping[int, list[str]]
    flat: frozenset[int]
    linear: frozenset[int]
    without_activation: frozenset[int]

    @classmethod
    def of(cls, model: keras.Model) -> Endings:
        """Find those of a functional or built Sequential model.

        Raises:
            UnsupportedModel: one is in a layer's own code, or in a layer that another place needs as it is; or it is a
                softmax over one channel.
        """
        outputs = graph_of(model).outputs
        found = {index: list(final_activations(tensor, steps_of(model))) for index, tensor in enumerate(outputs)}
        flat = {
            index: flattening
            for index, tensor in enumerate(outputs)
            if (flattening := final_flattening(tensor, steps_of(model))) is not None
        }
        for index, tensor in enumerate(outputs):
            channels = (flat[index].source if index in flat else tensor).shape[-1]
            for final in found[index]:
                require_more_than_one(final, channels)
        finals = list(itertools.chain(*found.values()))
        for final in finals:
            if final.before is None and not final.is_attribute:
                operation = final.step.operation
                raise UnsupportedModel(
                    f"'{model.name}' ends in a {final.name} in the code of '{operation.name}' "
                    f"({type(operation).__name__}), and the loss takes logits; give the model without it, or with the "
                    "activation as a layer of its own."
                )
        ends = [(final.name, final.step.operation) for final in finals]
        ends += [("flattening", flattening.step.operation) for flattening in flat.values()]
        removed = Counter(id(operation) for _, operation in ends)
        called = Counter(id(operation) for operation in operations_within(graph_of(model)))
        for name, operation in ends:
            if called[id(operation)] > removed[id(operation)]:
                raise UnsupportedModel(
                    f"'{model.name}' ends in the {name} of '{operation.name}', which it calls in another place "
                    "too, and the loss takes maps of logits; give the last place a layer of its own."
                )
        linear = [final.step.operation for final in finals if final.before is not None]
        linear += [flattening.step.operation for flattening in flat.values()]
        return cls(
            names={index: [final.name for final in reversed(finals)] for index, finals in found.items() if finals},
            flat=frozenset(flat),
            linear=frozenset(map(id, linear)),
            without_activation=frozenset(id(final.step.operation) for final in finals if final.before is None),
        )

    def removed_by(self, input_size: tuple[int, int] | None = None, policy: str | None = None) -> Changes:
        """Return the changes of a clone that gives maps of logits, see ``Changes``."""
        return Changes(
            input_size=input_size, policy=policy, linear=self.linear, without_activation=self.without_activation
        )


def logits_clone(
    model: keras.Model, input_size: tuple[int, int] | None = None, *, custom_objects: Mapping[str, Any] | None = None
) -> keras.Model:
    """Build a model again without what its outputs end in, see ``Endings``, and prove that it is the same otherwise.

    The loss has a softmax, or the sigmoid of one channel; a sigmoid of several classes keeps the order of scores, and
    would limit the loss. A flattened map is the same numbers in other rows, as an export makes a map of it too.

    Args:
        model: functional or built Sequential.
        input_size: ``(H, W)`` in pixels, one that the model takes; the model's own when ``None``.
        custom_objects: the classes and functions that the model was loaded with.

    Raises:
        InputError: a layer gives something else when it is built from its config.
        UnsupportedModel: a layer cannot be built from its config, or an activation cannot be removed.
    """
    endings = Endings.of(model)
    built = clone(model, endings.removed_by(input_size), custom_objects=custom_objects)
    require_same(model, built, endings.names, flat=endings.flat)
    for names in endings.names.values():
        ending = " and a ".join(names)
        _log.warning("'%s' ends in a %s; it is trained and saved without, the loss has its own", model.name, ending)
    if endings.flat:
        _log.warning("'%s' ends in a flattened map; it is trained and saved as the map, as it exports", model.name)
    return built


def require_logits(name: str, model: keras.Model) -> None:
    """Refuse probabilities that no final activation gives, by the ops of the model or else by its outputs.

    Args:
        name: of the model in messages.
        model: functional, with one output.

    Raises:
        UnsupportedModel: its output is probabilities.
    """
    on_tensorflow = keras.backend.backend() == "tensorflow"
    interval = ValueIntervals(steps_of(model)).of(model.outputs[0]) if on_tensorflow else Interval()
    noise = np.random.default_rng(0)
    inputs = keras.tree.map_structure(
        lambda tensor: noise.normal(size=(1, *(side or 32 for side in tensor.shape[1:]))).astype(tensor.dtype),
        inputs_structure(graph_of(model)),
    )
    scores = keras.ops.convert_to_numpy(model(inputs, training=False))
    is_softmax = scores.shape[-1] > 1 and scores.min() >= 0 and np.allclose(scores.sum(-1), 1, atol=1e-3)
    # A convolution's output may lie in [0, 1] too, before it has learned anything.
    is_bounded = interval.origin != "linear" and scores.min() >= 0 and scores.max() <= 1 and np.ptp(scores) > 0
    if is_softmax or is_bounded or interval.is_probability:
        raise UnsupportedModel(
            f"'{name}' has a {'softmax' if is_softmax else 'sigmoid'} inside, the loss takes logits; give the model "
            "without it, or with it as its last layer, which is then removed."
        )
