"""Measure how fast artifacts are on devices and accelerators, and how sure that is (``edgeseg benchmark``)."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from edgeseg._internal.text import counted
from edgeseg.benchmark.plan import Plan
from edgeseg.choices import Scope
from edgeseg.cli import _artifacts, _completion, _options, _places
from edgeseg.cli._fields import collect, option
from edgeseg.cli._groups import GroupedCommand
from edgeseg.cli._saving import free_place
from edgeseg.cli._summaries import help_of
from edgeseg.cli._terminal import note, print_json, print_table, progress, quiet_native_logs
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeseg.benchmark.measure import Case, Device
    from edgeseg.cli._options import Results
    from edgeseg.cli._places import Devices, Sweep
    from edgeseg.opening import InputDescription


class _Command(GroupedCommand):
    headings = {  # noqa: RUF012 - click's own attributes are so
        "Runtime": _places.SWEEP,
        "Timing": (
            "num_runs", "warmup_runs", "min_secs", "max_secs", "rounds", "scope", "image", "sustained",
        ),
        "Model without spec, end to end": _options.FEEDING_DESCRIPTION,
        "Devices": _places.DEVICES,
        "Results": ("output", "profile", "verify", *_options.RESULTS),
    }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Timing:
    """How long and how often each case is timed."""

    num_runs: int
    warmup_runs: int
    min_secs: float
    max_secs: float
    rounds: int
    scope: Scope
    image: Path | None
    sustained: float | None
    verify: bool

    def plan(self, *, profile: bool) -> Plan:
        """Return the plan; refuse options that do not go together."""
        source = click.get_current_context().get_parameter_source
        minutes = self.sustained
        times = ("num_runs", "warmup_runs", "min_secs", "max_secs", "rounds")
        without_use = [
            f"--{name.replace('_', '-')}"
            for name in times
            if source(name) is not ParameterSource.DEFAULT and (minutes is not None or name != "num_runs")
        ]
        if without_use and (profile or minutes is not None):
            what = "--profile counts its calls alone" if profile else "--sustained runs one process for its minutes"
            raise InputError(f"{what}: omit {' and '.join(without_use)}.")
        if self.image is not None and self.scope != "end-to-end":
            raise InputError("--image goes with --scope end-to-end.")
        if minutes is not None:
            sustained = Plan.sustained(minutes, scope=self.scope, image=self.image)
            return dataclasses.replace(sustained, verify=self.verify)
        if self.max_secs < self.min_secs:
            raise InputError(f"--max-secs {self.max_secs:g} is less than --min-secs {self.min_secs:g}.")
        return Plan(
            scope=self.scope, image=self.image, verify=self.verify, **{name: getattr(self, name) for name in times}
        )


@click.command(
    "benchmark",
    cls=_Command,
    help=help_of(
        "benchmark",
        f"{_artifacts.HELP} Medians and percentiles are of raw samples, taken in several processes that take turns.",
    ),
)
@click.argument("artifacts", nargs=-1, metavar="[ARTIFACT]...", shell_complete=_completion.artifacts)
@_places.sweep
@collect(
    "timing",
    _Timing,
    option(Plan, "num_runs", type=click.IntRange(1), help="Timed calls, at least."),
    option(Plan, "warmup_runs", type=click.IntRange(1), help="Untimed calls of each process, at least."),
    option(Plan, "min_secs", type=click.FloatRange(0), help="Seconds to measure, at least."),
    option(Plan, "max_secs", type=click.FloatRange(0), help="Seconds to measure, at most."),
    option(Plan, "rounds", type=click.IntRange(1), help="Processes that share the runs."),
    option(Plan, "scope", help="The runtime's call alone, or from an image to its class map."),
    option(Plan, "image", type=_options.FILE, help="Image for --scope end-to-end."),
    click.option(
        "--sustained", type=click.FloatRange(0, min_open=True), help="Minutes to run without a pause, to report drift."
    ),
    option(Plan, "verify", help="Ask each case the proof beside its artifact; exit 1 where an answer is wrong."),
)
@_places.devices
@_options.feeding_description
@click.option(
    "--output",
    type=_options.FILE,
    metavar="FILE",
    help="JSON file for the raw results; compare reads it.",
    show_default="runs/benchmark.json, runs/benchmark2.json, ...; none with --json",
)
@click.option(
    "--profile",
    type=_options.FOLDER,
    metavar="DIR",
    help="Time by op instead of latency: a table, and JSON into DIR, of a .tflite also for Model Explorer.",
)
@_options.results
def command(
    artifacts: tuple[str, ...],
    sweep: Sweep,
    timing: _Timing,
    devices: Devices,
    description: InputDescription,
    output: Path | None,
    profile: Path | None,
    results: Results,
) -> int:
    """Run ``edgeseg benchmark``."""
    quiet_native_logs()
    from edgeseg._internal.files import refuse_existing, require_writable_folder, write_text
    from edgeseg.benchmark import result, tables
    from edgeseg.benchmark.fleet import measure_fleet
    from edgeseg.benchmark.measure import measure
    from edgeseg.models.packaged_files import find_file

    if output is not None:
        refuse_existing(output, overwrite=results.overwrite)
    plan = dataclasses.replace(timing.plan(profile=profile is not None), description=description)
    if description.given and plan.scope != "end-to-end":
        given = " and ".join(f"`{name}`" for name in description.given)
        raise InputError(f"{given}: only with --scope end-to-end, which prepares an image.")
    cases = sweep.cases([find_file(artifact) for artifact in artifacts or [_artifacts.artifact_or_default(None)]])
    if profile is not None:
        if output is not None or devices.devices is not None or plan.drift or plan.scope != "inference":
            raise InputError(
                "--profile is of single calls and writes into its DIR: "
                "omit --output, --devices, --sustained and --scope."
            )
        _profile(cases, profile, plan.num_runs, results, devices.open())
        return 0
    if output is None and not results.as_json:
        output = free_place("benchmark", ".json")  # minutes of measuring are in it, and the table has their medians
    if output is not None:
        require_writable_folder(output.parent)
    opened = devices.open()
    measured: Sequence[result.LatencyResult]
    lost: Sequence[result.Lost] = ()
    with progress(f"measuring on {', '.join(device.name for device in opened)}") as update:
        if len(opened) == 1:
            measured = measure(cases, opened[0], plan, progress=update)
        else:
            fleet = measure_fleet(cases, opened, plan, progress=update)
            measured, lost = fleet.results, fleet.lost
    if output is not None and measured:
        write_text(output, result.to_json(measured, lost), overwrite=results.overwrite)
    if results.as_json:
        print_json(result.to_dict(measured, lost))
    elif measured:
        print_table(tables.COLUMNS, tables.rows(measured) + tables.lost_rows(lost), alarming=tables.WRONG)
    for line in tables.warning_lines(measured):
        note(line)
    wrong = tables.wrong_lines(measured)
    for line in wrong:
        note(f"edgeseg: {line}")
    if output is not None and measured:
        note(f"saved: {output}")
    if lost:
        raise InputError(" ".join(f"{each.device}: {each.why}" for each in lost))
    return 1 if wrong else 0


def _profile(cases: list[Case], folder: Path, num_runs: int, results: Results, devices: list[Device]) -> None:
    """Profile each case by op, and measure no latency: recording slows the runs."""
    import json

    from edgeseg._internal.files import refuse_existing, write_text
    from edgeseg.benchmark.devices.adb import AdbDevice
    from edgeseg.benchmark.devices.local import LocalDevice
    from edgeseg.benchmark.profile import COLUMNS, node_data, profile, profile_on

    (device, *others) = devices
    if others or not isinstance(device, LocalDevice | AdbDevice):
        raise InputError("--profile is of one device: this machine, or --device adb.")
    places = [
        folder / f"{case.artifact.name}.{case.accelerator}.{case.options['num_threads'] or 'default'}" for case in cases
    ]
    paths = [(Path(f"{place}.profile.json"), Path(f"{place}.node-data.json")) for place in places]
    for path in itertools.chain(*paths):
        refuse_existing(path, overwrite=results.overwrite)
    profiles = []
    with device, progress("profiling") as update:
        for number, case in enumerate(cases):
            update(number, len(cases))
            if isinstance(device, AdbDevice):
                profiles.append(profile_on(device, case.artifact, case.options, num_runs))
            else:
                profiles.append(profile(case.artifact, case.options, num_runs))
    overlays = []
    for (path, overlay), entry in zip(paths, profiles, strict=True):
        write_text(path, json.dumps(entry.to_dict(), indent=1) + "\n", overwrite=results.overwrite)
        values = node_data(entry)
        if values is not None:
            write_text(overlay, json.dumps(values, indent=1) + "\n", overwrite=results.overwrite)
            overlays.append(overlay)
    if results.as_json:
        print_json({"format_version": 1, "profiles": [entry.to_dict() for entry in profiles]})
        return
    for entry in profiles:
        top = ", ".join(f"{op} x{count} {share:.0%}" for op, count, _, share in entry.by_op()[:5])
        threads = counted(entry.num_threads, "thread") if entry.num_threads else "default threads"
        title = f"{entry.artifact} on {entry.runtime}, {threads}: {top}"
        print_table(COLUMNS, entry.rows(), title=title)
        if not entry.run_ms:
            continue
        note(f"{entry.artifact}: its ops take {entry.share_of_run:.1%} of a run of {entry.run_ms:.2f} ms")
    for overlay in overlays:
        note(f"for Model Explorer: {overlay}")
