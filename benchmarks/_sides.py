"""Make the files that ``export_latency`` and ``peers`` compare: today's and edgeseg's, of one model and its weights."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

import edgeseg
from edgeseg.errors import InputError
from edgeseg_converters.options import ExportOptions

if TYPE_CHECKING:
    import keras

RUNTIMES = ("tflite", "onnx")
#: In the cache: the image that the files are timed and compared on, ``(h, w, 3)`` uint8 RGB, not a calibration image.
IMAGE = "image.npy"
_SOURCES = Path(edgeseg.__file__).parent.parent
_CLASSES = 21

#: What a naive file gives: the logits, their softmax, or the class of each pixel.
NaiveOutput = Literal["logits", "softmax", "classes"]


def edgeseg_sources() -> str:
    """Return a hash of edgeseg's sources: files made by other sources are not taken from the cache."""
    return _hash("edgeseg", "converters")


def naive_sources() -> str:
    """Return a hash of what makes the naive files: this file and the models."""
    return hashlib.sha256(Path(__file__).read_bytes() + _hash("edgeseg/models").encode()).hexdigest()[:10]


def artifacts(model: tuple[str, tuple[int, int]], targets: list[str], cache: Path) -> dict[tuple[str, str], Path]:
    """Map runtime and side (``today`` or a target) to the file in the cache; a refusal is a text file, ``.refused``."""
    cached = {}
    for key, path in _paths(model, targets, cache).items():
        refused = path.with_name(f"{path.name}.refused")
        if path.exists() or refused.exists():
            cached[key] = path if path.exists() else refused
    return cached


def convert_sides(model: tuple[str, tuple[int, int]], targets: list[str], cache: Path) -> None:
    """Make the files that the cache lacks, and the image."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from edgeseg.models.zoo.table import ZOO
    from edgeseg_converters import Recipe, export_all
    from edgeseg_converters.images import collect
    from edgeseg_converters.rewrites import RULES

    *calibration, image = collect(None, split="val", count=3).images
    np.save(cache / IMAGE, image)
    for target in targets:
        if not any(target in known for known in RULES.values()):
            raise InputError(f"no format has the target '{target}'.")
    cached = artifacts(model, targets, cache)
    wanted = _paths(model, targets, cache).items()
    missing = {k: path for k, path in wanted if k not in cached and (k[1] == "today" or k[1] in RULES[k[0]])}
    name, size = model
    keras_model = calibrated(name, size, calibration) if missing else None
    for (runtime, side), path in missing.items():
        if side != "today":
            spec = ZOO[name].default_spec(_CLASSES, size)
            (result,) = export_all(keras_model, spec, [Recipe(runtime, "fp32")], options=ExportOptions(target=side))
            path.write_bytes(result.data)
            continue
        try:
            path.write_bytes(_today_tflite(keras_model) if runtime == "tflite" else _today_onnx(keras_model))
        except Refused as refusal:
            path.with_name(f"{path.name}.refused").write_text(f"{refusal}\n")


class Refused(Exception):
    """Today's converter does not take the model; the text says why."""


def calibrated(name: str, size: tuple[int, int], images: list[NDArray[np.uint8]]) -> keras.Model:
    """Build a zoo model with seeded random weights and batch-norm statistics of real images.

    With the initial statistics the maps of a deep model fade to nothing, and every pixel is a tie.
    """
    import keras

    from edgeseg.imaging import preprocess
    from edgeseg.models import create
    from edgeseg.models.keras_internals import layers_within
    from edgeseg.models.zoo.table import ZOO

    keras.utils.set_random_seed(0)
    model = create(name, num_classes=_CLASSES, input_size=size)
    norms = [layer for layer in layers_within(model) if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.momentum = 0.0
    spec = ZOO[name].default_spec(_CLASSES, size)
    model(np.concatenate([preprocess(image, spec)[0] for image in images]), training=True)
    return model


def naive(model: keras.Model, file_format: str) -> bytes:
    """Convert a model as a user does without edgeseg, at batch 1, with its own output: ``tflite`` or ``onnx``.

    Raises:
        Refused: the converter does not take the model.
    """
    return {"tflite": _today_tflite, "onnx": _today_onnx}[file_format](model, "logits")


def naive_int8(model: keras.Model, file_format: str, images: list[NDArray[np.float32]]) -> bytes:
    """Quantize a model with an argmax at its end by TensorFlow's converter or ONNX Runtime's, both with their defaults.

    Args:
        model: gives logits.
        file_format: ``tflite`` or ``onnx``.
        images: preprocessed, ``(1, h, w, 3)`` each, to calibrate with.

    Raises:
        Refused: the converter does not take the model.
    """
    if file_format == "tflite":
        return _today_tflite(model, "classes", images)
    from onnxruntime.quantization import CalibrationDataReader, quant_pre_process, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # it has no types
        def __init__(self) -> None:
            self._left = iter(images)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            image = next(self._left, None)
            return None if image is None else {"image": image}

    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("float.onnx", "prepared.onnx", "int8.onnx")]
        paths[0].write_bytes(_today_onnx(model, "classes"))
        quant_pre_process(str(paths[0]), str(paths[1]))
        quantize_static(str(paths[1]), str(paths[2]), Reader())
        return paths[2].read_bytes()


def _today_tflite(
    model: keras.Model, output: NaiveOutput = "softmax", images: list[NDArray[np.float32]] | None = None
) -> bytes:
    """Convert the frozen model by TensorFlow at batch 1: faster and better fused than with a batch of None."""
    import tensorflow as tf

    from edgeseg_converters.keras_model.tensorflow_internals import converter_error, with_constants

    frozen = with_constants(_function(model, output).get_concrete_function())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    if images:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image] for image in images)
    try:
        return bytes(converter.convert())
    except converter_error() as error:
        needed = [line for line in str(error).splitlines() if "ops:" in line]
        raise Refused(needed[0].strip() if needed else str(error).splitlines()[0]) from error


def _today_onnx(model: keras.Model, output: NaiveOutput = "softmax") -> bytes:
    import tensorflow as tf
    import tf2onnx

    signature = [tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="image")]
    function = _function(model, output)
    try:
        converted, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=17)
    except ValueError as error:
        raise Refused(str(error).splitlines()[0]) from error
    return bytes(converted.SerializeToString())


def _function(model: keras.Model, output: NaiveOutput) -> Any:
    """Return the model as a ``tf.function`` at batch 1 with one of the outputs."""
    import tensorflow as tf

    signature = [tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="image")]
    ends = {
        "logits": lambda logits: logits,
        "softmax": tf.nn.softmax,
        "classes": lambda logits: tf.argmax(logits, -1, tf.int32),
    }
    return tf.function(lambda image: ends[output](model(image, training=False)), input_signature=signature)


def _paths(model: tuple[str, tuple[int, int]], targets: list[str], cache: Path) -> dict[tuple[str, str], Path]:
    name, (height, width) = model
    sides = {"today": _hash("edgeseg/models"), **dict.fromkeys(targets, edgeseg_sources())}
    return {
        (runtime, side): cache / f"{name}-{height}x{width}-{side}-{sources}.{runtime}"
        for runtime in RUNTIMES
        for side, sources in sides.items()
    }


def _hash(*folders: str) -> str:
    """Return ten hexadecimal digits for the Python files of edgeseg and of some other folders."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted((_SOURCES / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:10]
