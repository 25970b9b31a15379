"""Check a labeled data set, split it, or draw labelme's annotations (``edgeseg data``)."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from edgeseg._internal.text import counted
from edgeseg.choices import SplitOrder
from edgeseg.cli import _options
from edgeseg.cli._groups import Group
from edgeseg.cli._summaries import help_of
from edgeseg.cli._terminal import note, print_json, print_table, progress, say
from edgeseg.cli._words import in_flags

if TYPE_CHECKING:
    from edgeseg.datasets import DataSource
    from edgeseg.datasets.findings import CheckResult
    from edgeseg.datasets.statistics import ChannelStatistics


@click.group("data", cls=Group, help=help_of("data", "Your files are never changed."))
def command() -> None:
    """Run ``edgeseg data``."""


@command.command("check", short_help="List what is wrong; exit 1 where anything is.")
@_options.dataset(argument="DIR")
@click.option(
    "--split", "splits", type=_options.NamesType(), help="Splits to check, with commas between.", show_default="all"
)
@click.option("--strict", is_flag=True, help="Exit 1 for warnings too.")
@click.option(
    "--statistics",
    "measures",
    is_flag=True,
    help="Also print mean and standard deviation of the training images, as options of train and export.",
)
@click.option("--num-threads", type=click.IntRange(1), help="Threads that read.", show_default="one a core")
@_options.as_json
def check_command(
    data: DataSource,
    splits: tuple[str, ...] | None,
    strict: bool,
    measures: bool,
    num_threads: int | None,
    as_json: bool,
) -> int:
    """Read every file of DIR and list what is wrong: exit 1 where anything is."""
    from edgeseg.datasets.check import check

    with progress(f"checking {data.name}") as update:
        result = check(data, splits=splits, num_threads=num_threads, progress=update)
    findings = tuple(replace(finding, text=in_flags(finding.text)) for finding in result.findings)
    result = replace(result, findings=findings)
    if not as_json:
        _print(data, result)
    statistics = _statistics(data, result, num_threads) if measures and not result.errors else None
    if as_json:
        print_json(result.to_dict() | ({"statistics": statistics and vars(statistics)} if measures else {}))
    elif statistics is not None:
        say(in_flags(statistics.as_settings()))
    elif measures:
        note("edgeseg: no statistics of data with errors.")
    return 1 if result.errors or (strict and result.warnings) else 0


@command.command("split", short_help="Split it into train, val and test.")
@_options.dataset(argument="DIR")
@click.option(
    "--val",
    type=float,
    help="Share for validation; taken from train where DIR has that.",
    show_default="0.1 where DIR has none",
)
@click.option(
    "--test", type=float, help="Share for the test; 0 for none.", show_default="0.1, and 0 where DIR has train"
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random order.")
@click.option(
    "--order",
    type=click.Choice(get_args(SplitOrder)),
    default="random",
    show_default=True,
    help="How images are chosen. name takes the last ones, by number: for frames of a video, where neighbors are "
    "nearly equal.",
)
@click.option("--output-dir", type=_options.FOLDER, help="Folder for the lists.", show_default="DIR-split")
@_options.overwrite
@_options.as_json
def split_command(
    data: DataSource,
    val: float | None,
    test: float | None,
    seed: int,
    order: SplitOrder,
    output_dir: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Split DIR into train, val and test: lists in a new folder, which is the --data of the other commands.

    Splits that DIR has are kept; what it lacks is taken from its train.
    """
    from edgeseg.datasets.splitting import split

    folder = output_dir or beside(data.root, "split")
    with progress(f"reading {data.name}"):
        result = split(data, folder, val=val, test=test, seed=seed, order=order, overwrite=overwrite)
    if as_json:
        print_json({"format_version": 1, "folder": str(result.folder), "counts": result.counts})
        return
    counts = ", ".join(f"{count} {name}" for name, count in result.counts.items())
    say(f"{result.folder}  {counts}")
    quoted = shlex.quote(str(result.folder))
    say(f"Next: edgeseg data check {quoted}  |  edgeseg train MODEL --data {quoted}")


@command.command("labelme", short_help="Draw labelme's annotations as labels.")
@click.argument("folder", metavar="DIR", type=click.Path())
@click.option(
    "--classes", required=True, help="Class names A,B,C, or a file of names; the first is for pixels without a shape."
)
@click.option("--output-dir", type=_options.FOLDER, help="Folder for images and labels.", show_default="DIR-labels")
@_options.overwrite
@_options.as_json
def labelme_command(folder: str, classes: str, output_dir: Path | None, overwrite: bool, as_json: bool) -> None:
    """Draw the shapes of labelme's .json files in DIR into label images, in a new folder with the images."""
    from edgeseg.datasets.classes import given_classes
    from edgeseg.datasets.labelme import convert

    names = given_classes(classes).names
    with progress(f"drawing {Path(folder).name}") as update:
        result = convert(folder, output_dir or beside(folder, "labels"), names, overwrite=overwrite, progress=update)
    if as_json:
        shapes = {"num_pairs": result.num_pairs, "num_shapes": result.num_shapes}
        print_json({"format_version": 1, "folder": str(result.folder), **shapes})
        return
    shapes_text = ", ".join(f"{count} {name}" for name, count in result.num_shapes.items() if count)
    say(f"{result.folder}  {counted(result.num_pairs, 'pair')}; shapes: {shapes_text or 'none'}")
    say(f"Next: edgeseg data split {shlex.quote(str(result.folder))} --val 0.1 --test 0.1")


def beside(folder: str, what: str) -> Path:
    """Return the folder that a command makes of another one by default: ``DIR-split``."""
    path = Path(folder).absolute()
    return Path(folder).parent / f"{path.name}-{what}"


def _statistics(data: DataSource, result: CheckResult, num_threads: int | None) -> ChannelStatistics:
    """Measure the training images; those of the first split that was checked where there is no train."""
    from edgeseg.datasets import open_split
    from edgeseg.datasets.statistics import channel_statistics

    split = "train" if "train" in result.num_pairs else next(iter(result.num_pairs))
    with progress(f"measuring {split}") as update:
        return channel_statistics(open_split(data, split), num_threads=num_threads, progress=update)


def _print(data: DataSource, result: CheckResult) -> None:
    splits = list(result.num_pairs)
    rows = [
        [name, *(f"{100 * result.shares(split)[index]:.2f} %" for split in splits)]
        for index, name in enumerate(result.classes.names)
    ]
    pairs = ", ".join(f"{split} {count}" for split, count in result.num_pairs.items())
    title = f"{data.name}: layout {result.layout}, labels are {result.label_encoding}; readable pairs: {pairs}"
    print_table(["Share of pixels", *(f">{split}" for split in splits)], rows, title=title)
    say(result.sizes.line())
    for finding in result.errors:
        say(f"error: {finding.text}")
    for finding in result.warnings:
        say(f"warning: {finding.text}")
    errors, warnings = len(result.errors), len(result.warnings)
    say(f"{counted(errors, 'error')}, {counted(warnings, 'warning')}" if errors or warnings else "Nothing is wrong.")
    if errors:
        note("edgeseg: the data has errors; training would stop at them.")
