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
from edgeseg.outputs import Reading, ReadOutput, read_output
from edgeseg.runtime import SUFFIXES, Backend, RuntimeOptions, TensorInfo, open_with
from edgeseg.runtime.base import image_sides, is_open, open_size
from edgeseg.segmenter import Segmenter
from edgeseg.spec import MAX_CLASSES, Color, ModelSpec, default_class_names, default_palette
from edgeseg.tflite.description import Description, read_description

_log = logging.getLogger(__name__)

Triple = tuple[float, float, float]


class NormalizationUnknown(InputError):
    """Neither a model nor the user says how its input is normalized."""


@dataclass(frozen=True, kw_only=True)
class InputDescription:
    """What a user says about a model; ``None`` for what the user does not say.

    Attributes:
        class_names: one name for each class; the thing's alone of a model that tells one thing from the rest.
        palette: one RGB color in 0..255 for each name; PASCAL VOC's by default.
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
    palette: tuple[Color, ...] | None = None
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
        names = ("color_order", "fit", "resize", "letterbox_rounding")
        return {name: value for name, value in self.said.items() if name in names}

    @property
    def said(self) -> dict[str, Any]:
        """The fields that are set here, by their names."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def given(self) -> list[str]:
        """The names of the fields that a user has set; the palette comes with the names of the classes."""
        return [name for name in self.said if name != "palette"]


def open_segmenter(
    path: str | Path, runtime: RuntimeOptions, description: InputDescription, *, classes: tuple[str, ...] | None = None
) -> Segmenter:
    """Open a model file, with or without a ModelSpec inside.

    Args:
        path: a ``.tflite``, ``.onnx``, ``.mnn``, ``.xml`` or ``.keras`` file, or the name of a packaged one.
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
        segmenter = described(path, backend, description, classes=classes, data=data)
        refused.pop_all()
    return segmenter


def described(
    path: str | Path,
    backend: Backend,
    description: InputDescription,
    *,
    classes: tuple[str, ...] | None = None,
    data: bytes | None = None,
) -> Segmenter:
    """Make a segmenter of an open model, with or without a ModelSpec inside; see ``open_segmenter``.

    Args:
        path: the file.
        backend: the same file, open; a model that is refused stays open.
        description: how to feed a model without a ModelSpec.
        classes: the class names, where neither the file nor ``description`` has them.
        data: the bytes of an artifact.

    Raises:
        InputError: see ``open_segmenter``.
    """
    if backend.spec is None:
        spec, read = describe(path, backend, description, classes=classes, data=data)
        return Segmenter(read, spec=spec)
    ours = replace(description, threshold=None) if _is_scores(backend.spec) else description
    if ours.given:
        options = " and ".join(f"`{name}`" for name in ours.given)
        raise InputError(f"{options}: only for a model without ModelSpec; '{path}' says itself how to feed it.")
    return segmenter_of(path, backend, backend.spec, threshold=description.threshold, data=data)


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
    # What the file's spec says of many channels is known better than what its last ops show.
    return Segmenter(read, spec=spec if reading.kind == "scores" else spec.replace(output_kind=reading.output_kind))


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

    A model without class names gets ``background`` and ``foreground`` where it tells one thing from the rest, else
    ``class_0`` and so on, and the log says so.

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
        NormalizationUnknown: nothing says how to normalize; the text names the options that do.
        InputError: the tensors are not those of a segmentation model, or do not go with the description.
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
    if reading.kind == "scores" and reading.channels > MAX_CLASSES:
        raise InputError(
            f"'{path}' has {reading.channels} channels of scores; accepted: up to {MAX_CLASSES} classes, as class maps "
            "have one byte a pixel."
        )
    feeding = _feeding(path, source, description, metadata)
    names = _names(path, reading, names)
    spec = ModelSpec(
        name=Path(path).stem,
        input_size=(height, width),
        class_names=names,
        palette=default_palette(len(names)) if description.palette is None else description.palette,
        layout=layout,
        **feeding,
        **description.feeding,
        output_kind=reading.output_kind,
    )
    return spec, ReadOutput(backend, reading, layout=layout, num_classes=len(names))


def _names(path: str | Path, reading: Reading, names: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return a name for each class: those that are known, or some that say nothing, which the log says."""
    count = {"scores": reading.channels, "mask": 2, "ids": reading.ids}[reading.kind]
    if names is not None:
        if count == 2 and len(names) == 1:  # of a thing against the rest
            return "background", *names
        if reading.kind == "scores" and count != len(names):
            raise InputError(
                f"'{path}' has {count} channels of scores, but there are {len(names)} labels; "
                f"`class_names` takes {count}."
            )
        return names
    made = ("background", "foreground") if reading.kind == "mask" else default_class_names(count or MAX_CLASSES)
    _log.warning(
        "'%s' has no class names; they are %s; `class_names` takes others, a name for each class",
        path,
        ", ".join(made) if len(made) < 3 else f"{made[0]} to {made[-1]}",
    )
    return made


def _feeding(
    path: str | Path, source: TensorInfo, description: InputDescription, metadata: Description
) -> dict[str, Any]:
    """Return the dtype and, where it is not the image's bytes, the normalization, by the fields of a ModelSpec.

    Raises:
        NormalizationUnknown: nothing says it.
        InputError: the input cannot be normalized so.
    """
    mean, std = description.mean or _triple(metadata.mean), description.std or _triple(metadata.std)
    if source.dtype == "uint8" and _takes_bytes(path, source, mean, std):
        return {"dtype": "uint8"}
    if mean is None and std is None and (known := _of_range(source)) is not None:
        mean, std = known
        _log.warning(
            "'%s' takes %s whose scale means (pixel - %g) / %g; `mean` and `std` take others",
            path,
            source.dtype,
            mean[0],
            std[0],
        )
    if mean is None or std is None:
        raise NormalizationUnknown(
            f"'{path}' does not say how its input is normalized: give `mean` and `std`, such as {NORMALIZATIONS}."
        )
    return {"dtype": "float32", "mean": mean, "std": std}


#: What models take most often, and what to give for it.
NORMALIZATIONS = (
    "`mean=(0, 0, 0), std=(255, 255, 255)` for [0, 1], `mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5)` for "
    "[-1, 1], `mean=(0, 0, 0), std=(1, 1, 1)` for pixels as they are"
)
# The same, by the range of a quantized input: lowest and highest value, mean and std.
_RANGES = ((0.0, 1.0, 0.0, 255.0), (-1.0, 1.0, 127.5, 127.5), (0.0, 255.0, 0.0, 1.0), (-128.0, 127.0, 128.0, 1.0))


def _of_range(source: TensorInfo) -> tuple[Triple, Triple] | None:
    """Return mean and std of a quantized input whose scale gives it one of the usual ranges, to a step."""
    if source.dtype not in ("int8", "int16") or not source.scale:
        return None
    limits = np.iinfo(source.dtype)
    low, high = ((limit - source.zero_point) * source.scale for limit in (limits.min, limits.max))
    for least, most, mean, std in _RANGES:
        if max(abs(low - least), abs(high - most)) <= (most - least) / 128:
            return (mean,) * 3, (std,) * 3
    return None


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
