"""Name the losses as a user types them: edgeseg's own names, and those of Keras that mean one of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import cast, get_args

from edgeseg.choices import LossKind
from edgeseg.errors import InputError, did_you_mean

#: Keras' names of losses that mean one of edgeseg's whatever its settings. Its Dice and focal losses have the formulas
#: and defaults of Keras, so their names are none.
KERAS_NAMES: Mapping[str, LossKind] = MappingProxyType(
    {
        "binary_crossentropy": "cross-entropy",
        "categorical_crossentropy": "cross-entropy",
        "sparse_categorical_crossentropy": "cross-entropy",
    }
)


def loss_kind(name: str) -> LossKind:
    """Return the loss that a name means.

    Raises:
        InputError: the name is none that is accepted; of Keras' other losses the object is accepted by ``train``.
    """
    if name in get_args(LossKind):
        return cast("LossKind", name)
    if name in KERAS_NAMES:
        return KERAS_NAMES[name]
    accepted = (*get_args(LossKind), *KERAS_NAMES)
    raise InputError(f"loss must be one of {', '.join(accepted)}, got {name}.{did_you_mean(name, accepted)}")


def require_channels(name: str, channels: int, output: str) -> None:
    """Refuse a name of Keras' that says another number of channels than an output has.

    Args:
        name: of the loss.
        channels: of the output.
        output: its name in messages.

    Raises:
        InputError: the loss is of one channel and the output has several, or the other way around.
    """
    if name in KERAS_NAMES and (name == "binary_crossentropy") != (channels == 1):
        has = "one channel" if channels == 1 else f"{channels} channels, of which a pixel has one"
        other = "binary_crossentropy" if channels == 1 else "sparse_categorical_crossentropy"
        raise InputError(
            f"{name} is not for the output '{output}', which has {has}; give {other}, or cross-entropy, which fits any."
        )
