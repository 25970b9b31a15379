"""Define the options and value parsers that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click
from click.shell_completion import CompletionItem

from edgeseg.choices import (
    Accelerator,
    BackendName,
    ClassPreset,
    ColorOrder,
    DataLayout,
    Fit,
    LabelEncoding,
    LetterboxRounding,
    Resize,
    RuntimePrecision,
)
from edgeseg.cli._fields import collect, default_of, option
from edgeseg.cli._limits import image_limit
from edgeseg.drawing.look import Look
from edgeseg.errors import InputError, did_you_mean
from edgeseg.spec import ModelSpec, default_palette

if TYPE_CHECKING:
    from edgeseg.datasets import DataSource
    from edgeseg.opening import InputDescription
    from edgeseg.runtime import RuntimeOptions

F = TypeVar("F", bound=Callable[..., Any])


class SizeType(click.ParamType[tuple[int, int]]):
    """``512`` or ``384,480``: (H, W) in pixels."""

    name = "N|H,W"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Parse; any value that is not a size is a usage error."""
        if isinstance(value, tuple):
            return value
        try:
            sides = [int(side) for side in str(value).split(",")]
        except ValueError:
            sides = []
        if len(sides) not in (1, 2) or min(sides) < 1:
            self.fail(f"'{value}' is not a size; accepted: 512 or 384,480 (H,W).", param, ctx)
        return sides[0], sides[-1]


class NamesType(click.ParamType[tuple[str, ...]]):
    """``a,b``: names from a fixed set, or any names where the set is not known yet."""

    name = "A,B,..."

    def __init__(self, accepted: Sequence[str] | None = None) -> None:
        self._accepted = accepted

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str | None:
        """Return the names as they are typed; click would write them in capitals."""
        return None if self._accepted is None else f"[{'|'.join(self._accepted)}],..."

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return what the last name may become, after those before it."""
        before, comma, last = incomplete.rpartition(",")
        return [CompletionItem(before + comma + name) for name in self._accepted or () if name.startswith(last)]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Parse; an unknown name is a usage error that suggests the closest."""
        if isinstance(value, tuple):
            return value
        names = tuple(name.strip() for name in str(value).split(","))
        for name in names:
            if self._accepted is not None and name not in self._accepted:
                hint = did_you_mean(name, self._accepted)
                self.fail(f"unknown '{name}'.{hint} Accepted: {', '.join(self._accepted)}.", param, ctx)
            if not name:
                self.fail(f"names with commas between, got '{value}'.", param, ctx)
        return names


