"""Tell whether an earlier tuning was of the same model, data, settings and device, so that its work counts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edgeseg._internal.files import sha256
from edgeseg._internal.versions import __version__, installed_version
from edgeseg.datasets import Data, as_source
from edgeseg.errors import InputError
from edgeseg.models.keras_internals import calls_of, is_functional, layers_within
from edgeseg.spec import ModelSpec
from edgeseg_converters.images import find
from edgeseg_converters.tuning.options import TuneOptions

#: What made files follow from; and what measurements follow from besides.
OF_FILES = ("model", "data", "conversion", "versions")
PARTS = (*OF_FILES, "device", "search")

_TOOLS = (
    "tensorflow",
    "keras",
    "litert-quantizer",
    "ai-edge-litert",
    "tflite-runtime",
    "tf2onnx",
    "onnx",
    "onnxruntime",
    "MNN",
    "openvino",
)


def key_of(model: keras.Model, spec: ModelSpec, data: Data, options: TuneOptions, device: str) -> dict[str, str]:
    """Return a digest of each part of ``PARTS``.

    Args:
        model: the Keras model.
        spec: how it is fed.
        data: what calibrates and proves; files count by their name, size and time.
        options: of the tuning; the budget does not count, as more of it continues the same work.
        device: name of the device.

    Raises:
        InputError: the data has no images.
    """
    settings = options.quantization
    conversion: dict[str, Any] = {
        "splits": (settings.split, settings.calibration_split),
        "calibration": (settings.num_calibration_samples, settings.seed, settings.method, settings.ptq),
        "images": None if settings.calibration is None else _stamps(settings.calibration.paths),
        "gate": dataclasses.astuple(settings.gate),
        "num_images": options.num_images,
    }
    if settings.learned is not None:
        conversion["learned"] = settings.learned.to_json()
    search = {
        "formats": options.formats,
        "precisions": options.precisions,
        "accelerators": options.accelerators,
        "num_threads": options.num_threads,
        "plan": dataclasses.asdict(options.plan),
    }
    return {
        "model": _of_model(model, spec),
        "data": _of_data(data, (settings.split, settings.calibration_split)),
        "conversion": _of(conversion),
        "versions": _of({"edgeseg": __version__, **{name: installed_version(name) for name in _TOOLS}}),
        "device": device,
        "search": _of(search),
    }


def _of(values: Mapping[str, Any]) -> str:
    return sha256(json.dumps(values, sort_keys=True, default=str).encode())


def _of_model(model: keras.Model, spec: ModelSpec) -> str:
    """Return the digest of a model's layers, connections and weights; names, which Keras numbers, do not count."""
    digest = hashlib.sha256(spec.to_json().encode())
    for layer in layers_within(model):
        digest.update(f"{type(layer).__name__} {_config(layer)}".encode())
        if is_functional(layer):
            digest.update(_connections(layer).encode())
    for variable in model.weights:  # not `variables`: those of a Dropout have a seed, another one at each load
        values = np.asarray(keras.ops.convert_to_numpy(variable))
        digest.update(f"{values.shape} {values.dtype}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _connections(model: keras.Model) -> str:
    """Return which operation of a functional model is called on what, each known by its position in the model."""
    calls = calls_of(model)
    numbers: dict[int, int] = {}
    for call in calls:
        numbers.setdefault(id(call.operation), len(numbers))
    tensors = {
        id(tensor): f"{position}:{output}"
        for position, call in enumerate(calls)
        for output, tensor in enumerate(call.outputs)
    }

    def known(value: Any) -> str:
        if isinstance(value, keras.KerasTensor):
            return tensors.get(id(value), "")
        if isinstance(value, np.ndarray):
            return f"{value.shape} {value.dtype} {sha256(np.ascontiguousarray(value).tobytes())}"
        return str(value) if isinstance(value, (slice, type(...))) else type(value).__name__

    said = [
        (numbers[id(call.operation)], type(call.operation).__name__, _config(call.operation), call.args, call.kwargs)
        for call in calls
    ]
    return json.dumps([said, model.inputs, model.outputs], sort_keys=True, default=known)


def _config(layer: keras.Layer | keras.Operation) -> str:
    if isinstance(layer, keras.Model):  # its layers follow, and its config has their names
        return ""
    try:
        config = layer.get_config()
    except NotImplementedError:  # a layer of the user's that cannot be saved
        return ""
    plain = {name: value for name, value in config.items() if name not in ("name", "build_config")}
    # Objects that JSON lacks are known by their type: their text may have an address.
    return json.dumps(plain, sort_keys=True, default=lambda value: type(value).__name__)


def _of_data(data: Data, splits: Iterable[str]) -> str:
    paths: Sequence[Path] = []
    for split in dict.fromkeys(splits):
        try:
            images, labels, _ = find(data, split)
        except InputError:  # a split that only some files need, which says so when it is
            continue
        paths = [*paths, *images, *([] if labels is None else [label for _, label in labels.pairs])]
    return _of({"source": dataclasses.asdict(as_source(data)), "files": _stamps(paths)})


def _stamps(paths: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Return what tells whether files are the same: their names, sizes and times."""
    return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
