"""Verify artifacts on the device that runs them, with the proof that travels beside them (``edgeseg verify``)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeseg._internal.text import counted, percent
from edgeseg.cli import _artifacts, _completion, _options, _places
from edgeseg.cli._groups import GroupedCommand
from edgeseg.cli._summaries import help_of
from edgeseg.cli._terminal import note, print_json, print_table, progress_of_steps, quiet_native_logs, say, tell
from edgeseg.errors import BackendUnavailable, DeviceLost, EdgesegError, InputError
from edgeseg.proof.order import DEFAULT_REPEAT, MAX_REPEATS

if TYPE_CHECKING:
    from edgeseg._internal.progress import StepProgress
    from edgeseg.benchmark.measure import Case, Device
    from edgeseg.cli._options import Results
    from edgeseg.cli._places import Devices, Sweep
    from edgeseg.proof import Verdict, WrongOp

_DETAILS = """\
ARTIFACT is a file with the MODEL.proof.zip that edgeseg export wrote beside it, or a packaged file by its name; the
packaged street model when omitted. Each image of the proof is run several times in a changing order, and compared with
what Keras says of it.

A pixel is decided where the best class leads by more than the precision rounds by; the gate, that of the export, is
asked of these, in the worst run. Exit 1 where it is missed.
"""

COLUMNS = ("Artifact", "Device", "Runs on", ">First", ">Worst", ">Last", ">Of all pixels", ">Gate", "Verdict")

_FAILED = "FAILED"

# Classes and images of a failure that are listed.
_LISTED = 8


class _Command(GroupedCommand):
    headings = {  # noqa: RUF012 - click's own attributes are so
        "Proof": ("proof", "repeat", "find_op"),
        "Runtime": _places.SWEEP,
        "Devices": _places.DEVICES,
        "Results": ("save", *_options.RESULTS),
    }


@click.command("verify", cls=_Command, help=help_of("verify", _DETAILS))
@click.argument("artifacts", nargs=-1, metavar="[ARTIFACT...]", shell_complete=_completion.artifacts)
@click.option("--proof", type=_options.FILE, metavar="FILE", help="The proof.", show_default="the one beside ARTIFACT")
@click.option(
    "--repeat",
    type=click.IntRange(1, MAX_REPEATS),
    default=DEFAULT_REPEAT,
    show_default=True,
    help="How often each image is run: some accelerators are right only at first.",
)
@click.option("--find-op", is_flag=True, help="Where the gate is missed, search the first op that is wrong there.")
@_places.sweep
@_places.devices
@click.option(
    "--save", type=_options.FOLDER, metavar="DIR", help="Folder for images of what differs: expected, got, difference."
)
@_options.results
def command(
    artifacts: tuple[str, ...],
    proof: Path | None,
    repeat: int,
    find_op: bool,
    sweep: Sweep,
    devices: Devices,
    save: Path | None,
    results: Results,
) -> int:
    """Run ``edgeseg verify``."""
    quiet_native_logs()
    from edgeseg._internal.files import require_writable_folder
    from edgeseg.models.packaged_files import find_file
    from edgeseg.proof import verify

    files = [find_file(artifact) for artifact in artifacts or [_artifacts.artifact_or_default(None)]]
    cases = sweep.cases(files)
    if save is not None:
        require_writable_folder(save)
        if len({file.name for file in files}) < len(files):
            raise InputError("two artifacts have one name, and so would their images: omit --save.")
    opened = devices.open()
    verdicts: list[Verdict] = []
    wrong_ops: dict[int, WrongOp | str] = {}
    lost: list[str] = []  # what else was asked for is kept
    for device in opened:
        try:
            with device, progress_of_steps() as update:
                for done, case in enumerate(cases):
                    update(f"verifying on {device.name}", done, len(cases))
                    try:
                        verdict = verify(case.artifact, proof, options=case.options, device=device, repeat=repeat)
                    except (InputError, BackendUnavailable) as error:
                        if len(cases) * len(opened) == 1:
                            raise
                        lost.append(f"{case.artifact.name} on {case.accelerator}, {device.name}: {error}")
                        continue
                    verdicts.append(verdict)
                    if find_op and not verdict.passed:
                        wrong_ops[len(verdicts) - 1] = _search(verdict, case, device, update)
        except EdgesegError as error:  # the device is not there, or went away
            if len(opened) == 1 and not verdicts:
                raise
            lost.append(f"{device.name}: {error}")
    if results.as_json:
        entries = [verdict.to_dict() for verdict in verdicts]
        for number, found in wrong_ops.items():
            entries[number]["wrong_op"] = {"error": found} if isinstance(found, str) else found.to_dict()
        print_json({"format_version": 1, "verdicts": entries})
    elif verdicts:
        _print(verdicts)
    for number, verdict in enumerate(verdicts):
        where = f"{verdict.artifact} on {verdict.accelerator}, {verdict.device}"
        if save is not None:
            paths = verdict.save(save, overwrite=results.overwrite)
            what = f"{counted(len(paths), 'image')} that differ in {save}" if paths else "no image differs"
            note(f"{where}: {what}, most in {paths[0].name}" if len(paths) > 1 else f"{where}: {what}")
        for warning in verdict.warnings:
            tell(f"{where}: {warning}")
        if not verdict.passed:
            note(f"edgeseg: {where}: {verdict.reason}.")
        if number in wrong_ops:
            tell(f"{where}: {wrong_ops[number]}")
    if lost:
        raise InputError(" ".join(lost))
    return 0 if all(verdict.passed for verdict in verdicts) else 1


def _search(verdict: Verdict, case: Case, device: Device, progress: StepProgress) -> WrongOp | str:
    """Search the op that is wrong; return it, or why it cannot be searched."""
    from edgeseg.proof import find_on_device

    looked_at = itertools.count(1)
    try:
        return find_on_device(
            verdict,
            case.artifact,
            options=case.options,
            device=device,
            partitions=_partitions(case) if device.name == "local" else [],
            tell=lambda line: progress(f"searching the op of {verdict.artifact}", next(looked_at), 0),
        )
    except (InputError, BackendUnavailable, DeviceLost) as error:
        return str(error)


def _partitions(case: Case) -> list[list[int]]:
    """Return the nodes of each partition of the accelerator, where it is known which nodes it takes."""
    from edgeseg.coverage import coverage
    from edgeseg.tflite.graph import partitions, read_graph

    accelerator = case.options.get("accelerator")
    if accelerator is None or case.artifact.suffix != ".tflite":
        return []
    try:
        left = coverage(case.artifact, accelerator).left
    except (InputError, BackendUnavailable):  # nobody can be asked here
        return []
    graph = read_graph(case.artifact.read_bytes())
    kept = {index for nodes in left for index in nodes.nodes}
    if sum(nodes.count for nodes in left) != len(kept):  # only a number is known
        return []
    return partitions(graph, {node.index for node in graph.nodes} - kept)


def _print(verdicts: Sequence[Verdict]) -> None:
    """Print a row for each verdict, and of those that failed the classes and images that differ most."""
    print_table(COLUMNS, [_row(verdict) for verdict in verdicts], alarming=_FAILED)
    for verdict in verdicts:
        if verdict.passed:
            continue
        classes = sorted((one for one in verdict.classes if one.worst < 1), key=lambda one: one.worst)[:_LISTED]
        images = sorted((one for one in verdict.images if one.worst < 1), key=lambda one: one.worst)[:_LISTED]
        say("")
        title = f"{verdict.artifact} on {verdict.accelerator}, {verdict.device}: decided pixels in the worst run"
        columns = ("Class", ">Pixels", ">Right", "Most often instead")
        rows = [[one.name, str(one.pixels), percent(one.worst, 3), one.instead] for one in classes]
        print_table(columns, rows, title=title)
        say("")
        shares = [[percent(one.first, 3), percent(one.worst, 3), percent(one.last, 3)] for one in images]
        print_table(
            ("Image", ">Pixels", ">First", ">Worst", ">Last", ">Different answers"),
            [[str(i.index), str(i.pixels), *share, str(i.answers)] for i, share in zip(images, shares, strict=True)],
        )


def _row(verdict: Verdict) -> list[str]:
    found = verdict.agreement
    place = verdict.accelerator
    if verdict.software_rendering:
        place = f"{place} (software)"
    elif verdict.fully_accelerated is False:
        place = f"{place} (in part)"
    elif verdict.half_arithmetic:
        place = f"{place} (half precision)"
    if verdict.num_threads:
        place = f"{place}, {counted(verdict.num_threads, 'thread')}"
    return [
        verdict.artifact,
        verdict.device,
        place,
        percent(found.first, 3),
        percent(found.worst, 3),
        percent(found.last, 3),
        percent(found.all_worst, 3),
        f"{found.min_agreement:.1%}",
        "ok" if verdict.passed else _FAILED,
    ]
