"""List the zoo, describe an architecture, advise on one, or fetch a model file (``edgeseg models``)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, get_args

import click

from edgeseg._internal.text import counted
from edgeseg.choices import TableStyle
from edgeseg.cli import _completion, _options
from edgeseg.cli._fields import collect
from edgeseg.cli._groups import GroupedCommand
from edgeseg.cli._summaries import help_of
from edgeseg.cli._terminal import note, print_json, print_markdown, print_table, progress, quiet_native_logs, say

if TYPE_CHECKING:
    from edgeseg.datasets import DataSource
    from edgeseg.models.zoo.entry import ZooModel
    from edgeseg.spec import ModelSpec
    from edgeseg.training.advice import Advice

_EFFECTS = {
    "tensors": "the weights, which show it",
    "result": "the result; weights alone do not say it",
    "training": "training",
    "form": "the form, not the numbers",
}

_FETCH_HELP = "Write a packaged file, or one of another project: selfie is MediaPipe's."


@dataclass(frozen=True, kw_only=True)
class _Fetching:
    """What to bring, and where to write it."""

    fetch: str | None
    output_dir: Path | None
    overwrite: bool

    def __post_init__(self) -> None:
        if self.fetch is None and (self.output_dir is not None or self.overwrite):
            raise click.UsageError("--output-dir and --overwrite go with --fetch.")


class _Command(GroupedCommand):
    headings = {  # noqa: RUF012 - click's own attributes are so
        "List": ("style", "model_options", "as_json"),
        "Advice": ("advise", "latency", *_options.DATASET),
        "Files": ("fetch", "output_dir", "overwrite"),
    }


@click.command(
    "models",
    cls=_Command,
    help=help_of(
        "models",
        "With NAME, the options of that architecture; with --model-option too, the parameters that it then has. "
        "Parameters are for 21 classes, GFLOPs are at the default size. --advise says what to train on a data set, and "
        "why; with --latency it measures on this machine. --fetch writes a model file of another project, checked by "
        "its hash and with a ModelSpec inside.",
    ),
)
@click.argument("name", required=False, shell_complete=_completion.architectures)
@click.option(
    "--format",
    "style",
    type=click.Choice(get_args(TableStyle)),
    default="table",
    show_default=True,
    help="A table for people, or Markdown.",
)
@_options.model_option
@click.option("--advise", is_flag=True, help="Choose a model for --data, its size and options; print what to type.")
@_options.dataset(required=False, help="Labeled data set to advise on.")
@click.option(
    "--latency",
    type=click.FloatRange(0, min_open=True),
    metavar="MS",
    help="Milliseconds that an image may take on this machine; the advised size is measured as fp16 .tflite.",
)
@collect(
    "fetching",
    _Fetching,
    click.option("--fetch", metavar="NAME", shell_complete=_completion.fetched, help=_FETCH_HELP),
    click.option(
        "--output-dir", type=_options.FOLDER, metavar="DIR", help="Folder of the file.", show_default="the current one"
    ),
    click.option("--overwrite", is_flag=True, help="Replace an existing file."),
)
@_options.as_json
def command(
    name: str | None,
    style: TableStyle,
    model_options: dict[str, str],
    advise: bool,
    data: DataSource | None,
    latency: float | None,
    fetching: _Fetching,
    as_json: bool,
) -> None:
    """Run ``edgeseg models``."""
    for flag, given in (("--advise", advise), ("--fetch", fetching.fetch is not None)):
        if given and (name or model_options):
            raise click.UsageError(f"{flag} says itself which model; omit NAME and --model-option.")
    if fetching.fetch is not None:
        if advise or data is not None or latency is not None:
            raise click.UsageError("--fetch brings a file, and does nothing else; omit --advise, --data and --latency.")
        _fetch(fetching, as_json=as_json)
        return
    if advise:
        if data is None:
            raise click.UsageError("--advise goes with --data DIR, the data set to advise on.")
        _advise(data, latency, as_json=as_json)
        return
    if data is not None or latency is not None:
        raise click.UsageError("--data and --latency go with --advise.")
    from edgeseg.models.opening import packaged_spec
    from edgeseg.models.zoo.table import ZOO, find

    if model_options and not name:
        raise click.UsageError("--model-option goes with NAME, the architecture that has the option.")
    models = {model.name: model for model in ([find(name)] if name else ZOO.values())}
    packaged = {each: packaged_spec(each) for each in models}
    parameters = _parameters(models[name], model_options) if name and model_options else None
    if as_json:
        described = [_as_json(model, packaged[each]) for each, model in models.items()]
        if parameters is not None:
            described[0] |= {"parameters": parameters, "gflops": None}
        print_json({"format_version": 1, "models": described, "fetched": [] if name else _fetchable()})
        return
    print_rows = print_markdown if style == "md" else print_table
    columns = ["Model", ">Parameters", ">GFLOPs", ">Default H,W", ">Stride", "Packaged", "Weights that fit"]
    rows = [
        [
            each,
            f"{(parameters or model.parameters) / 1e6:.2f} M",
            f"{model.gflops:g}" if parameters is None else "-",
            f"{model.default_size[0]},{model.default_size[1]}",
            str(model.stride),
            "-" if (spec := packaged[each]) is None else counted(spec.num_classes, "class") + _files(each),
            model.weights_from,
        ]
        for each, model in models.items()
    ]
    print_rows(columns, rows)
    if name:
        _describe(models[name], style)
        return
    from edgeseg.datasets.statistics import as_text

    say("")
    print_rows(
        ["Fetched by --fetch", "Input HxW", "License", "Sees"],
        [[each["name"], as_text(each["input_size"]), each["license"], each["sees"]] for each in _fetchable()],
    )


def _fetchable() -> list[dict[str, Any]]:
    """Return what ``--fetch`` can bring."""
    from edgeseg.downloads.models import PUBLISHED

    return [
        {
            "name": name,
            "input_size": model.size,
            "license": model.license,
            "sees": model.sees,
            "from": model.origin,
        }
        for name, model in PUBLISHED.items()
    ]


def _fetch(fetching: _Fetching, *, as_json: bool) -> None:
    """Write a packaged file, or the file of another project's model, and print what to type next."""
    from edgeseg._internal.files import refuse_existing, write_bytes
    from edgeseg.downloads.models import fetch, find
    from edgeseg.models.packaged_files import PACKAGED, find_file

    name = str(fetching.fetch)
    packaged = PACKAGED.get(name.partition(".")[0])
    model = packaged or find(name)
    source = find_file(name) if packaged else Path(f"{name}.{find(name).precision}.tflite")
    path = (fetching.output_dir or Path()) / source.name
    refuse_existing(path, overwrite=fetching.overwrite)
    with progress(f"fetching {name}"):
        data = source.read_bytes() if packaged else fetch(name)
    write_bytes(path, data, overwrite=fetching.overwrite)
    if as_json:
        print_json({"format_version": 1, "file": str(path), "license": model.license, "sees": model.sees})
        return
    note(f"{path}: {model.sees}; {model.license}")
    say(f"edgeseg camera {shlex.quote(str(path))}")


