"""Define the options about the Keras model that a command exports, and open it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgeseg._internal.text import counted, printable, unprintable
from edgeseg.choices import ColorOrder, Fit, LetterboxRounding, Resize
from edgeseg.cli import _options
from edgeseg.cli._fields import collect
from edgeseg.cli._terminal import note
from edgeseg.spec import check_bands

if TYPE_CHECKING:
    from edgeseg.datasets import Classes
    from edgeseg.models.learned_ranges import LearnedRanges
    from edgeseg.models.opening import OpenedModel
    from edgeseg.spec import ModelSpec

F = TypeVar("F", bound=Callable[..., Any])

#: The parameters of ``options``, for a command's headings.
OPTIONS = (
    *("weights", "allow_missing", "num_classes", "model_options", "custom_objects", "imgsz"),
    *(*_options.FEEDING, "bands", "band_range", "output"),
)


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """What a user says about the model."""

    weights: str | None
    allow_missing: tuple[str, ...] | None
    num_classes: int | None
    model_options: dict[str, str]
    custom_objects: str | None
    imgsz: tuple[int, int] | None
    mean: tuple[float, float, float] | None
    std: tuple[float, float, float] | None
    color_order: ColorOrder | None
    fit: Fit | None
    resize: Resize | None
    letterbox_rounding: LetterboxRounding | None
    bands: tuple[int, int, int] | None
    band_range: tuple[float, ...] | None
    output: str | None

    def __post_init__(self) -> None:
        check_bands(self.bands, self.band_range)  # before a model is opened

    def open(self, model: str | None, classes: Classes | None) -> OpenedModel:
        """Open the model, and note which tensors of a weights file are in it.

        Args:
            model: a zoo name or a model file; the packaged model when ``None``.
            classes: of the data, for a model that has none.
        """
        import edgeseg.models.opening as opening

        opened = opening.load_model(
            model,
            opening.ModelRequest(
                weights=self.weights,
                num_classes=self.num_classes,
                input_size=self.imgsz,
                classes=classes,
                allow_missing=self.allow_missing or (),
                mean=self.mean,
                std=self.std,
                color_order=self.color_order,
                fit=self.fit,
                resize=self.resize,
                letterbox_rounding=self.letterbox_rounding,
                bands=self.bands,
                band_range=self.band_range,
                custom_objects=_options.read_custom_objects(self.custom_objects),
                output=self.output,
                model_options=self.model_options,
            ),
        )
        if (loaded := opened.weights_report) is not None:
            for line in loaded.table().split("\n"):
                note(line)
            matched, left, missing = len(loaded.matched), len(loaded.left_over), len(loaded.missing)
            tensors = counted(matched, "tensor")
            note(f"{tensors} of '{self.weights}' are in the model, {left} left over, {missing} missing")
        return opened

    def name_of(self, spec: ModelSpec) -> str:
        """Return what a model is called whose name was not typed."""
        from edgeseg.models.packaged_files import PACKAGED

        # The name of a packaged model says what it sees; with weights of others it sees something else.
        if self.weights is not None and spec.name in PACKAGED:
            return Path(self.weights).name.partition(".")[0] or spec.name
        return spec.name


def checked_name(ctx: click.Context, param: click.Parameter, name: str | None) -> str | None:
    """Return the value of ``--name``; what no file can be called is a usage error."""
    if name is not None and (not re.fullmatch(r"[^/\\]{1,100}", name) or name.startswith(".") or unprintable(name)):
        raise click.BadParameter(
            f"'{printable(name)[:100]}' is no name of a file: 1 to 100 characters, no slash, no dot at the beginning. "
            "--output-dir names the folder.",
            ctx,
            param,
        )
    return name


def learned_ranges(model: str | None) -> LearnedRanges | None:
    """Return the ranges that a training in integers left in a model file; ``None`` of a zoo name, or without any."""
    from edgeseg.models.keras_files.load import read_ranges

    return None if model is None or Path(model).suffix.lower() != ".keras" else read_ranges(model)


name = click.option(
    "--name",
    callback=checked_name,
    help="Name of the model: in its files, and of them.",
    show_default="the trained model's, which is that of its run or data; else MODEL's",
)


def options(function: F) -> F:
    """Add the options about the model, as one argument ``request``, a ``ModelOptions``."""
    return collect(
        "request",
        ModelOptions,
        click.option("--weights", type=click.Path(), help="Weights file for a zoo model."),
        click.option(
            "--allow-missing",
            type=_options.NamesType(),
            help="Layers that may stay without weights, with commas between; 'head' is the last.",
        ),
        click.option("--num-classes", type=click.IntRange(2), help="Classes of a zoo model."),
        _options.model_option,
        _options.custom_objects,
        _options.imgsz,
        _options.mean,
        _options.std,
        _options.color_order,
        _options.fit,
        _options.resize,
        _options.letterbox_rounding,
        _options.bands,
        _options.band_range,
        _options.output,
    )(function)
