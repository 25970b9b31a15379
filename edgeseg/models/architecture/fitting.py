"""Load weights into a model whose architecture is that of the file, and build a model of the zoo that is.

A weights file is matched by names and shapes, which many architectures share: pooling with another padding, a stride
in place of a dilation. A file with a whole model says which it was made with.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import keras

from edgeseg.errors import InputError
from edgeseg.models.architecture.differences import Comparison, Difference, compare
from edgeseg.models.architecture.operations import Operations, operations_of_config, operations_of_model
from edgeseg.models.keras_files.config import is_hdf5, read_config
from edgeseg.models.keras_files.keras2 import to_keras3
from edgeseg.models.weights.hdf5 import FileLayer, read_weights
from edgeseg.models.weights.load import FileMatch, WeightsReport, match_file
from edgeseg.models.zoo.creation import create
from edgeseg.models.zoo.entry import ZooModel
from edgeseg.models.zoo.options import ModelOption, WeightShapes, option_texts
from edgeseg.models.zoo.table import find

_log = logging.getLogger(__name__)

_SHOWN = 3  # differences in a message; the rest is a count
#: What reading a config raises that is JSON, but no config of Keras.
_MALFORMED = (LookupError, TypeError, ValueError, AttributeError, RecursionError)


def load_weights(model: keras.Model, path: str | Path, *, allow_missing: Sequence[str] = ()) -> WeightsReport:
    """Fill a functional model from a weights file, in place.

    Where the file has a whole model, every layer of it is compared with the model: what it computes, not only the
    shapes of its weights. A model that the file fills in part has to be trained in any case: there a difference is a
    warning.

    Args:
        model: a built functional model.
        path: ``.keras``, Keras 3's ``.weights.h5``, or Keras 2's ``.h5``, weights-only or the full model. Any float
            precision; an optimizer's state in it is ignored.
        allow_missing: what may stay without a counterpart, each a whole layer: patterns (``decoder*``) or beginnings of
            names of model layers, of file layers or of file tensors; or the word ``head``, the model's last layer with
            weights (a BatchNormalization there counts with the layer before it).

    Returns:
        Every tensor with the variable that it fills, and what was allowed to stay without a counterpart.

    Raises:
        InputError: the file cannot be read, a tensor or variable has no counterpart, shapes differ, or the file's
            architecture computes something else; the text names the option of ``create`` that makes it the same,
            where there is one. The model is then unchanged.
    """
    name = getattr(model, "_zoo_name", None)
    file = _File.read(path, flat=name is not None)
    zoo_model = None if name is None else find(name)
    options = dict(getattr(model, "_zoo_options", {}))
    try:
        match = match_file(model, path, allow_missing=allow_missing, file_layers=file.layers)
    except InputError as error:
        fitting = {} if zoo_model is None else zoo_model.differing(file.options_in(zoo_model), options)
        raise _with_advice(error, fitting, _creation(name, fitting)) from error
    comparison = file.compare(match)
    if comparison.differences and zoo_model is not None and not match.report.missing:
        search = _Search(
            zoo_model=zoo_model,
            file=file,
            num_classes=model.output_shape[-1],
            input_size=tuple(model.input_shape[1:3]),
            allow_missing=allow_missing,
        )
        fitting, _ = search.improve(options, match, comparison, fixed=())
        changed = zoo_model.differing(fitting, options)
        if changed:
            raise InputError(
                f"'{path}' was made with {option_texts(changed)}: {_told(comparison.differences)}. "
                f"Build the model with {_creation(name, changed)}."
            )
    _settle(path, match, comparison)
    return replace(match.apply(), notes=_notes(path, zoo_model, file, comparison))


@dataclass(frozen=True)
class FilledModel:
    """A model of the zoo with the weights of a file.

    Attributes:
        model: the model.
        options: of the architecture: those that were given, and those that the file asks for.
        report: which tensor fills which variable.
    """

    model: keras.Model
    options: dict[str, Any]
    report: WeightsReport


def create_filled(
    name: str,
    path: str | Path,
    *,
    num_classes: int,
    input_size: tuple[int, int],
    options: Mapping[str, Any],
    allow_missing: Sequence[str] = (),
) -> FilledModel:
    """Build a model of the zoo with the options that a weights file was made with, and fill it.

    Args:
        name: a name of ``ZOO``.
        path: see ``load_weights``.
        num_classes: number of output channels.
        input_size: ``(H, W)`` in pixels.
        options: of the architecture, as the user gives them; the others are found in the file, and logged.
        allow_missing: see ``load_weights``.

    Raises:
        InputError: the file was made with other options than were given, or see ``load_weights``.
    """
    zoo_model, file = find(name), _File.read(path, flat=True)
    given = zoo_model.read_options(options)
    found = zoo_model.not_default(file.options_in(zoo_model))
    search = _Search(
        zoo_model=zoo_model,
        file=file,
        num_classes=num_classes,
        input_size=input_size,
        allow_missing=allow_missing,
    )
    try:
        match = search.match({**found, **given})
    except InputError as error:
        contradicted = {key: value for key, value in found.items() if key in given and value != given[key]}
        if contradicted or not found:
            raise _with_advice(error, contradicted, _without(given, contradicted)) from error
        found, match = {}, search.match(given)  # which refuses what is of another architecture in its own words
    chosen, comparison = {**found, **given}, file.compare(match)
    if comparison.differences:
        chosen, (match, comparison) = search.improve(chosen, match, comparison, fixed=given)
    if comparison.differences and given and not match.report.missing:
        fitting, _ = search.improve(chosen, match, comparison, fixed=())
        contradicted = {key: value for key, value in zoo_model.differing(fitting, chosen).items() if key in given}
        if contradicted:
            raise InputError(
                f"'{path}' was made with {option_texts(contradicted)}: {_told(comparison.differences)}. "
                f"{_without(given, contradicted)}"
            )
    _settle(path, match, comparison)
    adapted = {key: value for key, value in chosen.items() if key not in given}
    if adapted:
        _log.warning("'%s' was made with %s; %s is built so", path, option_texts(adapted), name)
    report = replace(match.apply(), notes=_notes(path, zoo_model, file, comparison))
    return FilledModel(match.model, chosen, report)


@dataclass(frozen=True)
class _File:
    """A file of weights.

    Attributes:
        path: where it is.
        layers: its tensors.
        operations: what its model computes; ``None`` where it has weights only, or no graph of layers.
        has_config: whether it has a model.
    """

    path: str | Path
    layers: list[FileLayer]
    operations: Operations | None = None
    has_config: bool = False

    @classmethod
    def read(cls, path: str | Path, *, flat: bool) -> _File:
        layers = read_weights(path, flat=flat)  # the zoo nests no models: a nested trunk fits by its own layers
        if not _has_config(path):
            return cls(path, layers)
        config = read_config(path)
        try:
            operations = operations_of_config(to_keras3(config.root) if config.is_keras2 else config.root)
        except _MALFORMED as error:
            raise _malformed(path, error) from error
        if operations is not None:
            weighted = {_stripped(tensor.name, operations.aliases) for layer in layers for tensor in layer.tensors}
            operations = replace(operations, weighted=frozenset(weighted - {""}))
        return cls(path, layers, operations, has_config=True)

    def compare(self, match: FileMatch) -> Comparison:
        """Compare what the file's model computes with the model that takes its weights."""
        model = None if self.operations is None else operations_of_model(match.model)
        if self.operations is None or model is None:
            return Comparison((), ())
        names = {name: name for name in model.weighted}
        partners = {
            _stripped(tensor.name, self.operations.aliases): _stripped(slot.name, names) for tensor, slot in match.pairs
        }
        try:
            return compare(self.operations, model, {one: other for one, other in partners.items() if one and other})
        except _MALFORMED as error:
            raise _malformed(self.path, error) from error

    def options_in(self, zoo_model: ZooModel) -> dict[str, Any]:
        """Return the options of an architecture that the shapes of the tensors say."""
        tensors = ((layer.name, tensor.shape) for layer in self.layers for tensor in layer.tensors)
        return zoo_model.options_of(WeightShapes.of(tensors))