def _advise(data: DataSource, latency: float | None, *, as_json: bool) -> None:
    """Print what to train on a data set, and why."""
    from edgeseg.cli.data import beside
    from edgeseg.datasets.check import check
    from edgeseg.datasets.statistics import as_text
    from edgeseg.training.advice import advise

    with progress(f"checking {data.name}") as update:
        found = check(data, progress=update)
    names = found.classes.names

    def measure(model: ZooModel, size: tuple[int, int]) -> float:
        note(f"edgeseg: measuring {model.name} at {as_text(size)} ...")
        return _latency_ms(model, model.spec(size, names))

    advice = advise(found, latency_ms=latency, measure=measure)
    split = shlex.quote(str(beside(data.root, "split")))
    commands = [advice.command(f"--data {split}" if advice.needs_split else f"--data {data.typed}")]
    if advice.needs_split:
        commands.insert(0, f"edgeseg data split {data.typed} --output-dir {split}")
    if as_json:
        print_json({"format_version": 1, **advice.to_dict(), "commands": commands})
        return
    images, classes = counted(sum(found.num_pairs.values()), "image"), counted(len(names), "class")
    say(f"{data.name}: {images}, {classes}; {found.sizes.line()}")
    print_table(["Advice", "Because"], [[_typed(name, advice), reason] for name, reason in advice.reasons.items()])
    for line in commands:
        say(line)


