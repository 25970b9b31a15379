"""Find the file, runtime, accelerator and threads that are fastest on a device and pass the gate (``edgeseg tune``)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeseg._internal.text import counted
from edgeseg.benchmark.plan import Plan
from edgeseg.cli import _completion, _model, _options, _places, _quantization
from edgeseg.cli._fields import choices_of, collect, option
from edgeseg.cli._groups import GroupedCommand
from edgeseg.cli._model import ModelOptions
from edgeseg.cli._saving import RUNS
from edgeseg.cli._summaries import help_of
from edgeseg.cli._terminal import note, print_json, print_table, progress_of_steps, quiet_native_logs, say
from edgeseg.cli._words import in_flags
from edgeseg_converters.recipes import Recipe
from edgeseg_converters.tuning.options import TuneOptions

if TYPE_CHECKING:
    from edgeseg._internal.progress import StepProgress
    from edgeseg.datasets import DataSource
    from edgeseg_converters import TuneResult

# Rows of measured candidates on a terminal; the page has all.
_SHOWN = 10


class _Command(GroupedCommand):
    headings = {  # noqa: RUF012 - click's own attributes are so
        "Model": _model.OPTIONS,
        "Candidates": ("formats", "precisions", "accelerators", "num_threads"),
        "Data": (*_options.DATASET, "split"),
        "Gate": (*_quantization.GATE, "num_images"),
        "Quantization": _quantization.CALIBRATION,
        "Search": ("device", "budget", "rounds", "num_runs", "min_secs"),
        "Results": ("name", "output_dir", *_options.RESULTS),
    }


@dataclass(frozen=True, kw_only=True)
class _Results:
    """What the file is called, and where it and the result go."""

    name: str | None
    output_dir: Path | None
    overwrite: bool
    as_json: bool

    def folder(self, model: str) -> Path:
        """Return the folder: always the same for a model, as a tuning that was killed goes on there."""
        return self.output_dir or RUNS / "tune" / model


def _options_of(*, rounds: int, num_runs: int, min_secs: float, **settings: Any) -> TuneOptions:
    names = ("split", *_quantization.CALIBRATION, *_quantization.GATE)
    quantization = _quantization.made(**{name: settings.pop(name) for name in names})
    plan = Plan(rounds=rounds, num_runs=num_runs, min_secs=min_secs, verify=False)
    return TuneOptions(quantization=quantization, plan=plan, **settings)


@click.command(
    "tune",
    cls=_Command,
    help=help_of(
        "tune",
        "MODEL is a zoo name, or a .keras or .h5 file; the packaged model when omitted. Every format and precision is "
        "made once; what passes the gate is measured in turns with every runtime, accelerator and number of threads of "
        "the device, and the slower half goes where that is clear. The same command continues one that was killed.",
    ),
)
@click.argument("model", required=False, shell_complete=_completion.models)
@_model.options
@_options.dataset(required=True, help="Images to score, verify and calibrate with: a labeled data set or a folder.")
@collect(
    "options",
    _options_of,
    click.option(
        "--format",
        "formats",
        type=_options.NamesType(choices_of(Recipe, "format")),
        help="Formats to try, with commas between.",
        show_default="all",
    ),
    click.option(
        "--precision",
        "precisions",
        type=_options.NamesType(choices_of(Recipe, "precision")),
        help="Precisions to try, with commas between.",
        show_default="all",
    ),
    click.option(
        "--accelerator",
        "accelerators",
        type=_options.NamesType(),  # the providers' names come with numpy
        help="Accelerators (cpu, gpu, npu) and ONNX Runtime's providers (cuda, ...) to try, with commas between.",
        show_default="all that work on the device",
    ),
    click.option(
        "--num-threads",
        type=_places.CountsType(),
        help="Threads to try, with commas between.",
        show_default="1, 2, 4, ... up to the device's cores",
    ),
    _quantization.split,
    *_quantization.gate,
    option(TuneOptions, "num_images", type=click.IntRange(1), help="Images to verify with."),
    *_quantization.calibration,
    option(
        TuneOptions,
        "budget",
        type=click.FloatRange(0, min_open=True),
        help="Minutes after which no step is begun; half of them at most are spent on making files.",
    ),
    option(Plan, "rounds", type=click.IntRange(1), help="Processes of each finalist."),
    option(Plan, "num_runs", type=click.IntRange(1), help="Timed calls of a finalist, at least."),
    option(Plan, "min_secs", type=click.FloatRange(0), help="Seconds to measure a finalist, at least."),
)
@click.option("--device", default="local", show_default=True, help="local or ssh:HOST.")
@collect(
    "results",
    _Results,
    _model.name,
    click.option(
        "--output-dir",
        type=_options.FOLDER,
        help="Folder for the chosen file, its proof, tune.json and tune.html.",
        show_default="runs/tune/NAME",
    ),
    _options.overwrite,
    _options.as_json,
)
def command(
    model: str | None,
    request: ModelOptions,
    data: DataSource,
    options: TuneOptions,
    device: str,
    results: _Results,
) -> int:
    """Run ``edgeseg tune``."""
    from edgeseg.models.opening import precheck

    quiet_native_logs()
    precheck(model, request.imgsz, request.model_options)
    with progress_of_steps("loading TensorFlow") as update:
        result = _tune(model, request, data, options, device, results, update)
    if results.as_json:
        print_json({"format_version": 1, **result.to_dict()})
    else:
        _print(result)
    if result.failure:
        note(f"edgeseg: {in_flags(result.failure)}.")
        return 1
    return 0


def _tune(
    model: str | None,
    request: ModelOptions,
    data: DataSource,
    options: TuneOptions,
    device: str,
    results: _Results,
    progress: StepProgress,
) -> TuneResult:
    from edgeseg.benchmark.devices import open_device
    from edgeseg.datasets import is_labeled, open_classes
    from edgeseg.errors import missing_extra

    try:
        from edgeseg_converters import tune
    except ModuleNotFoundError as error:
        raise missing_extra("edgeseg tune", "convert") from error
    open_device(device)  # a wrong name is refused before a model is opened
    quantization = dataclasses.replace(options.quantization, learned=_model.learned_ranges(model))
    options = dataclasses.replace(options, quantization=quantization)
    classes = open_classes(data) if is_labeled(data) else None
    progress("opening the model", 0, 0)
    opened = request.open(model, classes)
    spec = opened.spec.replace(name=results.name or request.name_of(opened.spec))
    return tune(
        opened.model,
        results.folder(spec.name),
        data=data,
        spec=spec,
        device=device,
        options=options,
        overwrite=results.overwrite,
        progress=progress,
    )


def _print(result: TuneResult) -> None:
    """Print the best candidates, what failed, what is chosen, and how to run it."""
    from edgeseg_converters.tuning.result import COLUMNS

    rows = result.rows()
    num_measured = sum(one.result is not None for one in result.record.measured)
    shown = [*rows[: min(num_measured, _SHOWN)], *rows[len(result.record.measured) :]]
    if shown:
        print_table(COLUMNS, shown)
    if num_measured > _SHOWN:
        say(f"{counted(num_measured - _SHOWN, 'slower candidate')}: see tune.html.")
    if absent := result.absent_rows():
        note(f"Not on {result.record.device}: {', '.join(place for place, _ in absent)}; tune.html says why.")
    for remark in result.remarks:
        note(f"edgeseg: {in_flags(remark)}.")
    if result.reused:
        note("edgeseg: this is the result of an earlier run with the same arguments; --overwrite measures again.")
    if result.path is not None:
        say(f"Chosen: {result.sentence}")
        say(f"Files: {result.path}, tune.json and tune.html beside it")
        say(f"Next: {result.command}")
