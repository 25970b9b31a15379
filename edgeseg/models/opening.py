"""Open the MODEL of the command line: a zoo name, a ``.keras`` or ``.h5`` file, or by default the packaged model."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.errors import InputError
from edgeseg.models import create
from edgeseg.models.keras_errors import reason_of
from edgeseg.models.keras_files.load import load_model, read_spec
from edgeseg.models.zoo.table import DEFAULT_MODEL, find
from edgeseg.spec import ModelSpec, Provenance, default_class_names, default_palette

if TYPE_CHECKING:
    import keras

    from edgeseg.datasets import Classes
    from edgeseg.models.weights.load import WeightsReport

_log = logging.getLogger(__name__)

_FILE_SUFFIXES = (".keras", ".h5")


@dataclass(frozen=True)
class OpenedModel:
    """A Keras model and how to feed it.

    Attributes:
        model: the model.
        spec: how to feed it.
        weights_report: which tensor of the user's weights file fills which variable; ``None`` without such a file.
    """

    model: keras.Model
    spec: ModelSpec
    weights_report: WeightsReport | None = None


@dataclass(frozen=True, kw_only=True)
class ModelRequest:
    """What a user says about the model to open; ``None`` for what the user does not say.

    Attributes:
        weights: a weights file for a zoo model; by default the packaged weights where there are any, else random ones.
        num_classes: of a zoo model; the packaged weights' number or 21 when ``None``.
        input_size: ``(H, W)``; the file's or the architecture's default when ``None``.
        classes: names, colors and ignored id, where the file has none.
        allow_missing: see ``load_weights``.
        mean: subtracted from the pixels in [0, 255], where the file has no value or a wrong one.
        std: what the difference is divided by, likewise.
        custom_objects: code that a model file refers to, see ``keras_files.load.load_model``.
        output: the output to use, of a model file with several.
    """

    weights: str | Path | None = None
    num_classes: int | None = None
    input_size: tuple[int, int] | None = None
    classes: Classes | None = None
    allow_missing: Sequence[str] = ()
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    custom_objects: Mapping[str, Any] | None = None
    output: str | None = None

    def check(self, name: str) -> None:
        """Refuse options that apply only to the other kind of model.

        Args:
            name: a zoo name or a model file.

        Raises:
            InputError: weights are given for a model file, or custom objects or an output for a zoo name.
        """
        if _is_file(name):
            if self.weights is not None:
                raise InputError(f"--weights goes with a zoo name; '{name}' has its own.")
        elif self.custom_objects is not None:
            raise InputError(f"--custom-objects goes with a model file; '{name}' is an architecture of the zoo.")
        elif self.output is not None:
            raise InputError(
                f"--output goes with a model file; '{name}' is an architecture of the zoo, with one output."
            )


def open_model(source: str | None = None, request: ModelRequest | None = None) -> OpenedModel:
    """Open the model that the user named.

    Args:
        source: a zoo name, or a ``.keras`` or full-model ``.h5`` file; the packaged model when ``None``.
        request: what the user says about it; nothing when ``None``.

    Raises:
        UnsupportedModel: the model has several outputs, and none is named.
        InputError: the name is unknown, the file is missing or broken, or a size or class count does not fit.
        BackendUnavailable: keras is not installed.
    """
    name, request = source or DEFAULT_MODEL, request or ModelRequest()
    request.check(name)
    opened = _from_file(Path(name), request) if _is_file(name) else _from_zoo(name, request)
    spec = opened.spec.replace(mean=request.mean or opened.spec.mean, std=request.std or opened.spec.std)
    return dataclasses.replace(opened, spec=spec)


def precheck(source: str | None, input_size: tuple[int, int] | None) -> None:
    """Refuse a wrong zoo name or size at once; ``open_model`` does so only after the seconds that keras takes to load.

    Raises:
        InputError: the name is unknown, the file does not exist, or the strides do not allow the size.
    """
    name = source or DEFAULT_MODEL
    if _is_file(name):
        if not Path(name).exists():
            raise InputError(f"model file '{name}' does not exist.")
    else:
        find(name).check_size(input_size or find(name).default_size)


def packaged_spec(name: str) -> ModelSpec | None:
    """Return the spec of the weights that edgeseg ships for an architecture; ``None`` when it ships none."""
    file = resources.files("edgeseg.models") / "packaged" / f"{name}.json"
    return ModelSpec.from_json(file.read_bytes()) if file.is_file() else None


def assumed_spec(
    name: str,
    input_size: tuple[int, int],
    channels: int,
    *,
    normalization_given: bool = False,
    model: keras.Model | None = None,
) -> ModelSpec:
    """Return the spec assumed of a model that came without one, and log it: [-1, 1], letterbox, nameless classes.

    A model that takes integers, or begins with a Rescaling or Normalization of pixels, gets [0, 255] unchanged.

    Args:
        name: of the model.
        input_size: ``(H, W)`` in pixels.
        channels: of its output; one channel is a binary model, with two classes.
        normalization_given: whether the user gave mean and standard deviation; then none are assumed.
        model: the model, whose input dtype and first layers decide where they say something.
    """
    count = max(channels, 2)
    spec = ModelSpec(
        name=name, input_size=input_size, class_names=default_class_names(count), palette=default_palette(count)
    )
    reason, assumed = "says nothing about its input", "RGB, letterbox"
    if not normalization_given:
        pixels = _why_pixels(model)
        if pixels:
            reason, spec = pixels, spec.replace(mean=(0.0,) * 3, std=(1.0,) * 3)
        assumed += ", pixels in [0, 255] as they are" if pixels else ", (pixel - 127.5) / 127.5"
        assumed += "; give --mean and --std, in Python a spec, where that is wrong"
    _log.warning("'%s' %s; assuming %s", name, reason, assumed)
    return spec


def _why_pixels(model: keras.Model | None) -> str:
    if model is None:
        return ""
    from edgeseg.models.preprocessing import takes_pixels

    return takes_pixels(model)


def at_input_size(
    model: keras.Model, input_size: tuple[int, int], *, custom_objects: Mapping[str, Any] | None = None
) -> keras.Model:
    """Rebuild a model for another input size, with the same layers and weights; at its own size return it unchanged.

    Args:
        model: a functional model.
        input_size: ``(H, W)`` in pixels.
        custom_objects: the classes and functions that the model was loaded with.

    Raises:
        InputError: a layer of the model works at its own size only, or a zoo model's strides do not allow the size.
    """
    if tuple(model.input_shape[1:3]) == tuple(input_size):
        return model
    import keras

    from edgeseg.models.keras_graph import graph_of, set_weights
    from edgeseg.models.preprocessing import zoo_model_of

    zoo_model = zoo_model_of(model)
    if zoo_model is not None:
        zoo_model.check_size(input_size)

    image = keras.Input((*input_size, 3), dtype=graph_of(model).inputs[0].dtype)
    own = dict(custom_objects or {})
    # A layer gives the name of its class, whatever it was called in the file.
    own |= {keras.saving.get_registered_name(value): value for value in own.values() if hasattr(value, "__name__")}
    try:
        with keras.saving.custom_object_scope(own):
            resized = keras.models.clone_model(model, input_tensors=image)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"the model cannot be rebuilt at {input_size[0]},{input_size[1]} (H,W): {reason_of(error)} "
            f"Its own size is {model.input_shape[1:3]}."
        ) from error
    set_weights(resized, model.get_weights())
    return resized


def _require_same(model: keras.Model, resized: keras.Model) -> None:
    """Refuse a model rebuilt from its config where the original runs at that size and gives another output.

    A layer may keep something that is neither a weight nor in its config. An export is verified against the rebuilt
    model, so nobody would notice later.
    """
    import keras

    (tensor,) = resized.inputs
    noise = np.random.default_rng(0).integers(0, 256, (1, *tensor.shape[1:])).astype(tensor.dtype)

    def run(each: keras.Model) -> list[Any]:
        return [keras.ops.convert_to_numpy(x).astype(float) for x in keras.tree.flatten(each(noise, training=False))]

    for own, got in zip(run(model), run(resized), strict=True):
        # The same layers on the same numbers; a float16 kernel that sums in another order is within 1e-2.
        largest = np.abs(own[np.isfinite(own)]).max(initial=0)
        if not np.allclose(got, own, rtol=0, atol=1e-2 * largest, equal_nan=True):
            raise InputError(
                f"'{model.name}' rebuilt from its config at {tensor.shape[1]},{tensor.shape[2]} (H,W) gives something "
                "else than the model itself: a layer holds values that are neither weights nor in its get_config; "
                "save the model with that size as its input's."
            )


def _is_file(name: str) -> bool:
    return Path(name).suffix.lower() in _FILE_SUFFIXES


def _from_zoo(name: str, request: ModelRequest) -> OpenedModel:
    zoo_model, weights, classes = find(name), request.weights, request.classes
    packaged = packaged_spec(name) if weights is None else None
    if packaged is not None and request.num_classes not in (None, packaged.num_classes):
        packaged = None
    if packaged is not None:
        spec = packaged.replace(input_size=request.input_size or packaged.input_size)
    else:
        count = request.num_classes or (len(classes.names) if classes else 21)
        spec = zoo_model.default_spec(count, request.input_size)
        spec = _with_classes(spec, classes).replace(provenance=Provenance(source=str(weights or name)))
    model = create(name, num_classes=spec.num_classes, input_size=spec.input_size)
    report = None
    if packaged is not None:
        from edgeseg.models.weights.load import load_weights

        with resources.as_file(resources.files("edgeseg.models") / "packaged" / f"{name}.weights.h5") as path:
            load_weights(model, path)
    elif weights is not None:
        from edgeseg.models.weights.load import load_weights

        report = load_weights(model, weights, allow_missing=request.allow_missing)
    else:
        _log.warning("%s has random weights: right for latency, not for images; give --weights FILE", name)
    return OpenedModel(model, spec, report)


def _from_file(path: Path, request: ModelRequest) -> OpenedModel:
    from edgeseg.models.keras_graph import as_functional, require_image, select_output, size_of

    model = load_model(path, custom_objects=request.custom_objects)
    height, width = request.input_size or size_of(model)
    if height is None or width is None:
        raise InputError(f"'{path}' has no fixed input size; give --imgsz H,W.")
    size = height, width
    model = select_output(as_functional(model, size), request.output)
    if len(model.inputs) != 1:
        shapes = ", ".join(str(tensor.shape) for tensor in model.inputs)
        raise InputError(f"'{path}' must take one image (B, H, W, 3), it takes {shapes}.")
    require_image(model, str(path))
    resized = at_input_size(model, size, custom_objects=request.custom_objects)
    if resized is not model and None in model.inputs[0].shape[1:3]:
        _require_same(model, resized)
    model = resized
    channels = model.outputs[0].shape[-1]
    if request.num_classes not in (None, channels):
        raise InputError(f"'{path}' has {channels} classes, --num-classes says {request.num_classes}.")
    spec = read_spec(path)
    if spec is None:
        given = request.mean is not None and request.std is not None
        spec = assumed_spec(path.stem, size, channels, normalization_given=given, model=model)
    spec = spec.replace(input_size=size, provenance=Provenance(source=path.name))
    return OpenedModel(model, _with_classes(spec, request.classes))


def _with_classes(spec: ModelSpec, classes: Classes | None) -> ModelSpec:
    """Take the class names from the data where the file has none; the file's own are kept."""
    if classes is None or spec.class_names != default_class_names(spec.num_classes):
        return spec
    if len(classes.names) != spec.num_classes:
        raise InputError(
            f"the model has {spec.num_classes} classes, the data has {len(classes.names)}; "
            f"give --num-classes {len(classes.names)} or other data."
        )
    return spec.replace(class_names=classes.names, palette=classes.palette, ignore_index=classes.ignore_index)
