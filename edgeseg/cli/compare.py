"""``edgeseg compare``: result files side by side, and whether something got slower."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_args

import click

from edgeseg.cli import _options
from edgeseg.cli._terminal import note, print_json, print_markdown, print_table

_ALIKE = ("device", "machine", "threads", "scope", "accelerator", "runtime", "model")


@click.command("compare")
@click.argument("files", nargs=-1, required=True, metavar="RESULT.json...", type=click.Path(path_type=Path))
@click.option(
    "--format", "style", type=click.Choice(("table", "md", "csv", "html")), default="table", show_default=True
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write to; for html.")
@click.option("--allow", type=_options.NamesType(_ALIKE), default=(), help=f"May differ: {', '.join(_ALIKE)}.")
@click.option("--max-regression", type=click.FloatRange(0), help="Percent slower that is still fine; more exits 1.")
@click.option(
    "--accuracy",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.json",
    help="For html: of evaluate --json or of an export's report; repeatable.",
)
@_options.overwrite
@_options.as_json
def command(
    files: tuple[Path, ...],
    style: str,
    output: Path | None,
    allow: tuple[str, ...],
    max_regression: float | None,
    accuracy: tuple[Path, ...],
    overwrite: bool,
    as_json: bool,
) -> int:
    """Compare benchmark results: the first file is the baseline, one file alone is shown as it is."""
    from edgeseg.benchmark import tables
    from edgeseg.benchmark.compare import Alike, compare, pair
    from edgeseg.benchmark.result import read as read_results
    from edgeseg.errors import InputError
    from edgeseg.files import write_bytes

    assert set(_ALIKE) == set(get_args(Alike))
    read = [read_results(path) for path in files]
    if max_regression is not None and len(files) < 2:
        raise InputError("--max-regression compares with a baseline: give two files, the baseline first.")
    if accuracy and style != "html":
        raise InputError("--accuracy goes with --format html.")
    comparisons = [
        compare(*pairing, allow=allow)  # type: ignore[arg-type]  # the option's type has checked the names
        for later in read[1:]
        for pairing in pair(read[0], later)
    ]
    if as_json:
        print_json(
            {
                "format_version": 1,
                "comparisons": [
                    {
                        "artifact": c.result.artifact,
                        "accelerator": c.result.accelerator,
                        "num_threads": c.result.num_threads,
                        "scope": c.result.scope,
                        "baseline_ms": c.baseline.median_s * 1e3,
                        "result_ms": c.result.median_s * 1e3,
                        "median_ratio": dataclasses.asdict(c.median),
                        "fastest_ratio": dataclasses.asdict(c.fastest),
                        "significant": c.significant,
                    }
                    for c in comparisons
                ],
            }
        )
    elif style == "html":
        from edgeseg.benchmark.accuracy import read_mean_iou
        from edgeseg.benchmark.page import page

        if output is None:
            raise InputError("--format html needs --output FILE.html.")
        everything = [entry for entries in read for entry in entries]
        known = {name: value for path in accuracy for name, value in read_mean_iou(path).items()}
        write_bytes(output, page(everything, comparisons, known).encode(), overwrite=overwrite)
        note(str(output))
    else:
        columns = tables.COMPARISON_COLUMNS if comparisons else tables.COLUMNS
        table = tables.comparison_rows(comparisons) if comparisons else tables.rows(read[0])
        if output is not None:
            raise InputError("--output goes with --format html; the other formats print.")
        if style == "csv":
            print(tables.to_csv(columns, table), end="")
        else:
            (print_table if style == "table" else print_markdown)(columns, table)
    slower = [c for c in comparisons if max_regression is not None and c.regressed(max_regression)]
    for c in slower:
        slowdown = 100 * (c.fastest.value - 1)
        note(f"edgeseg: {c.result.artifact} is {slowdown:.1f} % slower, more than {max_regression:g} % allowed.")
    return 1 if slower else 0
