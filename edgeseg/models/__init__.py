"""Build and fill the Keras zoo: ``create`` builds an architecture, ``load_weights`` and ``load_encoder`` fill it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg._internal.lazy import lazy_names
from edgeseg.models.zoo.creation import create
from edgeseg.models.zoo.entry import ZooModel
from edgeseg.models.zoo.table import DEFAULT_MODEL, ZOO, find

if TYPE_CHECKING:
    from edgeseg.models.architecture.fitting import load_weights
    from edgeseg.models.encoders.load import EncoderReport, load_encoder
    from edgeseg.models.keras_files.load import read_ranges
    from edgeseg.models.weights.load import WeightsReport

__all__ = [
    "DEFAULT_MODEL",
    "ZOO",
    "EncoderReport",
    "WeightsReport",
    "ZooModel",
    "create",
    "find",
    "load_encoder",
    "load_weights",
    "read_ranges",
]

# Their modules import keras: they are loaded on first use, so that the table of the zoo stays light.
_LAZY = {
    "EncoderReport": "edgeseg.models.encoders.load",
    "WeightsReport": "edgeseg.models.weights.load",
    "load_encoder": "edgeseg.models.encoders.load",
    "load_weights": "edgeseg.models.architecture.fitting",
    "read_ranges": "edgeseg.models.keras_files.load",
}

__getattr__, __dir__ = lazy_names(__name__, _LAZY, extras=dict.fromkeys(_LAZY, "train"))
