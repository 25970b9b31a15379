"""Fill the encoder of a model of the zoo from a file of published weights, or from a download of ImageNet's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edgeseg._internal.fields import short_repr
from edgeseg._internal.text import counted
from edgeseg.errors import InputError
from edgeseg.models.encoders.chain import Link, fit_to_images, set_transparent
from edgeseg.models.encoders.efficientnet_lite0 import read_pytorch
from edgeseg.models.encoders.first_convolution import fold_pixels
from edgeseg.models.encoders.imagenet import imagenet_layers
from edgeseg.models.encoders.layers import encoder_layers
from edgeseg.models.encoders.published import PUBLISHED, PublishedEncoder
from edgeseg.models.keras_graph import finalize
from edgeseg.models.preprocessing import zoo_model_of
from edgeseg.models.weights.hdf5 import FileLayer, Tensor, read_weights
from edgeseg.models.weights.load import first_names
from edgeseg.models.weights.match import fit_layer
from edgeseg.models.weights.variables import ModelLayer, VariableSlot, model_layers
from edgeseg.models.zoo.creation import create
from edgeseg.models.zoo.entry import ZooModel
from edgeseg.models.zoo.options import WeightShapes, option_texts
from edgeseg.models.zoo.table import find
from edgeseg.spec import ModelSpec

#: The word for ImageNet's weights, in place of a file.
IMAGENET = "imagenet"


@dataclass(frozen=True, kw_only=True)
class EncoderReport:
    """What was filled by ``load_encoder``.

    Attributes:
        source: the file, or ``imagenet``.
        matched: tensor of the file, variable of the model as ``layer/variable``, and their shape.
        left_over: layers of the file that the encoder has no place for.
        chain: names of the convolutions of an encoder without batch norms, each with the batch norm that the model has
            after it, or ``None``. ``fit_encoder`` brings its values to the order of 1, which training needs.
        folded: whether the first convolution was changed to take the pixels of the model.
    """

    __repr__ = short_repr

    source: str
    matched: tuple[tuple[str, str, tuple[int, ...]], ...]
    left_over: tuple[str, ...]
    chain: tuple[tuple[str, str | None], ...]
    folded: bool

    def line(self) -> str:
        """Return it for people, in one line."""
        layers = {variable.rpartition("/")[0] for _, variable, _ in self.matched}
        parts = [
            f"encoder: {counted(len(self.matched), 'tensor')} in {counted(len(layers), 'layer')} from '{self.source}'"
        ]
        if self.folded:
            parts.append("its first convolution takes the model's pixels now")
        norms = sum(norm is not None for _, norm in self.chain)
        if norms:
            parts.append(f"{norms} batch norms, which it has not, are set to change nothing")
        parts.append(f"not used of it: {first_names(self.left_over)}" if self.left_over else "all of it is used")
        return "; ".join(parts)


def load_encoder(
    model: keras.Model, source: str | Path, *, images: Iterable[Any] | None = None, spec: ModelSpec | None = None
) -> EncoderReport:
    """Fill the encoder of a model of the zoo; the decoder is not changed.

    The encoder computes what the published one does on the same image: where that was trained on other pixels (BGR
    without the mean, say) its first convolution is changed to take the model's.

    Args:
        model: from ``create``, changed in place.
        source: a file of ``keras.applications`` or Keras 2, with or without top, of the model itself (from an earlier
            training), or a ``.pth`` of EfficientNet-Lite0; or ``imagenet`` for a download.
        images: batches as the model takes them, for ``fit_encoder``.
        spec: how the model is fed, where that is not as ``ZOO`` says.

    Raises:
        InputError: the model is not of the zoo, the file cannot be read, does not fill every layer of the encoder, or
            was made for other options; or there is no such download. The model is then unchanged.
        BackendUnavailable: the weights are in a package that is not installed.
    """
    zoo_model = zoo_model_of(model)
    if zoo_model is None:
        raise InputError(f"'{model.name}' is no architecture of the zoo, of whose encoder files are known.")
    options = dict(getattr(model, "_zoo_options", {}))
    chosen = _Source.read(source, zoo_model, options)
    contradicted = zoo_model.differing(chosen.options, options)
    if contradicted:
        raise InputError(
            f"'{source}' is {chosen.title}, which needs {option_texts(contradicted)}: "
            f"create('{zoo_model.name}', ..., {', '.join(f'{k}={v!r}' for k, v in contradicted.items())})."
        )
    return _fill(model, zoo_model, chosen, images, spec)


def create_with_encoder(
    name: str,
    source: str | Path,
    *,
    num_classes: int,
    input_size: tuple[int, int],
    options: Mapping[str, Any],
    spec: ModelSpec | None = None,
) -> tuple[keras.Model, EncoderReport]:
    """Build a model of the zoo with the options that a file of its encoder asks for, and fill its encoder.

    Args:
        name: a name of ``ZOO``.
        source: see ``load_encoder``.
        num_classes: number of output channels.
        input_size: ``(H, W)`` in pixels.
        options: of the architecture, as the user gives them; the others are found in the file.
        spec: how the model is fed, where that is not as ``ZOO`` says.

    Raises:
        InputError: the file asks for other options than were given, or see ``load_encoder``.
        BackendUnavailable: the weights are in a package that is not installed.
    """
    zoo_model = find(name)
    given = zoo_model.read_options(options)
    chosen = _Source.read(source, zoo_model, given)
    contradicted = {key: value for key, value in chosen.options.items() if key in given and given[key] != value}
    if contradicted:
        raise InputError(
            f"'{source}' is {chosen.title}, which needs {option_texts(contradicted)}, "
            f"got {option_texts({key: given[key] for key in contradicted})}; give that, or another file."
        )
    model = create(name, num_classes=num_classes, input_size=input_size, **{**chosen.options, **given})
    return model, _fill(model, zoo_model, chosen, None, spec)


def fit_encoder(model: keras.Model, report: EncoderReport, batches: Iterable[Any]) -> None:
    """Bring the values of an encoder without batch norms to the order of 1, see ``encoders.chain``.

    Args:
        model: that was filled, changed in place.
        report: of ``load_encoder``; for an encoder with batch norms nothing is done.
        batches: images as the model takes them, in batches of equal size.
    """
    if report.chain:
        links = [(model.get_layer(c), None if n is None else model.get_layer(n)) for c, n in report.chain]
        fit_to_images(model, links, batches)


@dataclass(frozen=True, kw_only=True)
class _Source:
    """The layers of a source, under the names of the model.

    Attributes:
        name: the file, or ``imagenet``.
        published: the encoder that it is taken to be; ``None`` for a model without a published one.
        layers: by the name in the model.
        renamed: those of them whose name in the file is another.
        left_over: names of layers that another one has taken the place of.
        options: of the architecture, that it asks for.
    """

    name: str
    published: PublishedEncoder | None
    layers: Mapping[str, FileLayer]
    renamed: frozenset[str]
    left_over: tuple[str, ...]
    options: Mapping[str, Any]

    @property
    def title(self) -> str:
        """What people call the encoder."""
        return self.published.title if self.published else "an encoder"

    @classmethod
    def read(cls, source: str | Path, zoo_model: ZooModel, given: Mapping[str, Any]) -> _Source:
        encoders = {PUBLISHED[key]: options for key, options in zoo_model.encoders.items()}
        if str(source) == IMAGENET:
            published = _downloadable(zoo_model, encoders, given)
            return cls._named(str(source), imagenet_layers(published, given), published, zoo_model, encoders[published])
        layers = read_pytorch(source) if Path(source).suffix == ".pth" else read_weights(source, flat=True)
        tried = [cls._named(str(source), layers, each, zoo_model, options) for each, options in encoders.items()]
        if not tried:
            return cls._named(str(source), layers, None, zoo_model, {})
        marked = [each for each in tried if each.published and each.published.marker in each.layers]
        return (marked or tried)[0]

    @classmethod
    def _named(
        cls,
        name: str,
        layers: Sequence[FileLayer],
        published: PublishedEncoder | None,
        zoo_model: ZooModel,
        options: Mapping[str, Any],
    ) -> _Source:
        known = published.names([layer.name for layer in layers if layer.name is not None]) if published else {}
        by_name: dict[str, FileLayer] = {}
        renamed = set()
        left_over = []
        for layer in layers:
            own = layer.name or ""
            if known.get(own, own) != own:
                by_name[known[own]] = layer
                renamed.add(known[own])
        for layer in layers:
            own = layer.name or ""
            if known.get(own, own) != own:
                continue
            if not own or own in renamed:  # without a name, or with that of a layer that another one is
                left_over.append(layer.tensors[0].name)
            else:
                by_name[own] = layer
        of_encoder = {option.name for option in zoo_model.options if option.of_encoder}
        said = zoo_model.options_of(
            WeightShapes.of((key, t.shape) for key, layer in by_name.items() for t in layer.tensors)
        )
        return cls(
            name=name,
            published=published,
            layers=by_name,
            renamed=frozenset(renamed),
            left_over=tuple(left_over),
            options={**{key: value for key, value in said.items() if key in of_encoder}, **options},
        )


def _downloadable(
    zoo_model: ZooModel, encoders: Mapping[PublishedEncoder, Mapping[str, Any]], given: Mapping[str, Any]
) -> PublishedEncoder:
    """Return the encoder of an architecture with these options."""
    fitting = [published for published, options in encoders.items() if not zoo_model.differing(options, given)]
    if not fitting:
        raise InputError(
            f"nobody has published weights of {zoo_model.name}'s encoder; `encoder_weights` takes the file of an "
            "earlier training of it."
        )
    return fitting[0]


def _fill(
    model: keras.Model, zoo_model: ZooModel, source: _Source, images: Iterable[Any] | None, spec: ModelSpec | None
) -> EncoderReport:
    layers = _encoder(model)
    published = source.published
    chain = _chain(layers, source) if published and published.chain else []
    pairs: list[tuple[Tensor, VariableSlot]] = []
    missing: list[str] = []
    clashes: list[str] = []
    for layer in layers:
        item = source.layers.get(layer.name)
        if item is not None:
            fit = fit_layer(item, layer)
            pairs += fit.filled
            if not fit.complete:
                shapes = [f"'{t.name}' is {t.shape} but '{s.name}' needs {s.shape}" for t, s in fit.clashes]
                clashes += shapes or [
                    f"'{item.name}' has {counted(len(item.tensors), 'tensor')}, not {len(layer.slots)}"
                ]
        elif not any(norm is layer.layer for _, norm in chain):
            missing.append(layer.name)
    if missing or clashes:
        raise InputError(_misfit(zoo_model, source, missing, clashes))

    for tensor, slot in pairs:
        slot.variable.assign(tensor.values)
    finalize(model)
    if published and published.epsilon is not None:
        _with_epsilon([layer.layer for layer in layers if layer.name in source.renamed], published.epsilon)
    set_transparent(chain)
    own = {layer.name for layer in layers}
    left_over = [name for name in source.layers if name not in own]
    pixels = None if published is None or _has_decoder(model, source, left_over) else published.pixels
    fed = spec or zoo_model.default_spec(model.output_shape[-1])
    folded = pixels is not None and fold_pixels(layers[0].layer, layers[1].layer, pixels, fed)
    report = EncoderReport(
        source=source.name,
        matched=tuple((tensor.name, slot.name, tensor.shape) for tensor, slot in pairs),
        left_over=(*(str(source.layers[name].name) for name in left_over), *source.left_over),
        chain=tuple((convolution.name, norm and norm.name) for convolution, norm in chain),
        folded=folded,
    )
    if images is not None:
        fit_encoder(model, report, images)
    return report


def _encoder(model: keras.Model) -> list[ModelLayer]:
    inside = {id(layer) for layer in encoder_layers(model)}
    return [layer for layer in model_layers(model) if id(layer.layer) in inside]


def _chain(layers: Sequence[ModelLayer], source: _Source) -> list[Link]:
    """Return the convolutions of an encoder with their batch norms; nothing for a file that has those too."""
    links: list[Link] = []
    for layer in layers:
        if not isinstance(layer.layer, keras.layers.BatchNormalization):
            links.append((layer.layer, None))
        elif layer.name in source.layers or not links:
            return []
        else:
            links[-1] = (links[-1][0], layer.layer)
    return links


def _with_epsilon(layers: Iterable[keras.layers.Layer], epsilon: float) -> None:
    """Make batch norms compute in inference what they would with another epsilon."""
    for layer in layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.epsilon != epsilon:
            variance = np.asarray(layer.moving_variance, np.float64)
            gamma = np.asarray(layer.gamma, np.float64) * np.sqrt((variance + layer.epsilon) / (variance + epsilon))
            layer.gamma.assign(gamma.astype(np.float32))


def _has_decoder(model: keras.Model, source: _Source, left_over: Iterable[str]) -> bool:
    """Return whether a file is of the model itself, which was trained on the model's own pixels."""
    own = {layer.name: layer for layer in model_layers(model)}
    return any(
        name in own and [t.shape for t in source.layers[name].tensors] == [s.shape for s in own[name].slots]
        for name in left_over
    )


def _misfit(zoo_model: ZooModel, source: _Source, missing: Sequence[str], clashes: Sequence[str]) -> str:
    problems = [
        *([f"nothing in it fills {first_names(missing)}"] if missing else []),
        *([first_names(clashes)] if clashes else []),
    ]
    held = [str(layer.name) for layer in source.layers.values()]
    wanted = [f"{each.title} ({each.file})" for each in (PUBLISHED[key] for key in zoo_model.encoders)]
    return (
        f"'{source.name}' does not fill the encoder of {zoo_model.name}: {'; '.join(problems)}. It holds "
        f"{first_names(held) if held else 'no layer with a name'}. Accepted: "
        f"{' or '.join([*wanted, f'a file of {zoo_model.name} itself'])}."
    )
