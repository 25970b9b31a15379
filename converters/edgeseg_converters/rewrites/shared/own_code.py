"""Tell layers of the user's own code from those that Keras and edgeseg bring, which rules know by their classes."""

from __future__ import annotations

from typing import Any

from keras import layers

from edgeseg.models.keras_internals import layers_within

_KNOWN = ("keras", "edgeseg", "edgeseg_converters")
_HOLDERS = (layers.Lambda, layers.TFSMLayer)  # Keras' own classes, with anybody's code in them


def has_own_code(layer: Any) -> bool:
    """Return whether a layer, or one within it, runs code that is neither Keras' nor edgeseg's."""
    return any(
        isinstance(part, _HOLDERS) or type(part).__module__.partition(".")[0] not in _KNOWN
        for part in layers_within(layer)
    )
