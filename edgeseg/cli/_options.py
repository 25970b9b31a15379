"""Options and value parsers that several commands share."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

import click

from edgeseg.choices import Accelerator, BackendName, ColorOrder, DataLayout, Fit, LabelEncoding
from edgeseg.errors import did_you_mean

if TYPE_CHECKING:
    from edgeseg.datasets import DataSource

F = TypeVar("F", bound=Callable[..., Any])


class SizeType(click.ParamType[tuple[int, int]]):
    """``512`` or ``384,480``: (H, W) in pixels."""

    name = "N|H,W"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Parse; a value that is no size is a usage error."""
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

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Parse; an unknown name is a usage error that suggests the nearest."""
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
        """Parse; a value that is no number for each channel is a usage error."""
        try:
            numbers = [float(number) for number in str(value).split(",")]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, 3):
            self.fail(f"'{value}' is not a number or three; accepted: 127.5 or 123.7,116.3,103.5.", param, ctx)
        return numbers[0], numbers[len(numbers) // 2], numbers[-1]


class PairType(click.ParamType[tuple[str, str]]):
    """``key=value``."""

    name = "K=V"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Parse; a value without a key is a usage error."""
        key, sign, text = str(value).partition("=")
        if not key or not sign:
            self.fail(f"'{value}' is not K=V.", param, ctx)
        return key, text


def imgsz(function: F) -> F:
    """``--imgsz``."""
    return click.option("--imgsz", type=SizeType(), help="Input size in pixels; the model's own when left out.")(
        function
    )


def feeding(function: F) -> F:
    """``--mean`` and ``--std``."""
    function = click.option("--std", type=TripleType(), help="What the difference is divided by.")(function)
    return click.option(
        "--mean", type=TripleType(), help="Subtracted from pixels in [0, 255]; for a model without spec."
    )(function)


def custom_objects(function: F) -> F:
    """``--custom-objects``."""
    return click.option(
        "--custom-objects", type=click.Path(), help="Python file with the layers of a model file; it is run."
    )(function)


def output(function: F) -> F:
    """``--output``."""
    return click.option("--output", help="Which output, of a model file with several; by name.")(function)


def read_custom_objects(path: str | None) -> dict[str, Any] | None:
    """What the file of ``--custom-objects`` has; ``None`` when none was given."""
    if path is None:
        return None
    from edgeseg.errors import missing_extra

    try:
        from edgeseg.models.keras_files.custom_objects import load_custom_objects
    except ModuleNotFoundError as error:
        raise missing_extra("--custom-objects", "train") from error
    return load_custom_objects(path)


def as_json(function: F) -> F:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")(function)


def overwrite(function: F) -> F:
    """``--overwrite``."""
    return click.option("--overwrite", is_flag=True, help="Replace files that exist.")(function)


def _with_options(function: F, collected: Callable[..., Any], options: Sequence[Callable[[Any], Any]]) -> F:
    """``collected`` in place of ``function``, behind options, which its help lists in their order."""
    wrapped: Any = functools.wraps(function)(collected)
    return cast("F", functools.reduce(lambda decorated, option: option(decorated), reversed(options), wrapped))


def num_threads(function: F) -> F:
    """``--num-threads``."""
    return click.option("--num-threads", type=click.IntRange(1), help="Threads; the cores, at most 4, when left out.")(
        function
    )


def runtime(function: F) -> F:
    """What a model runs on, as one argument ``runtime``, a ``RuntimeOptions``."""

    def collected(
        *args: Any,
        backend: BackendName | None,
        accelerator: Accelerator | None,
        delegate: str | None,
        delegate_option: tuple[tuple[str, str], ...],
        provider: tuple[str, ...],
        num_threads: int | None,
        **others: Any,
    ) -> Any:
        from edgeseg.runtime.options import RuntimeOptions

        asked = RuntimeOptions(
            backend=backend,
            num_threads=num_threads,
            accelerator=accelerator,
            delegate=delegate,
            delegate_options=dict(delegate_option),
            providers=provider,
        )
        return function(*args, runtime=asked, **others)

    options = [
        click.option("--backend", type=click.Choice(get_args(BackendName)), help="By the file's suffix when left out."),
        click.option("--accelerator", type=click.Choice(get_args(Accelerator)), help="For a .tflite; cpu if left out."),
        click.option("--delegate", metavar="FILE", help="Library of a TFLite delegate, such as libedgetpu.so.1."),
        click.option("--delegate-option", type=PairType(), multiple=True, help="What that library takes; repeatable."),
        click.option("--provider", multiple=True, metavar="NAME", help="For an .onnx, such as cuda; repeatable."),
        num_threads,
    ]
    return _with_options(function, collected, options)


