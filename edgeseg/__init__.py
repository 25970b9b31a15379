"""Export a Keras segmentation model to an edge device, prove it, run it and measure it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg._internal.lazy import lazy_names
from edgeseg.errors import (
    BackendUnavailable,
    DeviceLost,
    EdgesegError,
    InputError,
    RewriteRefused,
    SinkLost,
    SourceLost,
    UnsupportedModel,
    VerificationFailed,
)

if TYPE_CHECKING:
    from edgeseg.evaluation.confusion import ConfusionMatrix, argmax_agreement
    from edgeseg.segmenter import Segmentation, Segmenter
    from edgeseg.spec import ModelSpec, Provenance

__version__ = "0.1.0"

__all__ = [
    # running a model
    "Segmenter",
    "Segmentation",
    "ModelSpec",
    "Provenance",
    # scoring it
    "ConfusionMatrix",
    "argmax_agreement",
    # errors
    "EdgesegError",
    "InputError",
    "UnsupportedModel",
    "RewriteRefused",
    "VerificationFailed",
    "BackendUnavailable",
    "SourceLost",
    "SinkLost",
    "DeviceLost",
]

# Names whose module imports numpy, OpenCV or msgspec: they are loaded on first use, so that start-up stays cheap.
_LAZY = {
    "ConfusionMatrix": "edgeseg.evaluation.confusion",
    "argmax_agreement": "edgeseg.evaluation.confusion",
    "Segmenter": "edgeseg.segmenter",
    "Segmentation": "edgeseg.segmenter",
    "ModelSpec": "edgeseg.spec",
    "Provenance": "edgeseg.spec",
}

__getattr__ = lazy_names(__name__, _LAZY)