class TripleType(click.ParamType[tuple[float, float, float]]):
    """``127.5`` or ``123.7,116.3,103.5``: one number for each input channel."""

    name = "X|R,G,B"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float, float]:
        """Parse; any value but one or three numbers is a usage error."""
        try:
            numbers = [float(number) for number in str(value).split(",")]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, 3):
            self.fail(f"'{value}' is not a number or three; accepted: 127.5 or 123.7,116.3,103.5.", param, ctx)
        return numbers[0], numbers[len(numbers) // 2], numbers[-1]


class NumbersType(click.ParamType[tuple[float, ...]]):
    """``0,3000``: numbers with commas between."""

    def __init__(self, name: str, kind: type[int] | type[float]) -> None:
        self.name, self._kind = name, kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Parse; any value but numbers is a usage error."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self._kind(number) for number in str(value).split(","))
        except ValueError:
            self.fail(f"'{value}' is not {self.name}: numbers with commas between.", param, ctx)


class PairType(click.ParamType[tuple[str, str]]):
    """``key=value``."""

    name = "K=V"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Parse; a value without a key is a usage error."""
        key, sign, text = str(value).partition("=")
        if not key or not sign:
            self.fail(f"'{value}' is not K=V.", param, ctx)
        return key, text


def _once_each(ctx: click.Context, param: click.Parameter, pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the values of a repeatable ``NAME=VALUE`` by name; two of one name are a usage error."""
    values = dict(pairs)
    if len(values) != len(pairs):
        twice = next(name for name in values if sum(name == other for other, _ in pairs) > 1)
        raise click.BadParameter(f"'{twice}' is given twice.", ctx, param)
    return values


#: What ``--classes`` and ``--labels`` take.
CLASSES_HELP = f"Class names: A,B,C, a file of names, classes.json, or {', '.join(get_args(ClassPreset))}"

#: A folder, and a file, that a command writes.
FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


class PlaceType(click.Path):
    """A folder that a command writes, a ``Path``, or the address of one in a store, a text."""

    def __init__(self) -> None:
        super().__init__(file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse; refuse an address that cannot be written."""
        from edgeseg.batch.storage import place_of

        place = place_of(value) if isinstance(value, str) else value
        return super().convert(place, param, ctx) if isinstance(place, Path) else place


imgsz = click.option("--imgsz", type=SizeType(), help="Input size in pixels.", show_default="the model's own")
mean = click.option("--mean", type=TripleType(), help="Subtracted from pixels in [0, 255]; for a model without spec.")
std = click.option("--std", type=TripleType(), help="What the difference is divided by.")
color_order = click.option(
    "--color-order",
    type=click.Choice(get_args(ColorOrder)),
    help="Channel order of the input; for a model without spec.",
    show_default=default_of(ModelSpec, "color_order"),
)
fit = click.option(
    "--fit",
    type=click.Choice(get_args(Fit)),
    help="How images are fitted into the input; for a model without spec.",
    show_default=default_of(ModelSpec, "fit"),
)
resize = click.option(
    "--resize",
    type=click.Choice(get_args(Resize)),
    help="How images are scaled: by OpenCV, or -antialias as by Pillow; for a model without spec.",
    show_default=default_of(ModelSpec, "resize"),
)
letterbox_rounding = click.option(
    "--letterbox-rounding",
    type=click.Choice(get_args(LetterboxRounding)),
    help="How letterboxed images get whole sides; floor as by int(). For a model without spec.",
    show_default=default_of(ModelSpec, "letterbox_rounding"),
)
bands = click.option(
    "--bands",
    type=NumbersType("R,G,B", int),
    help="Bands of a raster that are red, green and blue, from 1.",
    show_default="the model's own, else the three that there are",
)
band_range = click.option(
    "--band-range",
    type=NumbersType("LOW,HIGH", float),
    help="Values of a raster that become 0 and 255, for all three or for each.",
    show_default="the model's own, else bytes as they are",
)
model_option = click.option(
    "--model-option",
    "model_options",
    type=PairType(),
    multiple=True,
    metavar="NAME=VALUE",
    callback=_once_each,
    help="An option of a zoo model's architecture, see edgeseg models NAME; repeatable.",
    show_default="the weights file's, else as published",
)
custom_objects = click.option(
    "--custom-objects", type=click.Path(), help="Python file with the layers of a model file; it is run."
)
output = click.option(
    "--output", help="Name of the output to use, of a model file with several.", show_default="the first"
)
max_image_pixels = image_limit(expose_value=False)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
overwrite = click.option("--overwrite", is_flag=True, help="Replace files that exist.")
num_threads = click.option(
    "--num-threads", type=click.IntRange(1), help="Threads.", show_default="one a core, at most 4"
)
backend = click.option(
    "--backend", type=click.Choice(get_args(BackendName)), help="What runs the file.", show_default="by its suffix"
)
delegate = click.option("--delegate", metavar="FILE", help="Library of a TFLite delegate, such as libedgetpu.so.1.")
delegate_option = click.option(
    "--delegate-option", type=PairType(), multiple=True, help="An option of that library; repeatable."
)
provider = click.option(
    "--provider", multiple=True, metavar="NAME", help="Execution provider for an .onnx, such as cuda; repeatable."
)
runtime_precision = click.option(
    "--runtime-precision",
    type=click.Choice(get_args(RuntimePrecision)),
    help="What OpenVINO computes floats in.",
    show_default="fp32",
)
alpha = option(Look, "alpha", type=click.FloatRange(0, 1), help="Weight of the colors in the overlay.")
shown_classes = option(
    Look, "classes", type=NamesType(), help="Classes to show, with commas between.", if_omitted="all but the background"
)
except_classes = option(
    Look, "except_classes", flag="--except", type=NamesType(), help="Classes not to show.", if_omitted="none"
)
paint_background = option(Look, "paint_background", help="Paint the class 'background' in the overlay too.")
anonymize = option(
    Look, "anonymize", type=NamesType(), help="Classes to make unrecognizable, in every file too.", if_omitted="none"
)
matte = option(
    Look,
    "matte",
    help="Soft edges, by the scores of the model, in blur, replace and cutout.",
    show_default="in blur and replace, where the file has scores",
)

#: The parameters of ``runtime``, ``input_description``, ``model_description``, ``results`` and ``dataset``, for a
#: command's headings; and those of them that say how images become the input.
LOOK = ("alpha", "classes", "except_classes", "paint_background", "matte", "anonymize")
RUNTIME = ("backend", "accelerator", "delegate", "delegate_option", "provider", "runtime_precision", "num_threads")
FEEDING = ("mean", "std", "color_order", "fit", "resize", "letterbox_rounding")
FEEDING_DESCRIPTION = ("labels", *FEEDING, "threshold")
INPUT_DESCRIPTION = ("imgsz", *FEEDING_DESCRIPTION)
MODEL_DESCRIPTION = (*INPUT_DESCRIPTION, "output_name")
RESULTS = ("overwrite", "as_json")
DATASET = ("data", "classes", "data_layout", "label_encoding", "ignore_index", "color_map", "max_image_pixels")


def require_soft_view(matte: bool | None, views: Sequence[str]) -> None:
    """Refuse ``--matte`` where no view cuts anything out.

    Raises:
        InputError: it is so.
    """
    if matte and not set(views) & {"blur", "replace", "cutout"}:
        raise InputError(f"--matte is for --visualize blur, replace and cutout, got {', '.join(views)}.")


def read_custom_objects(path: str | None) -> dict[str, Any] | None:
    """Return the objects in the file of ``--custom-objects``; ``None`` when none was given."""
    if path is None:
        return None
    from edgeseg.errors import missing_extra

    try:
        from edgeseg.models.keras_files.custom_objects import load_custom_objects
    except ModuleNotFoundError as error:
        raise missing_extra("--custom-objects", "train") from error
    return load_custom_objects(path)


@dataclass(frozen=True)
class Results:
    """How a command outputs its results.

    Attributes:
        overwrite: replace files that exist.
        as_json: print one JSON object.
    """

    overwrite: bool
    as_json: bool


def results(function: F) -> F:
    """Add ``--overwrite`` and ``--json``, as one argument ``results``."""
    return collect("results", Results, overwrite, as_json)(function)


@dataclass(frozen=True)
class KerasFile:
    """The options about a Keras model.

    Attributes:
        custom_objects: a Python file with its layers.
        output: name of the output to use.
        model_options: of the architecture, where it is a name of the zoo in place of a file.
    """

    custom_objects: str | None
    output: str | None
    model_options: dict[str, str]


def keras_file(function: F) -> F:
    """Add ``--custom-objects``, ``--output`` and ``--model-option``, as one argument ``keras_file``."""
    return collect("keras_file", KerasFile, custom_objects, output, model_option)(function)


def runtime(function: F) -> F:
    """Add the options that choose the runtime, as one argument ``runtime``, a ``RuntimeOptions``."""
    accelerator = click.option(
        "--accelerator", type=click.Choice(get_args(Accelerator)), help="Where a .tflite runs.", show_default="cpu"
    )
    options = (backend, accelerator, delegate, delegate_option, provider, runtime_precision, num_threads)
    return collect("runtime", _runtime, *options)(function)


def _runtime(
    *,
    backend: BackendName | None,
    accelerator: Accelerator | None,
    delegate: str | None,
    delegate_option: tuple[tuple[str, str], ...],
    provider: tuple[str, ...],
    runtime_precision: RuntimePrecision | None,
    num_threads: int | None,
) -> RuntimeOptions:
    from edgeseg.runtime.options import RuntimeOptions

    return RuntimeOptions(
        backend=backend,
        num_threads=num_threads,
        accelerator=accelerator,
        delegate=delegate,
        delegate_options=dict(delegate_option),
        providers=provider,
        runtime_precision=runtime_precision,
    )


def input_description(function: F) -> F:
    """Add the options that say how to feed a model without ModelSpec, as one argument ``description``."""
    return collect("description", _input_description, imgsz, *_INPUT_DESCRIPTION)(function)


def feeding_description(function: F) -> F:
    """Add what ``input_description`` adds but ``--imgsz``, for a command that has its own."""
    return collect("description", _input_description, *_INPUT_DESCRIPTION)(function)


def model_description(function: F) -> F:
    """Add what ``input_description`` adds, and the output to use."""
    output_name = click.option(
        "--output", "output_name", help="Name of the output to use, of a model with several.", show_default="the first"
    )
    return collect("description", _input_description, imgsz, *_INPUT_DESCRIPTION, output_name)(function)


_INPUT_DESCRIPTION = (
    click.option("--labels", help=f"{CLASSES_HELP}; for a model without spec.", show_default="the file's own"),
    mean,
    std,
    color_order,
    fit,
    resize,
    letterbox_rounding,
    click.option(
        "--threshold",
        type=float,
        help="Score above which a pixel is of the second class; for a model of one channel.",
        show_default="0.5 for probabilities, 0 for logits",
    ),
)


def _input_description(
    *,
    labels: str | None,
    imgsz: tuple[int, int] | None = None,
    output_name: str | None = None,
    **said: Any,
) -> InputDescription:
    from edgeseg.datasets.classes import given_classes
    from edgeseg.opening import InputDescription

    names = palette = None
    if labels is not None:
        classes = given_classes(labels)
        names = classes.names
        palette = None if classes.palette == default_palette(len(names)) else classes.palette
    return InputDescription(
        class_names=names,
        palette=palette,
        input_size=imgsz,
        output=output_name,
        **said,
    )


def dataset(
    *,
    required: bool = True,
    help: str = "Labeled data set.",  # noqa: A002 - click's word
    argument: str | None = None,
) -> Callable[[F], F]:
    """Add ``--data``, or an argument, and the options about the data set, as one argument ``data``, a ``DataSource``.

    Args:
        required: whether it must be given; otherwise ``data`` may be ``None``.
        help: of ``--data``.
        argument: name of a command argument that replaces ``--data``.
    """
    where = (
        click.argument("data", metavar=argument, type=click.Path())
        if argument
        else click.option("--data", required=required, type=click.Path(), help=help)
    )
    return collect(
        "data",
        _data_source,
        where,
        click.option("--classes", help=f"{CLASSES_HELP}.", show_default="classes.json of the data"),
        click.option(
            "--data-layout",
            type=click.Choice(get_args(DataLayout)),
            help="How the folder is laid out.",
            show_default="detected",
        ),
        click.option(
            "--label-encoding",
            type=click.Choice(get_args(LabelEncoding)),
            help="How labels encode classes.",
            show_default="detected",
        ),
        click.option(
            "--ignore-index", type=click.IntRange(0, 255), help="Label id of pixels that do not count; VOC's is 255."
        ),
        click.option(
            "--color-map", type=click.Path(), help="Text file with the color of each class, for color labels."
        ),
        image_limit(),
    )


def _data_source(
    *,
    data: str | None,
    classes: str | None,
    data_layout: DataLayout | None,
    label_encoding: LabelEncoding | None,
    ignore_index: int | None,
    color_map: str | None,
    max_image_pixels: int | None,
) -> DataSource | None:
    from edgeseg.datasets import DataSource

    if data is not None:
        return DataSource(
            root=data,
            layout=data_layout,
            classes=classes,
            label_encoding=label_encoding,
            ignore_index=ignore_index,
            color_map=color_map,
        )
    of_data = (data_layout, classes, label_encoding, ignore_index, color_map, max_image_pixels)
    if any(value is not None for value in of_data):
        raise click.UsageError("--classes, --data-layout, --label-encoding and the like go with --data.")
    return None