def foreign(function: F) -> F:
    """How to feed a model without spec, as one argument ``feeding``, an ``edgeseg.opening.InputDescription``."""

    def collected(
        *args: Any,
        labels: str | None,
        mean: tuple[float, float, float] | None,
        std: tuple[float, float, float] | None,
        color_order: ColorOrder | None,
        fit: Fit | None,
        imgsz: tuple[int, int] | None,
        **others: Any,
    ) -> Any:
        from edgeseg.datasets.classes import read_labels
        from edgeseg.opening import InputDescription

        names = None if labels is None else read_labels(labels)
        return function(
            *args,
            feeding=InputDescription(
                class_names=names, mean=mean, std=std, color_order=color_order, fit=fit, input_size=imgsz
            ),
            **others,
        )

    options = [
        imgsz,
        click.option("--labels", type=click.Path(), help="Class names, one a line; for a model without spec."),
        feeding,
        click.option(
            "--color-order",
            type=click.Choice(get_args(ColorOrder)),
            help="Channel order of the input. Left out: rgb.",
        ),
        click.option(
            "--fit",
            type=click.Choice(get_args(Fit)),
            help="How images are fitted into the input. Left out: letterbox.",
        ),
    ]
    return _with_options(function, collected, options)


def dataset(
    *,
    required: bool = True,
    help: str = "Labeled data set with its splits.",  # noqa: A002
    argument: str | None = None,
) -> Callable[[F], F]:
    """``--data``, or an argument, and what to know about the data set, as one argument ``data``, a ``DataSource``.

    Args:
        required: whether it must be given; ``data`` is ``None`` where it is not.
        help: of ``--data``.
        argument: name of an argument of the command to take in place of ``--data``.
    """

    def decorate(function: F) -> F:
        def collected(
            *args: Any,
            data: str | None,
            classes: str | None,
            data_layout: DataLayout | None,
            label_encoding: LabelEncoding | None,
            ignore_index: int | None,
            color_map: str | None,
            **others: Any,
        ) -> Any:
            from edgeseg.datasets import DataSource

            said: dict[str, Any] = {
                "layout": data_layout,
                "classes": classes,
                "label_encoding": label_encoding,
                "ignore_index": ignore_index,
                "color_map": color_map,
            }
            if data is None and any(value is not None for value in said.values()):
                raise click.UsageError("--classes, --data-layout, --label-encoding and the like go with --data.")
            return function(*args, data=None if data is None else DataSource(root=data, **said), **others)

        where = (
            click.argument("data", metavar=argument, type=click.Path())
            if argument
            else click.option("--data", required=required, type=click.Path(), help=help)
        )
        options = [
            where,
            click.option("--classes", help="Names A,B,C, a file of names, or voc. Left out: classes.json of the data."),
            click.option(
                "--data-layout",
                type=click.Choice(get_args(DataLayout)),
                help="How the folder is laid out. Left out: detected.",
            ),
            click.option(
                "--label-encoding",
                type=click.Choice(get_args(LabelEncoding)),
                help="How labels encode classes. Left out: detected.",
            ),
            click.option(
                "--ignore-index",
                type=click.IntRange(0, 255),
                help="Label id of pixels that do not count; VOC's is 255.",
            ),
            click.option(
                "--color-map", type=click.Path(), help="Text file with the color of each class, for color labels."
            ),
        ]
        return _with_options(function, collected, options)

    return decorate


def data_arguments(data: DataSource) -> str:
    """What the options of ``dataset`` were, to be typed again: ``--data DIR --classes A,B``."""
    said = {
        "--data": data.root,
        "--data-layout": data.layout,
        "--classes": data.classes,
        "--label-encoding": data.label_encoding,
        "--ignore-index": data.ignore_index,
        "--color-map": data.color_map,
    }
    return " ".join(f"{option} {shlex.quote(str(value))}" for option, value in said.items() if value is not None)
