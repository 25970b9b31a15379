"""Run ``scripts/fuzz``: inputs for every reader, or kills of what writes, and a table of what was found."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import click

from edgeseg._internal.text import escaped
from fuzz.campaign import Job, Tally, repeat, run_job
from fuzz.kill import COMMANDS, kill
from fuzz.readers import READERS

#: Lines of the list of findings; the rest is in the folder.
_MOST_SHOWN = 40


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--seed", default=0, help="Two jobs of one seed make the same inputs.")
@click.option("--inputs", type=click.IntRange(1), help="Number of inputs; --minutes does not count then.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=10.0, help="How long to make inputs.")
@click.option("--reader", "readers", multiple=True, type=click.Choice(list(READERS)), help="Only these; repeatable.")
@click.option("--processes", type=click.IntRange(1), default=min(os.cpu_count() or 1, 8), help="Inputs at a time.")
@click.option("--output-dir", type=click.Path(path_type=Path), help="New folder for findings.  Else a temporary one.")
@click.option("--kill", "kills", help="Kill instead, such as export=200,train=50: how many of each.")
@click.option("--repeat", "saved", type=click.Path(path_type=Path, exists=True), help="Run a saved input again.")
def main(
    seed: int,
    inputs: int | None,
    minutes: float,
    readers: tuple[str, ...],
    processes: int,
    output_dir: Path | None,
    kills: str | None,
    saved: Path | None,
) -> None:
    """Feed the readers of edgeseg with damaged and hostile inputs.

    Each input runs in a process of its own, which must end with 0, 1 or 2 within 30 s, in 2 GB, without a traceback,
    with at most three printable lines on stderr where it fails, and leave nothing behind. Exit 1 where one does not.

    With --kill, exports over good files and trainings are killed at random moments: each file must be the old or the
    new one, a resumed training has the history of one that was not killed, and the next run removes what was left.
    """
    if kills is not None:
        sys.exit(_kill(kills, seed, processes))
    if saved is not None:
        outcome = repeat(saved)
        print(outcome.stderr, end="")
        print(f"exit status {outcome.status}, {outcome.seconds:.1f} s, {outcome.peak_bytes >> 20} MiB")
        print("".join(f"{kind}: {what}\n" for kind, what in outcome.kinds.items()) or "no finding")
        sys.exit(bool(outcome.kinds))
    findings = output_dir or Path(tempfile.mkdtemp(prefix="edgeseg-fuzz-findings-"))
    names = list(dict.fromkeys(readers)) or list(READERS)
    seconds = float("inf") if inputs else minutes * 60
    job = Job(seed=seed, readers=names, inputs=inputs, seconds=seconds, findings=findings.absolute())
    with tempfile.TemporaryDirectory() as scratch:
        tallies = run_job(job, processes, Path(scratch))
    _show(tallies, job)
    sys.exit(any(tally.kinds for tally in tallies.values()))


def _kill(text: str, seed: int, processes: int) -> bool:
    """Kill what the text asks for, print a table, and return whether anything was wrong."""
    print(f"{'command':<8} {'killed':>6} {'left temporaries':>16} {'replaced files':>14}  faults")
    faults: list[str] = []
    for part in text.split(","):
        what, _, number = part.partition("=")
        if what not in COMMANDS or not number.isdecimal():
            raise click.UsageError(f"--kill takes {', '.join(f'{name}=N' for name in COMMANDS)}, got '{part}'.")
        scratch = Path(tempfile.mkdtemp(prefix="edgeseg-kill-"))
        result = kill(what, int(number), seed, processes, scratch)
        print(f"{what:<8} {result.kills:>6} {result.amid:>16} {result.replaced:>14}  {len(result.faults) or 'none'}")
        faults += result.faults
        if not result.faults:
            shutil.rmtree(scratch)
    print("".join(f"{fault}\n" for fault in faults), end="")
    return bool(faults)


def _show(tallies: dict[str, Tally], job: Job) -> None:
    everything = Tally()
    for tally in tallies.values():
        everything.add(tally)
    print(f"{'reader':<10} {'inputs':>6} {'mean s':>6} {'max s':>5} {'MiB':>5}  {'exit status':<28} findings")
    for name, tally in {**tallies, "all": everything}.items():
        ends = ", ".join(f"{status}: {number}" for status, number in sorted(tally.statuses.items()))
        kinds = ", ".join(f"{number} {kind}" for kind, number in tally.kinds.most_common()) or "none"
        mean_s = tally.seconds / max(tally.inputs, 1)
        numbers = f"{tally.inputs:>6} {mean_s:>6.2f} {tally.longest_s:>5.1f} {tally.peak_bytes >> 20:>5}"
        print(f"{name:<10} {numbers}  {ends:<28} {kinds}")
    for kind, what, command, place in everything.saved[:_MOST_SHOWN]:
        print(f"\n{kind}: {escaped(what, most=300)}\n  {escaped(command, most=200)}\n  {place}")
    if len(everything.saved) > _MOST_SHOWN:
        print(f"\n... and {len(everything.saved) - _MOST_SHOWN} more")
    if everything.saved:
        print(f"\nSeed {job.seed}. Findings are in {job.findings}; again: scripts/fuzz --repeat FOLDER")


if __name__ == "__main__":
    main()
