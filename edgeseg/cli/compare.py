"""Compare result files side by side, and say whether something got slower (``edgeseg compare``)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from edgeseg.choices import Alike, ComparisonStyle
from edgeseg.cli import _options
from edgeseg.cli._groups import Command
from edgeseg.cli._summaries import help_of
from edgeseg.cli._terminal import note, print_json, print_markdown, print_table

if TYPE_CHECKING:
    from edgeseg.benchmark.result import LatencyResult
    from edgeseg.cli._options import Results

_DETAILS = """\
The first file is the baseline; one file alone is shown as it is.

A result that only one of two files has is reported on stderr; one that only the baseline has fails --max-regression, as
nothing shows that it did not get slower.

Where the results themselves say that the machine was busy, or that the processes disagree, there is no verdict.
"""


@click.command("compare", cls=Command, help=help_of("compare", _DETAILS))
@click.argument("files", nargs=-1, required=True, metavar="RESULT.json...", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "style",
    type=click.Choice(get_args(ComparisonStyle)),
    default="table",
    show_default=True,
    help="A table for people, Markdown, CSV, or a page for --output.",
)
@click.option("--output", type=_options.FILE, metavar="FILE", help="File to write to, for html.")
@click.option("--allow", type=_options.NamesType(get_args(Alike)), default=(), help="What may differ.")
@click.option("--max-regression", type=click.FloatRange(0), help="Allowed slow-down in percent; more exits 1.")
@click.option("--strict", is_flag=True, help="Exit with 3 where a pair is not to be trusted.")
@click.option(
    "--accuracy",
    multiple=True,
    type=_options.FILE,
    metavar="FILE.json",
    help="Accuracy to show in html: of evaluate --json, or of an export's report; repeatable.",
)
@_options.results
def command(
    files: tuple[Path, ...],
    style: ComparisonStyle,
    output: Path | None,
    allow: tuple[Alike, ...],
    max_regression: float | None,
    strict: bool,
    accuracy: tuple[Path, ...],
    results: Results,
) -> int:
    """Run ``edgeseg compare``."""
    from edgeseg._internal.files import write_text
    from edgeseg.benchmark import tables
    from edgeseg.benchmark.compare import compare, pair
    from edgeseg.benchmark.result import read as read_results
    from edgeseg.benchmark.result import read_lost
    from edgeseg.errors import InputError

    read = [read_results(path) for path in files]
    if max_regression is not None and len(files) < 2:
        raise InputError("--max-regression compares with a baseline: give two files, the baseline first.")
    if accuracy and style != "html":
        raise InputError("--accuracy goes with --format html.")
    pairings = [pair(read[0], later) for later in read[1:]]
    comparisons = [compare(baseline, result, allow=allow) for pairing in pairings for baseline, result in pairing.pairs]
    gone = [(files[0], path, result) for path, p in zip(files[1:], pairings, strict=True) for result in p.gone]
    new = [(path, files[0], result) for path, p in zip(files[1:], pairings, strict=True) for result in p.new]
    if results.as_json:
        print_json(
            {
                "format_version": 1,
                "comparisons": [
                    {
                        **_what(c.result),
                        "baseline_ms": c.baseline.median_s * 1e3,
                        "result_ms": c.result.median_s * 1e3,
                        "median_ratio": dataclasses.asdict(c.median),
                        "fastest_ratio": dataclasses.asdict(c.fastest),
                        "significant": c.significant,
                        "verdict": c.verdict,
                        "doubts": list(c.doubts),
                    }
                    for c in comparisons
                ],
                "unpaired": [
                    {"only_in": str(there), "not_in": str(missing), **_what(entry)}
                    for there, missing, entry in (*gone, *new)
                ],
            }
        )
    elif style == "html":
        from edgeseg.benchmark.accuracy import read_mean_iou
        from edgeseg.benchmark.page import page

        if output is None:
            raise InputError("--format html needs --output FILE.html.")
        everything = [entry for entries in read for entry in entries]
        lost = [each for path in files for each in read_lost(path)]
        known = {name: value for path in accuracy for name, value in read_mean_iou(path).items()}
        write_text(output, page(everything, comparisons, known, lost=lost), overwrite=results.overwrite)
        note(f"saved: {output}")
    else:
        columns = tables.COMPARISON_COLUMNS if comparisons else tables.COLUMNS
        table = tables.comparison_rows(comparisons) if comparisons else tables.rows(read[0])
        if output is not None:
            raise InputError("--output goes with --format html; the other formats print.")
        if style == "csv":
            print(tables.to_csv(columns, table), end="")
        else:
            if style == "table":
                print_table(columns, table, alarming=tables.WRONG)
            else:
                print_markdown(columns, table)
    for line in tables.doubt_lines(comparisons):
        note(line)
    wrong = tables.wrong_lines([c.result for c in comparisons] or read[0])
    for line in wrong:
        note(f"edgeseg: {line}")
    for there, missing, entry in (*gone, *new):
        what = ", ".join(f"{name} {value}" for name, value in _what(entry).items() if name != "artifact")
        note(f"{entry.name} ({what}) is in {there} and not in {missing}: not compared.")
    slower = [c for c in comparisons if max_regression is not None and c.regressed(max_regression)]
    for c in slower:
        slowdown = 100 * (c.fastest.value - 1)
        note(f"edgeseg: {c.result.name} is {slowdown:.1f} % slower, more than {max_regression:g} % allowed.")
    if gone and max_regression is not None:
        note(
            f"edgeseg: {len(gone)} of the baseline's results have no partner, so --max-regression fails: measure them "
            "too, or make a baseline without them."
        )
    if slower or ((gone or wrong) and max_regression is not None):
        return 1
    return 3 if strict and any(c.doubts for c in comparisons) else 0


def _what(result: LatencyResult) -> dict[str, Any]:
    """Return the fields by which two results are paired, by JSON's names."""
    return {
        "artifact": result.artifact,
        "accelerator": result.accelerator,
        "num_threads": result.num_threads,
        "scope": result.scope,
        "device": result.environment.device,
    }