def _typed(name: str, advice: Advice) -> str:
    return f"{name} {advice.options[name]}" if name in advice.options else getattr(advice, name)


def _latency_ms(model: ZooModel, spec: ModelSpec) -> float:
    """Measure an architecture as an fp16 ``.tflite`` on this machine's CPU; its weights are random."""
    from edgeseg.benchmark.devices import open_device
    from edgeseg.benchmark.measure import Case, measure
    from edgeseg.benchmark.plan import Plan
    from edgeseg.errors import missing_extra
    from edgeseg.models import create

    quiet_native_logs()
    try:
        from edgeseg_converters.exporter import export
    except ModuleNotFoundError as error:
        raise missing_extra("--latency", "convert") from error
    built = create(model.name, num_classes=spec.num_classes, input_size=spec.input_size)
    exported = export(built, precision="fp16", spec=spec, verify=False)
    with TemporaryDirectory() as folder:
        file = exported.save(folder)
        (result,) = measure([Case(file, "cpu", {"accelerator": "cpu"})], open_device("local"), Plan(rounds=4))
    for warning in result.warnings:
        note(f"edgeseg: {warning}")
    return 1000 * result.median_s


def _parameters(model: ZooModel, model_options: Mapping[str, str]) -> int:
    """Return the parameters of an architecture with options, which it is built to count."""
    quiet_native_logs()
    with progress(f"building {model.name}"):
        from edgeseg.models import create

        return int(create(model.name, num_classes=21, **model.read_options(model_options)).count_params())


def _describe(model: ZooModel, style: TableStyle) -> None:
    """Print what weights fit an architecture, how they were fed, its options, and what published models they give."""
    from edgeseg.models.encoders.published import PUBLISHED
    from edgeseg.models.zoo.options import as_typed

    say("")
    say(f"{model.description}.")
    for key in model.encoders:
        encoder = PUBLISHED[key]
        downloaded = " or imagenet" if encoder.application or encoder.package else ""
        say(f"Encoder: {encoder.title}; --encoder-weights FILE{downloaded}. FILE: {encoder.file}.")
    if model.published_feeding:
        typed = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in model.published_feeding.items())
        say(f"Its published weights were trained on images by {typed}: give that to export and evaluate.")
    if not model.options:
        say("It has no options.")
        return
    say("Options, as --model-option NAME=VALUE:")
    say("")
    rows = [
        [option.name, option.accepted, as_typed(option.default), option.meaning, _EFFECTS[option.effect]]
        for option in model.options
    ]
    (print_markdown if style == "md" else print_table)(["Option", "Accepted", "Default", "Meaning", "Changes"], rows)
    for variant in model.variants:
        typed = " ".join(f"--model-option {name}={as_typed(value)}" for name, value in variant.options.items())
        say("")
        say(f"{variant.of}: {typed}")


def _as_json(model: ZooModel, packaged: ModelSpec | None) -> dict[str, Any]:
    import dataclasses

    from edgeseg.models.packaged_files import packaged_names, packaged_of

    fields = dataclasses.asdict(model)
    names = packaged_of(model.name)
    return {
        **fields,
        "packaged_classes": None if packaged is None else list(packaged.class_names),
        "packaged_files": [file for file in packaged_names() if file.partition(".")[0] in names],
    }


def _files(architecture: str) -> str:
    """Return the precisions of an architecture's packaged files, as they follow the number of classes."""
    from edgeseg.models.packaged_files import packaged_of

    parts = []
    for name, model in packaged_of(architecture).items():
        of = "" if name == architecture else f" of {name}"
        parts.append(f"; {', '.join(model.precisions)} files{of}")
    return "".join(parts)
