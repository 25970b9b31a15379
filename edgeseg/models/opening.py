"""Open the MODEL of the command line: a zoo name, a ``.keras`` or ``.h5`` file, or by default the packaged model."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeseg._internal.fields import short_repr
from edgeseg._internal.limits.images import refuse_large_input
from edgeseg._internal.text import counted
from edgeseg.choices import ColorOrder, Fit, LetterboxRounding, Resize
from edgeseg.errors import InputError
from edgeseg.models import create
from edgeseg.models.keras_files.load import load_keras_file, read_spec
from edgeseg.models.zoo.table import DEFAULT_MODEL, find
from edgeseg.spec import ModelSpec, Provenance, default_class_names, default_palette

if TYPE_CHECKING:
    import keras

    from edgeseg.datasets import Classes
    from edgeseg.models.preprocessing import Conversion
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

    __repr__ = short_repr

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
        color_order: order of the channels, likewise.
        fit: how an image gets the model's shape, likewise.
        resize: with which interpolation, likewise.
        letterbox_rounding: how the letterboxed image gets whole sides, likewise.
        bands: which bands of a raster are red, green and blue, likewise.
        band_range: which values of a raster become 0 and 255, likewise.
        custom_objects: code that a model file refers to, see ``keras_files.load.load_keras_file``.
        output: the output to use, of a model file with several.
        model_options: of a zoo model's architecture, see ``create``; the others are those of the weights file, where
            that says them, else the defaults.
    """

    __repr__ = short_repr

    weights: str | Path | None = None
    num_classes: int | None = None
    input_size: tuple[int, int] | None = None
    classes: Classes | None = None
    allow_missing: Sequence[str] = ()
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    color_order: ColorOrder | None = None
    fit: Fit | None = None
    resize: Resize | None = None
    letterbox_rounding: LetterboxRounding | None = None
    bands: tuple[int, int, int] | None = None
    band_range: tuple[float, ...] | None = None
    custom_objects: Mapping[str, Any] | None = None
    output: str | None = None
    model_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def feeding(self) -> dict[str, Any]:
        """What is said of how to feed the model, by the fields of its ModelSpec."""
        names = ("mean", "std", "color_order", "fit", "resize", "letterbox_rounding", "bands", "band_range")
        said = {name: getattr(self, name) for name in names}
        return {name: value for name, value in said.items() if value is not None}

    def check(self, name: str) -> None:
        """Refuse options that apply only to the other kind of model.

        Args:
            name: a zoo name or a model file.

        Raises:
            InputError: weights or model options are given for a model file, or custom objects or an output for a zoo
                name.
        """
        if _is_file(name):
            if self.model_options:
                raise InputError(f"`model_options` goes with a zoo name; '{name}' is a model as it is.")
            if self.weights is not None:
                raise InputError(f"`weights` goes with a zoo name; '{name}' has its own.")
        elif self.custom_objects is not None:
            raise InputError(f"`custom_objects` goes with a model file; '{name}' is an architecture of the zoo.")
        elif self.output is not None:
            raise InputError(
                f"`output` goes with a model file; '{name}' is an architecture of the zoo, with one output."
            )


def load_model(source: str | None = None, request: ModelRequest | None = None) -> OpenedModel:
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
    return dataclasses.replace(opened, spec=opened.spec.replace(**request.feeding))


def precheck(
    source: str | None, input_size: tuple[int, int] | None, model_options: Mapping[str, Any] | None = None
) -> None:
    """Refuse a wrong zoo name, size or option at once; ``load_model`` would only after the seconds that keras takes.

    Raises:
        InputError: the name is unknown, the file does not exist, the strides do not allow the size, or the architecture
            has no such option.
    """
    name = source or DEFAULT_MODEL
    if input_size is not None:
        refuse_large_input(input_size, f"'{name}'")
    if _is_file(name):
        if not Path(name).exists():
            raise InputError(f"model file '{name}' does not exist.")
        ModelRequest(model_options=model_options or {}).check(name)
    else:
        find(name).check_size(input_size or find(name).default_size)
        find(name).read_options(model_options or {})


