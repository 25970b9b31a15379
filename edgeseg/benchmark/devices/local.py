"""Measure and verify on this machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from edgeseg._internal.json import WrongValue
from edgeseg.benchmark.worker import Reply, Request, longest_s
from edgeseg.errors import DeviceLost
from edgeseg.proof.device import ThisMachine
from edgeseg.runtime.process.exchange import ask


class LocalDevice(ThisMachine):
    """Measures and verifies in processes of this Python."""

    def __enter__(self) -> LocalDevice:
        return self

    def put(self, path: Path, digest: str) -> str:
        """Return the path: the file stays in place."""
        return str(path)

    def run(self, request: Request) -> Reply:
        """See ``Device.run``."""
        try:
            return Reply.from_json(ask("edgeseg.benchmark.worker", asdict(request), longest_s(request)))
        except WrongValue as error:
            raise DeviceLost(
                f"what the process that measured '{request.path}' says cannot be right: {error}."
            ) from error
