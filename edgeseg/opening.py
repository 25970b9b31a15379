"""Open models without a ModelSpec: build one from what the file says and what the user adds."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from edgeseg.choices import ColorOrder, Fit, Layout, OutputKind
from edgeseg.errors import InputError
from edgeseg.runtime import Backend, RuntimeOptions, TensorInfo, open_with
from edgeseg.segmenter import Segmenter
from edgeseg.spec import ModelSpec, default_palette
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
        input_size: ``(H, W)`` in pixels, for a model with an open input size.
    """

    class_names: tuple[str, ...] | None = None
    mean: Triple | None = None
    std: Triple | None = None
    color_order: ColorOrder | None = None
    fit: Fit | None = None
    input_size: tuple[int, int] | None = None

    @property
    def given(self) -> list[str]:
        """The command-line options that set the fields that are set here."""
        options = {"class_names": "--labels", "input_size": "--imgsz"}
        names = (field.name for field in fields(self) if getattr(self, field.name) is not None)
        return [options.get(name, f"--{name.replace('_', '-')}") for name in names]


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
        backend = open_with(path, runtime)
        refused.callback(backend.close)
        if backend.spec is not None and description.given:
            options = " and ".join(description.given)
            raise InputError(f"{options}: only for a model without ModelSpec; '{path}' says itself how to feed it.")
        spec = backend.spec or spec_for(path, backend, description, classes=classes)
        segmenter = Segmenter(backend, spec=spec)
        refused.pop_all()
    return segmenter


def spec_for(
    path: str | Path, backend: Backend, description: InputDescription, *, classes: tuple[str, ...] | None = None
) -> ModelSpec:
    """Make a ModelSpec for a model without one, from its tensors, TFLite's standard metadata and the description.

    Args:
        path: the file.
        backend: the same file, open.
        description: has priority over what the file says.
        classes: the class names, where neither has them.

    Returns:
        A spec whose dtype is ``uint8`` where the model takes image bytes, else ``float32``; a segmenter quantizes
        the input of a model that takes other integers.

    Raises:
        InputError: something is missing, and the text names the options that set it; or the tensors are not those of a
            segmentation model.
    """
    source, result = backend.inputs[0], backend.outputs[0]
    layout = _layout(path, source)
    if source.dtype not in ("float32", "uint8") and not (source.dtype in ("int8", "int16") and source.scale):
        raise InputError(f"'{path}' takes {source.dtype}; accepted: float32, uint8, or int8 and int16 with a scale.")
    height, width = source.shape[1:3] if layout == "nhwc" else source.shape[2:]
    size = description.input_size or (height, width)
    if min(size) < 1:
        raise InputError(f"'{path}' leaves its input size open, {source.shape}: give --imgsz H,W.")
    if -1 not in (height, width) and size != (height, width):
        raise InputError(f"'{path}' takes images of {height},{width} and no other; omit --imgsz.")
    if len(backend.outputs) > 1:
        _log.warning("'%s' has %d outputs; edgeseg uses the first, '%s'", path, len(backend.outputs), result.name)
    metadata = read_description(Path(path).read_bytes()) if Path(path).suffix.lower() == ".tflite" else Description()
    output_kind, channels = _output(path, result, layout)
    names = description.class_names or metadata.class_names or classes
    mean, std = description.mean or _triple(metadata.mean), description.std or _triple(metadata.std)
    as_bytes = source.dtype == "uint8" and _takes_bytes(path, source, mean, std)
    missing = [] if names else ["--labels FILE with one class name a line"]
    if not as_bytes and (mean is None or std is None):
        missing.append("--mean and --std, such as 127.5, for pixels in [0, 255]")
    if missing:
        options = " and ".join(missing)
        raise InputError(f"'{path}' has no ModelSpec inside and does not say how to feed it: give {options}.")
    assert names is not None
    if channels is not None and channels != len(names):
        raise InputError(f"'{path}' has {channels} channels of scores, but there are {len(names)} labels.")
    spec = ModelSpec(
        name=Path(path).stem,
        input_size=size,
        class_names=names,
        palette=default_palette(len(names)),
        layout=layout,
        dtype="uint8" if as_bytes else "float32",
        color_order=description.color_order or "rgb",
        fit=description.fit or "letterbox",
        output_kind=output_kind,
    )
    return spec if as_bytes or mean is None or std is None else spec.replace(mean=mean, std=std)


def _layout(path: str | Path, source: TensorInfo) -> Layout:
    if len(source.shape) == 4 and source.shape[0] in (1, -1):
        if source.shape[3] == 3:
            return "nhwc"
        if source.shape[1] == 3:
            return "nchw"
    raise InputError(f"'{path}' takes {source.shape}; a segmentation model takes (1, H, W, 3) or (1, 3, H, W).")


def _output(path: str | Path, result: TensorInfo, layout: Layout) -> tuple[OutputKind, int | None]:
    """Return what the output is, and how many score channels it has where that is known."""
    shape, integers = result.shape, np.issubdtype(np.dtype(result.dtype), np.integer)
    if len(shape) == 4 and shape[-1 if layout == "nhwc" else 1] != 1:
        channels = shape[-1 if layout == "nhwc" else 1]
        return "logits", None if channels < 0 else channels  # the argmax is the same for logits and softmax
    # A class map has integers without a scale; integers with a scale are the scores of a binary model.
    if len(shape) in (3, 4) and integers and (result.scale, result.zero_point) in ((0.0, 0), (1.0, 0)):
        return "argmax", None
    raise InputError(
        f"'{path}' gives {shape} {result.dtype}; accepted: a class map of integers (1, H, W) or (1, H, W, 1), "
        "or scores with a channel for each class."
    )


def _takes_bytes(path: str | Path, source: TensorInfo, mean: Triple | None, std: Triple | None) -> bool:
    """Return whether a uint8 input takes the image's bytes: no mean and std are given, or they amount to that."""
    if mean is None or std is None:
        return True
    if not source.scale:
        if mean == (0, 0, 0) and std == (1, 1, 1):
            return True
        raise InputError(f"'{path}' takes the image's bytes as they are (uint8, no scale): no --mean and --std.")
    pixels = np.arange(256)[:, None]
    steps = (pixels - np.array(mean)) / np.array(std) / source.scale + source.zero_point
    return bool(np.abs(steps - pixels).max() <= 1)


def _triple(values: tuple[float, ...] | None) -> Triple | None:
    """Return one number per channel, from one number or three."""
    if values is None or len(values) not in (1, 3):
        return None
    return values[0], values[len(values) // 2], values[-1]
