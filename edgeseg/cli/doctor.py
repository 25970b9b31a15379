"""Run ``edgeseg doctor``: say what is installed, what is missing, and the command that installs it."""

from __future__ import annotations

import click

from edgeseg.cli import _options
from edgeseg.cli._summaries import help_of
from edgeseg.cli._terminal import print_json, print_table, say


@click.command("doctor", help=help_of("doctor", "Exits with 1 where a part is missing that edgeseg always needs."))
@_options.as_json
def command(as_json: bool) -> int:
    """Run ``edgeseg doctor``."""
    import dataclasses
    import platform

    from edgeseg import __version__
    from edgeseg._internal.installation import CORE, parts
    from edgeseg.runtime.base import default_threads

    known = parts()
    broken = [part for part in known if part.needed_for == CORE and not part.ok]
    machine = (
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {default_threads()} threads"
    )
    if as_json:
        entries = [dataclasses.asdict(part) for part in known]
        print_json({"format_version": 1, "edgeseg": __version__, "machine": machine, "parts": entries})
        return 1 if broken else 0
    say(f"edgeseg {__version__}, {machine}")
    rows = [
        [part.needed_for, part.package, part.required or "any", part.installed or "missing", part.install or "ok"]
        for part in known
    ]
    print_table(["For", "Package", "Asked for", "Installed", "What to do"], rows)
    return 1 if broken else 0