def packaged_spec(name: str) -> ModelSpec | None:
    """Return the spec of the weights that edgeseg ships for an architecture; ``None`` when it ships none."""
    file = resources.files("edgeseg.models") / "packaged" / f"{name}.json"
    return ModelSpec.from_json(file.read_bytes()) if file.is_file() else None


def assumed_spec(
    name: str,
    input_size: tuple[int, int],
    channels: int,
    *,
    model: keras.Model | None = None,
    conversion: Conversion | None = None,
    given: Mapping[str, Any] | None = None,
    options: Sequence[str] = ("mean", "std", "resize"),
) -> ModelSpec:
    """Return the spec assumed of a model that came without one, and log it: [-1, 1], bilinear, letterbox, no names.

    A model with an image converter is fed as that says. One that takes integers, or scales pixels itself before its
    first weighted layer, gets [0, 255] unchanged.

    Args:
        name: of the model.
        input_size: ``(H, W)`` in pixels.
        channels: of its output; one channel is a binary model, with two classes.
        model: the model, whose input dtype and first layers decide where they say something.
        conversion: what its image converter does.
        given: what the user says of its feeding, by the fields of the spec; the rest is assumed.
        options: the settings for that, of the function that was called.
    """
    count, given = max(channels, 2), dict(given or {})
    is_scaling_given = {"mean", "std"} <= given.keys()
    spec = ModelSpec(
        name=name, input_size=input_size, class_names=default_class_names(count), palette=default_palette(count)
    )
    reason = ""
    if conversion is not None:
        reason, spec = f"has a {conversion.name}", conversion.applied_to(spec)
    elif not is_scaling_given and (reason := _why_pixels(model)):
        spec = spec.replace(mean=(0.0,) * 3, std=(1.0,) * 3)
    spec = spec.replace(**given)
    assumed = []
    if "color_order" not in given:
        assumed.append(spec.color_order.upper())
    if "fit" not in given:
        assumed.append(f"{spec.fit}{' in place of its crop' if conversion and conversion.crops else ''}")
    if "resize" not in given:
        assumed.append(f"{spec.resize}{f' in place of {conversion.lacks}' if conversion and conversion.lacks else ''}")
    if not is_scaling_given:
        assumed.append(spec.scaling)
    if assumed:
        left = [f"`{option}`" for option in options if option not in given]
        remedy = " and ".join(filter(None, (", ".join(left[:-1]), *left[-1:])))
        _log.warning(
            "'%s' %s; assuming %s%s",
            name,
            reason or "says nothing about its input",
            ", ".join(assumed),
            f"; give {remedy} where that is wrong" if remedy else "",
        )
    return spec


def _why_pixels(model: keras.Model | None) -> str:
    if model is None:
        return ""
    from edgeseg.models.preprocessing import takes_pixels

    return takes_pixels(model)


def at_input_size(
    model: keras.Model, input_size: tuple[int, int], *, custom_objects: Mapping[str, Any] | None = None
) -> keras.Model:
    """Rebuild a model for another input size, with the same layers and weights; return it where it takes that size.

    Args:
        model: a functional model.
        input_size: ``(H, W)`` in pixels.
        custom_objects: the classes and functions that the model was loaded with.

    Raises:
        InputError: a layer of the model works at its own size only, or gives something else when it is built from its
            config, or a zoo model's strides do not allow the size.
        UnsupportedModel: a layer cannot be built from its config, or has other weights then.
    """
    from edgeseg.models.clone import resized
    from edgeseg.models.keras_graph import size_of
    from edgeseg.models.preprocessing import zoo_model_of

    own = size_of(model)
    if own == tuple(input_size):
        return model
    zoo_model = zoo_model_of(model)
    if zoo_model is not None:
        zoo_model.check_size(input_size)
    if all(side in (None, wanted) for side, wanted in zip(own, input_size, strict=True)):
        return model
    return resized(model, input_size, custom_objects=custom_objects)


def _is_file(name: str) -> bool:
    return Path(name).suffix.lower() in _FILE_SUFFIXES


def fed_as_before(spec: ModelSpec, weights: str | Path) -> ModelSpec:
    """Return a spec with the feeding of the model that a weights file is of, where the file has a ModelSpec.

    Args:
        spec: of the architecture.
        weights: the file.

    Raises:
        InputError: the file is missing, or the ModelSpec in it cannot be read.
    """
    own = read_spec(weights)
    if own is None:
        return spec
    names = ("mean", "std", "color_order", "fit", "resize", "letterbox_rounding", "pad_value", "bands", "band_range")
    return spec.replace(**{name: getattr(own, name) for name in names})