@dataclass(frozen=True, kw_only=True)
class _Search:
    """Builds an architecture with other options, to see whether the file was made with them."""

    zoo_model: ZooModel
    file: _File
    num_classes: int
    input_size: tuple[int, int]
    allow_missing: Sequence[str]

    def match(self, options: Mapping[str, Any]) -> FileMatch:
        model = create(self.zoo_model.name, num_classes=self.num_classes, input_size=self.input_size, **options)
        return match_file(model, self.file.path, allow_missing=self.allow_missing, file_layers=self.file.layers)

    def improve(
        self, options: Mapping[str, Any], match: FileMatch, comparison: Comparison, *, fixed: Iterable[str]
    ) -> tuple[dict[str, Any], tuple[FileMatch, Comparison]]:
        """Return options with which fewer differences remain, and the model that has them.

        Only options that change what differs are tried, one after the other.

        Args:
            options: the options that the model has been built with.
            match: that model.
            comparison: its differences from the file.
            fixed: names of options that are kept.
        """
        best, chosen, before = (match, comparison), dict(options), None
        # Again, while it helps: what one option adds may show only after another.
        while best[1].differences and best[1] is not before:
            before = best[1]
            for option in self.zoo_model.options:
                if option.name in fixed or option.effect != "result" or not _concerns(option, best[1].differences):
                    continue
                for value in option.choices or ():
                    if value == chosen.get(option.name, option.default) or not best[1].differences:
                        continue
                    try:
                        tried = self.match({**chosen, option.name: value})
                    except InputError:  # it does not go with the other options
                        continue
                    other = self.file.compare(tried)
                    if len(other.differences) < len(best[1].differences):
                        best, chosen = (tried, other), {**chosen, option.name: value}
        return chosen, best


