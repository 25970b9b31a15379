"""``edgeseg benchmark``: how fast artifacts are on devices and accelerators, and how sure that is."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, get_args

import click

from edgeseg.cli import _options
from edgeseg.cli._terminal import note, print_json, print_table, progress, quiet_native_logs
from edgeseg.spec import Accelerator


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
@click.option("--accelerator", type=_options.NamesType(get_args(Accelerator)), default=("cpu",), help="cpu,gpu,npu.")
@click.option("--num-threads", type=_CountsType(), help="Threads, with commas between for a sweep.")
@click.option("--num-runs", type=click.IntRange(1), default=50, show_default=True, help="Timed calls at least.")
@click.option("--warmup-runs", type=click.IntRange(1), default=5, show_default=True, help="Untimed calls, at least.")
@click.option("--min-secs", type=click.FloatRange(0), default=1.0, show_default=True, help="Time measured at least.")
@click.option("--max-secs", type=click.FloatRange(0), default=150.0, show_default=True, help="Time measured at most.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Processes that share the runs.")
@click.option("--scope", type=click.Choice(("inference", "end-to-end")), default="inference", show_default=True)
@click.option("--image", type=click.Path(dir_okay=False, path_type=Path), help="Picture for --scope end-to-end.")
@click.option("--sustained", type=click.FloatRange(0, min_open=True), help="Minutes without a pause; drift is said.")
@click.option("--device", "devices", multiple=True, help="local, ssh:HOST, adb, adb:SERIAL; may be given again.")
@click.option("--devices", "table", type=click.Path(dir_okay=False, path_type=Path), help="devices.toml, all of it.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="JSON file of the raw results.")
@_options.delegates
@_options.overwrite
@_options.as_json
def command(
    artifacts: tuple[Path, ...],
    accelerator: tuple[str, ...],
    num_threads: tuple[int, ...] | None,
    devices: tuple[str, ...],
    table: Path | None,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Time ARTIFACTs: medians and percentiles of raw samples, in several processes that take turns."""