def _from_zoo(name: str, request: ModelRequest) -> OpenedModel:
    zoo_model, weights, classes = find(name), request.weights, request.classes
    options = zoo_model.read_options(request.model_options)
    packaged = packaged_spec(name) if weights is None and not zoo_model.other_tensors(options) else None
    if packaged is not None and request.num_classes not in (None, packaged.num_classes):
        packaged = None
    if packaged is not None:
        spec = packaged.replace(input_size=request.input_size or packaged.input_size)
    else:
        count = request.num_classes or (len(classes.names) if classes else 21)
        spec = zoo_model.default_spec(count, request.input_size)
        spec = _with_classes(spec, classes).replace(provenance=Provenance(source=str(weights or name)))
    report = None
    if weights is not None:
        from edgeseg.models.architecture.fitting import create_filled

        filled = create_filled(
            name,
            weights,
            num_classes=spec.num_classes,
            input_size=spec.input_size,
            options=options,
            allow_missing=request.allow_missing,
        )
        model, options, report = filled.model, filled.options, filled.report
        spec = fed_as_before(spec, weights)
    else:
        model = create(name, num_classes=spec.num_classes, input_size=spec.input_size, **options)
    if packaged is not None:
        from edgeseg.models.weights.folding import load_folded

        with resources.as_file(resources.files("edgeseg.models") / "packaged") as folder:
            load_folded(model, folder / f"{name}.fp16.tflite", folder / f"{name}.norms.npz")
    elif weights is None:
        _log.warning("%s has random weights: right for latency, not for images; give `weights='FILE'`", name)
    provenance = dataclasses.replace(spec.provenance, model_options=zoo_model.not_default(options))
    return OpenedModel(model, spec.replace(provenance=provenance), report)


def _from_file(path: Path, request: ModelRequest) -> OpenedModel:
    from edgeseg.models.keras_graph import as_functional, require_image, select_output
    from edgeseg.models.preprocessing import conversion_of, size_for

    model = load_keras_file(path, custom_objects=request.custom_objects)
    conversion = conversion_of(model)
    height, width = request.input_size or size_for(model, conversion)
    if height is None or width is None:
        raise InputError(f"'{path}' has no fixed input size; give `input_size=(H, W)`.")
    size = height, width
    refuse_large_input(size, f"'{path}'")
    model = select_output(as_functional(model, size), request.output)
    if len(model.inputs) != 1:
        shapes = ", ".join(str(tensor.shape) for tensor in model.inputs)
        raise InputError(f"'{path}' must take one image (B, H, W, 3), it takes {shapes}.")
    require_image(model, str(path))
    model = at_input_size(model, size, custom_objects=request.custom_objects)
    channels = model.outputs[0].shape[-1]
    if request.num_classes not in (None, max(channels, 2)):  # one channel tells two classes apart
        raise InputError(f"'{path}' has {max(channels, 2)} classes, `num_classes` says {request.num_classes}.")
    spec = read_spec(path)
    if spec is None:
        spec = assumed_spec(
            path.stem,
            size,
            channels,
            model=model,
            conversion=conversion,
            given=request.feeding,
            options=("mean", "std", "color_order", "fit", "resize"),
        )
    spec = spec.replace(input_size=size, provenance=dataclasses.replace(spec.provenance, source=path.name))
    return OpenedModel(model, _with_classes(spec, request.classes))


def _with_classes(spec: ModelSpec, classes: Classes | None) -> ModelSpec:
    """Take the class names from the data where the file has none; the file's own are kept."""
    if classes is None or spec.class_names != default_class_names(spec.num_classes):
        return spec
    if len(classes.names) != spec.num_classes:
        raise InputError(
            f"the model has {counted(spec.num_classes, 'class')}, the data has {len(classes.names)}; "
            f"give `num_classes={len(classes.names)}` or other data."
        )
    return spec.replace(class_names=classes.names, palette=classes.palette, ignore_index=classes.ignore_index)