def _concerns(option: ModelOption, differences: Iterable[Difference]) -> bool:
    return any(difference.words & set(option.changes) for difference in differences)


def _settle(path: str | Path, match: FileMatch, comparison: Comparison) -> None:
    """Refuse a file that computes something else; warn where the model has to be trained in any case."""
    if not comparison.differences:
        return
    told = _told(comparison.differences)
    if match.report.missing:
        _log.warning("'%s' was made for another model, which training has to make up for: %s", path, told)
        return
    raise InputError(
        f"'{path}' fills the model, but computes something else with the same weights: {told}. "
        "Give the model that it was made for; a whole model in a file is also opened by its file name alone."
    )


def _notes(path: str | Path, zoo_model: ZooModel | None, file: _File, comparison: Comparison) -> tuple[str, ...]:
    """Say what nobody can tell of the file's architecture."""
    notes = []
    if comparison.unread:
        more = f" and {len(comparison.unread) - _SHOWN} more" if len(comparison.unread) > _SHOWN else ""
        notes.append(
            f"'{path}' does not say what {', '.join(comparison.unread[:_SHOWN])}{more} computes; it is taken to be "
            "what the model has in its place."
        )
    if file.operations is None and zoo_model is not None:
        silent = [option for option in zoo_model.options if option.effect == "result"]
        if silent:
            texts = "; ".join(f"{option.name} ({option.accepted})" for option in silent)
            notes.append(
                f"'{path}' holds weights only, which fit {zoo_model.name} with any {texts}; where it was made with "
                f"another than the default: `model_options={{'NAME': VALUE}}`, see 'edgeseg models {zoo_model.name}'."
            )
    elif file.operations is None and file.has_config:
        notes.append(f"'{path}' has a model that is no graph of layers; what it computes was not compared.")
    return tuple(notes)


def _told(differences: Sequence[Difference]) -> str:
    more = len(differences) - _SHOWN
    return "; ".join(difference.text for difference in differences[:_SHOWN]) + (
        f"; and {more} more" if more > 0 else ""
    )


def _with_advice(error: InputError, fitting: Mapping[str, Any], advice: str) -> InputError:
    """Return the error of tensors that do not fit, with the options that they say, where they say any."""
    if not fitting:
        return error
    return InputError(f"{error} Its tensors say {option_texts(fitting)}: {advice.rstrip('.')}.")


def _without(given: Mapping[str, Any], contradicted: Mapping[str, Any]) -> str:
    omitted = {name: given[name] for name in contradicted}
    return f"Omit `model_options={omitted}`, or give other weights."


def _creation(name: str | None, options: Mapping[str, Any]) -> str:
    return f"create('{name}', ..., {', '.join(f'{option}={value!r}' for option, value in options.items())})"


def _stripped(name: str, known: Mapping[str, str]) -> str:
    """Return the layer that a tensor or variable is of, by the longest known beginning of its name; empty for none."""
    while name and name not in known:
        name = name.rpartition("/")[0]
    return known[name] if name else ""


def _malformed(path: str | Path, error: Exception) -> InputError:
    return InputError(f"'{path}' describes its model in a form that is not Keras': {error!r}.")


def _has_config(path: str | Path) -> bool:
    """Return whether a file that holds weights has an architecture too."""
    if is_hdf5(path):
        with h5py.File(path, "r") as file:
            return "model_config" in file.attrs
    with zipfile.ZipFile(path) as archive:
        return "config.json" in archive.namelist()
