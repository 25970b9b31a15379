"""``edgeseg benchmark``: how fast artifacts are on devices and accelerators, and how sure that is."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from edgeseg.choices import Accelerator, BackendName
from edgeseg.cli import _options
from edgeseg.cli._terminal import note, print_json, print_table, progress, quiet_native_logs

if TYPE_CHECKING:
    from edgeseg.benchmark.measure import Case, Plan


class _CountsType(click.ParamType[tuple[int, ...]]):
    """``1,2,4``: numbers above 0."""

    name = "N,N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if not all(part.isdigit() and int(part) for part in parts):
            self.fail(f"'{value}' is no list of numbers above 0; accepted: 2 or 1,2,4.", param, ctx)
        return tuple(map(int, parts))


@click.command("benchmark")
@click.argument("artifacts", nargs=-1, required=True, metavar="ARTIFACT...", type=click.Path(path_type=Path))
@click.option("--accelerator", type=_options.NamesType(get_args(Accelerator)), default=("cpu",), help="Of a .tflite.")
@click.option("--backend", type=click.Choice(get_args(BackendName)), help="By the file's suffix when left out.")
@click.option("--delegate", metavar="FILE", help="Library of a TFLite delegate, such as libedgetpu.so.1.")
@click.option("--delegate-option", type=_options.PairType(), multiple=True, help="What that library takes; repeatable.")
@click.option("--provider", multiple=True, metavar="NAME", help="For an .onnx, such as cuda; repeatable.")
@click.option("--num-threads", type=_CountsType(), help="Threads, with commas between for a sweep.")
@click.option("--num-runs", type=click.IntRange(1), help="Timed calls at least; 50 when left out.")
@click.option("--warmup-runs", type=click.IntRange(1), help="Untimed calls at least; 5 when left out.")
@click.option("--min-secs", type=click.FloatRange(0), help="Time measured at least; 2 when left out.")
@click.option("--max-secs", type=click.FloatRange(0), help="Time measured at most; 150 when left out.")
@click.option("--rounds", type=click.IntRange(1), help="Processes that share the runs; 12 when left out.")
@click.option("--scope", type=click.Choice(("inference", "end-to-end")), default="inference", show_default=True)
@click.option("--image", type=click.Path(dir_okay=False, path_type=Path), help="Image for --scope end-to-end.")
@click.option("--sustained", type=click.FloatRange(0, min_open=True), help="Minutes to run on end, reporting drift.")
@click.option("--device", "devices", multiple=True, help="local, ssh:HOST, adb, adb:SERIAL; may be given again.")
@click.option("--devices", "table", type=click.Path(dir_okay=False, path_type=Path), help="devices.toml, all of it.")
@click.option("--benchmark-model", metavar="FILE", help="Tool for --device adb, here or there.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="JSON file of the raw results.")
@click.option(
    "--profile",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Time by op in place of latency, for an .onnx: a table, and JSON into DIR.",
)
@_options.overwrite
@_options.as_json
def command(
    artifacts: tuple[Path, ...],
    accelerator: tuple[str, ...],
    num_threads: tuple[int, ...] | None,
    devices: tuple[str, ...],
    table: Path | None,
    benchmark_model: str | None,
    output: Path | None,
    profile: Path | None,
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Time ARTIFACTs: medians and percentiles of raw samples, in several processes that take turns."""
    quiet_native_logs()
    from edgeseg._internal.files import refuse_existing, write_bytes
    from edgeseg.benchmark import devices as known
    from edgeseg.benchmark import result, tables
    from edgeseg.benchmark.measure import measure
    from edgeseg.errors import BackendUnavailable, DeviceLost, InputError

    if output is not None:
        refuse_existing(output, overwrite=overwrite)
    plan = _plan(options, profile=profile is not None)
    cases = _cases(artifacts, accelerator, num_threads, options)
    if profile is not None:
        if output is not None or devices or table is not None or plan.drift or plan.scope != "inference":
            raise InputError(
                "--profile is of single calls on this machine and writes into its DIR: "
                "leave --output, --device, --devices, --sustained and --scope out."
            )
        _profile(cases, profile, plan.num_runs, overwrite=overwrite, as_json=as_json)
        return
    if benchmark_model is not None and not any(device.startswith("adb") for device in devices):
        raise InputError("--benchmark-model goes with --device adb.")
    tool = {} if benchmark_model is None else {"benchmark_model": benchmark_model}
    opened = [known.open_device(device, **(tool if device.startswith("adb") else {})) for device in devices]
    opened += known.read_table(table) if table is not None else []
    results: list[result.LatencyResult] = []
    lost: list[str] = []
    for device in opened or [known.open_device("local")]:
        try:
            with progress(f"measuring on {device.name}") as update:
                results += measure(cases, device, plan, progress=update)
        except (DeviceLost, BackendUnavailable) as error:
            if len(opened) < 2:
                raise
            lost.append(f"{device.name}: {error}")  # the other devices' results are not thrown away for it
    if output is not None and results:
        write_bytes(output, result.to_json(results).encode(), overwrite=overwrite)
    if as_json:
        print_json({"format_version": result.FORMAT_VERSION, "results": [entry.to_dict() for entry in results]})
    elif results:
        print_table(tables.COLUMNS, tables.rows(results))
    for entry in results:
        for warning in entry.warnings:
            note(f"{entry.artifact} on {entry.accelerator}, {tables.threads_text(entry)} threads: {warning}")
    if lost:
        raise InputError(" ".join(lost))


