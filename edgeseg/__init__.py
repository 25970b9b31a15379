"""Export a Keras segmentation model to an edge device, prove it, run it and measure it.

Run a model on an image; ``class_map`` is ``(h, w)`` uint8, at the image's own size::

    with edgeseg.Segmenter("model.int8.tflite") as segmenter:
        segmentation = segmenter(image_rgb)
    segmentation.save("out.png", image_rgb)

Run it on a camera, a stream, a video or a folder::

    with edgeseg.Segmenter("model.int8.tflite") as segmenter:
        with edgeseg.Camera(segmenter, edgeseg.open_source("0")) as camera:
            for frame in camera:
                print(frame.segmentation.counts())

Export a Keras model, which the result is proven against::

    opened = edgeseg.load_model("my_unet.keras")
    result = edgeseg.export(opened.model, spec=opened.spec, format="tflite", precision="fp16")
    result.save("my_unet.fp16.tflite")

Train one and score it::

    edgeseg.train(edgeseg.TrainConfig(model="efficientnet_lite0_unet", data="DIR"), "runs/street")
    scores = edgeseg.evaluate(segmenter, edgeseg.open_split("DIR", "test"))

Everything that edgeseg raises on purpose is an ``EdgesegError``, whose text is one line for a person.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from edgeseg._internal.lazy import lazy_names
from edgeseg._internal.versions import __version__ as __version__
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

# From 1.32 on ONNX Runtime's wheel writes an id of the device into ~/.cache and sends its maker what runs, beginning with
# its import, unless this was set before (onnxruntime PR 27379). Whoever wants it sets 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from edgeseg.camera.loop import Camera
    from edgeseg.datasets.source import open_split
    from edgeseg.evaluation.confusion import ConfusionMatrix, argmax_agreement
    from edgeseg.evaluation.evaluate import evaluate
    from edgeseg.models.opening import load_model
    from edgeseg.segmentation import Segmentation
    from edgeseg.segmenter import Segmenter
    from edgeseg.sources.opening import open_source
    from edgeseg.spec import ModelSpec, Provenance
    from edgeseg.training.config import TrainConfig
    from edgeseg.training.fit import train
    from edgeseg_converters.exporter import export
    from edgeseg_converters.rewrites import rewrite

__all__ = [
    # running a model
    "Segmenter",
    "Segmentation",
    "Camera",
    "open_source",
    # putting one on a device
    "load_model",
    "export",
    "rewrite",
    # training and scoring one
    "train",
    "TrainConfig",
    "evaluate",
    "open_split",
    "ConfusionMatrix",
    "argmax_agreement",
    # how a model is fed
    "ModelSpec",
    "Provenance",
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

# Names whose module imports numpy, OpenCV, msgspec or keras: they are loaded on first use: start-up stays cheap.
_LAZY = {
    "Camera": "edgeseg.camera.loop",
    "ConfusionMatrix": "edgeseg.evaluation.confusion",
    "Segmentation": "edgeseg.segmentation",
    "Segmenter": "edgeseg.segmenter",
    "TrainConfig": "edgeseg.training.config",
    "argmax_agreement": "edgeseg.evaluation.confusion",
    "evaluate": "edgeseg.evaluation.evaluate",
    "export": "edgeseg_converters.exporter",
    "load_model": "edgeseg.models.opening",
    "open_source": "edgeseg.sources.opening",
    "open_split": "edgeseg.datasets.source",
    "rewrite": "edgeseg_converters.rewrites",
    "train": "edgeseg.training.fit",
    "ModelSpec": "edgeseg.spec",
    "Provenance": "edgeseg.spec",
}
_EXTRAS = {"export": "convert", "load_model": "train", "rewrite": "convert", "train": "train"}

__getattr__, __dir__ = lazy_names(__name__, _LAZY, extras=_EXTRAS)
