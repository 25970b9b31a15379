"""Run ``edgeseg doctor``: say what is installed, what is missing, and the command that installs it."""

from __future__ import annotations

import click

from edgeseg._internal.text import counted
from edgeseg.cli import _options
from edgeseg.cli._cameras import show_cameras
from edgeseg.cli._groups import Command
from edgeseg.cli._summaries import help_of
from edgeseg.cli._terminal import print_json, print_table, progress, say

_DETAILS = """\
What it calls ok was loaded. Exits with 1 where a part that edgeseg always needs is missing or does not load.
"""

# Its kernels for integers are of 2023: 20 times slower than LiteRT's for the packaged model (2 threads on 2 cores of an
# AMD EPYC, 2026-11-29, 2,311 against 102 ms at best).
_OLD_RUNTIME = "tflite-runtime"
_OLD_RUNTIME_COSTS = "int8 runs about 20 times slower than with: pip install ai-edge-litert"

# By ``Cpu.native_half``.
_HALF = {
    True: "computes in half precision, so that an fp16 .tflite that asks for it does",
    False: "does not compute in half precision: an fp16 .tflite runs in float32",
    None: "whether it computes in half precision is not known",
}


@click.command("doctor", cls=Command, help=help_of("doctor", _DETAILS))
@click.option("--cameras", is_flag=True, help="List the cameras of this machine and the line to use for each.")
@_options.as_json
def command(cameras: bool, as_json: bool) -> int:
    """Run ``edgeseg doctor``."""
    if cameras:
        show_cameras(as_json=as_json)
        return 0
    import dataclasses
    import platform

    from edgeseg import __version__
    from edgeseg._internal.installation import CORE, Part, parts
    from edgeseg._internal.versions import installed_version
    from edgeseg.cli._loading import load_errors
    from edgeseg.runtime.base import default_threads
    from edgeseg.tflite.cpu import NO_LSE, Cpu

    known = parts()
    if old := installed_version(_OLD_RUNTIME):
        known.append(
            Part(package=_OLD_RUNTIME, needed_for="--backend", required="", installed=old, ok=True, install="")
        )
    installed = list(dict.fromkeys(part.package for part in known if part.installed))
    with progress("loading what is installed") as update:
        errors = load_errors(installed, progress=update)
    broken = [part for part in known if part.needed_for == CORE and (not part.ok or part.package in errors)]
    system = f"{platform.system()} {platform.machine()}"
    cpu = Cpu.here()
    machine = f"Python {platform.python_version()}, {system}, {counted(default_threads(), 'thread')}"
    if as_json:
        entries = [{**dataclasses.asdict(part), "load_error": errors.get(part.package)} for part in known]
        about = {"edgeseg": __version__, "machine": machine, "cpu": dataclasses.asdict(cpu)}
        print_json({"format_version": 1, **about, "parts": entries})
        return 1 if broken else 0
    say(f"edgeseg {__version__}, {machine}")
    say(f"CPU: {_HALF[cpu.native_half]}")
    if cpu.lse is False:
        say(f"CPU: {NO_LSE}: no --accelerator gpu or npu, no benchmark --profile")
    rows = [
        [
            part.needed_for,
            part.package,
            part.required or "any",
            part.installed or "missing",
            part.install or errors.get(part.package) or (_OLD_RUNTIME_COSTS if part.package == _OLD_RUNTIME else "ok"),
        ]
        for part in known
    ]
    print_table(["For", "Package", "Asked for", "Installed", "What to do"], rows)
    return 1 if broken else 0