def _profile(cases: list[Case], folder: Path, num_runs: int, *, overwrite: bool, as_json: bool) -> None:
    """A profile by op of each case, and no latency: recording slows the runs."""
    import json

    from edgeseg._internal.files import refuse_existing, write_bytes
    from edgeseg.benchmark.profile import COLUMNS, profile

    paths = [
        folder / f"{case.artifact.name}.{case.accelerator}.{case.options['num_threads'] or 'default'}.profile.json"
        for case in cases
    ]
    for path in paths:
        refuse_existing(path, overwrite=overwrite)
    found = [profile(case.artifact, case.options, num_runs) for case in cases]
    for path, made in zip(paths, found, strict=True):
        write_bytes(path, (json.dumps(made.to_dict(), indent=1) + "\n").encode(), overwrite=overwrite)
    if as_json:
        print_json({"format_version": 1, "profiles": [made.to_dict() for made in found]})
        return
    for made in found:
        top = ", ".join(f"{op} x{count} {share:.0%}" for op, count, _, share in made.by_op()[:5])
        title = f"{made.artifact} on {made.runtime}, {made.num_threads or 'default'} threads: {top}"
        print_table(COLUMNS, made.rows(), title=title)


def _plan(options: dict[str, Any], *, profile: bool) -> Plan:
    from edgeseg.benchmark.measure import Plan
    from edgeseg.errors import InputError

    image, scope, minutes = options.pop("image"), options.pop("scope"), options.pop("sustained")
    asked = {name: options.pop(name) for name in ("num_runs", "warmup_runs", "min_secs", "max_secs", "rounds")}
    times = {name: value for name, value in asked.items() if value is not None}
    without_use = [f"--{name.replace('_', '-')}" for name in times if minutes is not None or name != "num_runs"]
    if without_use and (profile or minutes is not None):
        what = "--profile counts its calls alone" if profile else "--sustained runs one process for its minutes"
        raise InputError(f"{what}: leave {' and '.join(without_use)} out.")
    if image is not None and scope != "end-to-end":
        raise InputError("--image goes with --scope end-to-end.")
    if minutes is not None:
        return Plan.sustained(minutes, scope=scope, image=image)
    plan = Plan(scope=scope, image=image, **times)
    if plan.max_secs < plan.min_secs:
        raise InputError(f"--max-secs {plan.max_secs:g} is less than --min-secs {plan.min_secs:g}.")
    return plan


def _cases(
    artifacts: tuple[Path, ...],
    accelerators: tuple[str, ...],
    num_threads: tuple[int, ...] | None,
    options: dict[str, Any],
) -> list[Case]:
    """Every artifact on every accelerator with every number of threads."""
    from edgeseg.benchmark.measure import Case

    chosen = {
        "backend": options["backend"],
        "delegate": options["delegate"],
        "delegate_options": dict(options["delegate_option"]),
        "providers": tuple(options["provider"]),
    }
    asked = {name: value for name, value in chosen.items() if value}
    cases = []
    for artifact, accelerator, threads in itertools.product(artifacts, accelerators, num_threads or (None,)):
        label = accelerator
        place: dict[str, Any] = {"accelerator": accelerator}
        if "providers" in asked or "delegate" in asked:
            label, place = "+".join(chosen["providers"]) or Path(chosen["delegate"]).name, {}
        cases.append(Case(artifact, label, {**asked, **place, "num_threads": threads}))
    return cases
