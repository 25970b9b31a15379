"""Serve a page on which any browser runs an artifact on its own camera, or write it as files (``edgeseg web``)."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from edgeseg.cli import _artifacts, _completion, _options
from edgeseg.cli._groups import GroupedCommand
from edgeseg.cli._summaries import help_of
from edgeseg.cli._terminal import note, progress, quiet_native_logs, say
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from edgeseg.web.site import Site

_DETAILS = f"""\
{_artifacts.HELP} The page runs .tflite files, and .onnx files on the CPU. The first call
downloads LiteRT.js (12 MB), for .onnx onnxruntime-web (33 MB), from their npm packages.

A browser gives its camera to a secure page only: on this machine, through a USB cable (--usb), or over https.
"""


class _Command(GroupedCommand):
    headings = {  # noqa: RUF012 - click's own attributes are so
        "Address": ("host", "port", "https", "usb"),
        "Files": ("output_dir", "overwrite"),
    }


@click.command("web", cls=_Command, help=help_of("web", _DETAILS))
@click.argument("artifacts", nargs=-1, metavar="[ARTIFACT...]", shell_complete=_completion.artifacts)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; 0.0.0.0: whoever reaches this machine.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 picks a free one.")
@click.option(
    "--https/--no-https",
    default=None,
    help="Make a certificate for this machine.",
    show_default="yes where other machines reach it",
)
@click.option("--usb", is_flag=True, help="Give the page to the phone on the USB cable, by adb reverse.")
@click.option("--output-dir", type=_options.FOLDER, metavar="DIR", help="Write the page for any host of static files.")
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
def command(
    artifacts: tuple[str, ...],
    host: str,
    port: int,
    https: bool | None,
    usb: bool,
    output_dir: Path | None,
    overwrite: bool,
) -> None:
    """Run ``edgeseg web``."""
    quiet_native_logs()
    from edgeseg.web.site import Site

    if output_dir is None and overwrite:
        raise InputError("--overwrite goes with --output-dir.")
    served = click.get_current_context().get_parameter_source
    given = [name for name in ("host", "port", "https", "usb") if served(name) is ParameterSource.COMMANDLINE]
    if output_dir is not None and given:
        raise InputError(f"--output-dir writes files and serves nothing; omit --{given[0]}.")
    if usb and "host" in given:
        raise InputError("--usb gives the phone this machine's own localhost; omit --host.")
    with progress("gathering the page"):
        site = Site.of(artifacts or [_artifacts.artifact_or_default(None, of_people=True)])
    if output_dir is not None:
        written = site.write(output_dir, overwrite=overwrite)
        size = sum(path.stat().st_size for path in written) / 1e6
        note(f"{len(written)} files, {size:.1f} MB; python -m http.server --directory {output_dir} serves them")
        say(str(output_dir))
        return
    _serve(site, host, port, https=https, usb=usb)


def _serve(site: Site, host: str, port: int, *, https: bool | None, usb: bool) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    from edgeseg.web.pairing import shown_address
    from edgeseg.web.server import WebServer

    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: ended.set())
    phone = None
    if usb:
        from edgeseg.benchmark.devices.adb_client import Client, choose

        phone = Client(choose(None))
    with ExitStack() as open_now:
        server = open_now.enter_context(WebServer(site, host=host, port=port, https=https))
        if phone is not None:
            open_now.enter_context(phone.reversed_port(server.port))
            note(f"for the browser of {phone.serial}:")
        if server.fingerprint:
            note(f"the browser warns, as the certificate signs itself; its SHA-256 is {server.fingerprint}")
        for line in shown_address(server.url, with_code=server.is_public, stream=sys.stdout):
            say(line)
        sys.stdout.flush()  # a program that started this waits for the address
        with suppress(KeyboardInterrupt):
            while not ended.wait(0.5):  # a longer one cannot be interrupted on Windows
                pass
