"""Open models without a ModelSpec: build one from what the file says and what the user adds."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeseg._internal.fields import short_repr
from edgeseg._internal.limits.models import ModelFile
from edgeseg.choices import ColorOrder, Fit, Layout, LetterboxRounding, Resize
from edgeseg.errors import InputError
from edgeseg.outputs import ReadOutput, read_output
from edgeseg.runtime import SUFFIXES, Backend, RuntimeOptions, TensorInfo, open_with
from edgeseg.runtime.base import image_sides, is_open, open_size
from edgeseg.segmenter import Segmenter
from edgeseg.spec import MAX_CLASSES, ModelSpec, default_palette
from edgeseg.tflite.description import Description, read_description

_log = logging.getLogger(__name__)

Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class InputDescription:
    """What a user says about a model; ``None`` for what the user does not say.

    Attributes:
        class_names: one name for each class.
        mean: subtracted from the pixels in [0, 255], in the order of the channels.
        std: what the difference is divided by.
        color_order: order of the channels; ``rgb`` by default.
        fit: how an image gets the model's shape; ``letterbox`` by default.
        resize: with which interpolation; ``bilinear`` by default.
        letterbox_rounding: how the letterboxed image gets whole sides; ``round`` by default.
        input_size: ``(H, W)`` in pixels, for a model with an open input size.
        output: name of the output to use, of a model with several; the first by default.
        threshold: the score above which a pixel is of the second class, for a model of one channel; by default what the
            last ops of the file ask for.
    """

    __repr__ = short_repr

    class_names: tuple[str, ...] | None = None
    mean: Triple | None = None
    std: Triple | None = None
    color_order: ColorOrder | None = None
    fit: Fit | None = None
    resize: Resize | None = None
    letterbox_rounding: LetterboxRounding | None = None
    input_size: tuple[int, int] | None = None
    output: str | None = None
    threshold: float | None = None

    @property
    def feeding(self) -> dict[str, Any]:
        """What is said of how images become the input, by the fields of the ModelSpec; without the normalization."""
        said = {name: getattr(self, name) for name in ("color_order", "fit", "resize", "letterbox_rounding")}
        return {name: value for name, value in said.items() if value is not None}

    @property
    def given(self) -> list[str]:
        """The names of the fields that are set."""
        return [field.name for field in fields(self) if getattr(self, field.name) is not None]


def open_segmenter(
    path: str | Path, runtime: RuntimeOptions, description: InputDescription, *, classes: tuple[str, ...] | None = None
) -> Segmenter:
    """Open a model file, with or without a ModelSpec inside.

    Args:
        path: a ``.tflite``, ``.onnx`` or ``.keras`` file.
        runtime: what the model runs on.
        description: how to feed a model without a ModelSpec.
        classes: the class names, where neither the file nor ``description`` has them.

    Raises:
        InputError: the file is missing or broken; neither the model nor ``description`` says how to feed it, or both
            do.
        BackendUnavailable: the runtime or accelerator that was asked for is not available.
    """
    with ExitStack() as refused:
        # Read once: what describes it is what was tried and opened.
        is_keras = SUFFIXES.get(Path(path).suffix.lower()) in (None, "keras")
        model = path if is_keras else ModelFile.read(path)
        data = model.data if isinstance(model, ModelFile) else None
        backend = open_with(model, replace(runtime, input_size=description.input_size, output=description.output))
        refused.callback(backend.close)
        if backend.spec is not None:
            ours = replace(description, threshold=None) if _is_scores(backend.spec) else description
            if ours.given:
                options = " and ".join(f"`{name}`" for name in ours.given)
                raise InputError(f"{options}: only for a model without ModelSpec; '{path}' says itself how to feed it.")
            segmenter = segmenter_of(path, backend, backend.spec, threshold=description.threshold, data=data)
        else:
            spec, read = describe(path, backend, description, classes=classes, data=data)
            segmenter = Segmenter(read, spec=spec)
        refused.pop_all()
    return segmenter


def segmenter_of(
    path: str | Path,
    backend: Backend,
    spec: ModelSpec,
    *,
    threshold: float | None = None,
    data: bytes | None = None,
) -> Segmenter:
    """Make a segmenter of a model with a ModelSpec, whose scores may also be one channel, or a flattened map.

    Only a Keras model has such scores: an artifact gives what its spec says.

    Args:
        path: the file, or a name of the zoo.
        backend: the same, open.
        spec: how to feed it.
        threshold: the score of one channel above which a pixel is of the second class; by default what the last layers
            ask for.
        data: the bytes of an artifact.

    Raises:
        InputError: the output is no segmentation, or a threshold is given for several channels.
    """
    shape = backend.outputs[0].shape
    is_map = len(shape) == 4 and shape[-1 if spec.layout == "nhwc" else 1] == spec.num_classes
    if not _is_scores(spec) or (is_map and threshold is None):
        return Segmenter(backend, spec=spec)
    reading = read_output(
        path,
        backend,
        layout=spec.layout,
        input_size=spec.input_size,
        names=spec.class_names,
        threshold=threshold,
        data=data,
    )
    read = ReadOutput(backend, reading, layout=spec.layout, num_classes=spec.num_classes)
    return Segmenter(read, spec=spec if reading.kind == "scores" else spec.replace(output_kind="argmax"))


def _is_scores(spec: ModelSpec) -> bool:
    return spec.output_kind != "argmax"


def describe(
    path: str | Path,
    backend: Backend,
    description: InputDescription,
    *,
    classes: tuple[str, ...] | None = None,
    data: bytes | None = None,
) -> tuple[ModelSpec, Backend]:
    """Make a ModelSpec for a model without one, from its tensors, TFLite's standard metadata and the description.

    Args:
        path: the file.
        backend: the same file, open.
        description: has priority over what the file says.
        classes: the class names, where neither has them.
        data: the bytes of an artifact, for its metadata.

    Returns:
        A spec whose dtype is ``uint8`` where the model takes image bytes, else ``float32``; a segmenter quantizes
        the input of a model that takes other integers. And the backend, with an output as the spec says.

    Raises:
        InputError: something is missing, and the text names the options that set it; or the tensors are not those of a
            segmentation model.
    """
    source = backend.inputs[0]
    layout = _layout(path, source)
    if source.dtype not in ("float32", "uint8") and not (source.dtype in ("int8", "int16") and source.scale):
        raise InputError(f"'{path}' takes {source.dtype}; accepted: float32, uint8, or int8 and int16 with a scale.")
    if is_open(source.shape):
        raise open_size(f"'{path}'", source)
    height, width = source.shape[1:3] if layout == "nhwc" else source.shape[2:]
    if len(backend.outputs) > 1 and description.output is None:
        first, *others = (f"'{output.name}'" for output in backend.outputs)
        _log.warning(
            "'%s' has %d outputs; edgeseg uses %s, `output` takes %s", path, len(others) + 1, first, ", ".join(others)
        )
    metadata = read_description(data) if data and Path(path).suffix.lower() == ".tflite" else Description()
    names = description.class_names or metadata.class_names or classes
    reading = read_output(
        path,
        backend,
        layout=layout,
        input_size=(height, width),
        names=names,
        threshold=description.threshold,
        data=data,
    )
    mean, std = description.mean or _triple(metadata.mean), description.std or _triple(metadata.std)
    as_bytes = source.dtype == "uint8" and _takes_bytes(path, source, mean, std)
    if reading.kind == "scores" and reading.channels > MAX_CLASSES:
        raise InputError(
            f"'{path}' has {reading.channels} channels of scores; accepted: up to {MAX_CLASSES} classes, as class maps "
            "have one byte a pixel."
        )
    missing = [] if names else ["`class_names=(...)`"]
    if not as_bytes and (mean is None or std is None):
        missing.append("`mean` and `std`, such as 127.5 for each channel, for pixels in [0, 255]")
    if missing:
        options = " and ".join(missing)
        raise InputError(f"'{path}' has no ModelSpec inside and does not say how to feed it: give {options}.")
    assert names is not None
    if reading.kind == "scores" and reading.channels != len(names):
        raise InputError(f"'{path}' has {reading.channels} channels of scores, but there are {len(names)} labels.")
    spec = ModelSpec(
        name=Path(path).stem,
        input_size=(height, width),
        class_names=names,
        palette=default_palette(len(names)),
        layout=layout,
        dtype="uint8" if as_bytes else "float32",
        **description.feeding,
        # The argmax is the same for logits and softmax.
        output_kind="logits" if reading.kind == "scores" else "argmax",
    )
    if not as_bytes and mean is not None and std is not None:
        spec = spec.replace(mean=mean, std=std)
    return spec, ReadOutput(backend, reading, layout=layout, num_classes=len(names))


def _layout(path: str | Path, source: TensorInfo) -> Layout:
    sides = image_sides(source.shape)
    if sides is not None and source.shape[0] in (1, -1):
        return "nhwc" if sides.start == 1 else "nchw"
    raise InputError(f"'{path}' takes {source.shape}; a segmentation model takes (1, H, W, 3) or (1, 3, H, W).")


def _takes_bytes(path: str | Path, source: TensorInfo, mean: Triple | None, std: Triple | None) -> bool:
    """Return whether a uint8 input takes the image's bytes: no mean and std are given, or they amount to that."""
    if mean is None or std is None:
        return True
    if not source.scale:
        if mean == (0, 0, 0) and std == (1, 1, 1):
            return True
        raise InputError(f"'{path}' takes the image's bytes as they are (uint8, no scale): no `mean` and `std`.")
    pixels = np.arange(256)[:, None]
    steps = (pixels - np.array(mean)) / np.array(std) / source.scale + source.zero_point
    return bool(np.abs(steps - pixels).max() <= 1)


def _triple(values: tuple[float, ...] | None) -> Triple | None:
    """Return one number per channel, from one number or three."""
    if values is None or len(values) not in (1, 3):
        return None
    return values[0], values[len(values) // 2], values[-1]
