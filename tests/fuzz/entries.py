"""Call what reads an input, as a user's process would: the command line, the reader of ``.pth``, the page."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeseg._internal.limits.models import TRIAL_VARIABLE
from fuzz.case import Case

#: Page requests are sent in pieces at this mark, each over a connection of its own.
NEXT = b"\n--next--\n"


def command_line(case: Case) -> int:
    """Run ``edgeseg``; where something is served, ``{port}`` in the command is the server's."""
    from edgeseg.cli import main

    command = case.command
    if any("{port}" in argument for argument in command):
        port = _serve(case.served)
        command = tuple(argument.replace("{port}", str(port)) for argument in command)
    return main(command)


def pth(case: Case) -> int:
    """Read a ``.pth`` file; ``train --encoder-weights`` does it after minutes of other work."""
    from edgeseg.cli import _fail
    from edgeseg.errors import EdgesegError
    from edgeseg.models.encoders.efficientnet_lite0 import read_pytorch

    try:
        read_pytorch(Path(case.command[0]))
    except EdgesegError as error:
        return _fail(str(error), 2)
    return 0


def manifest(case: Case) -> int:
    """Go on with the manifest of a run and make its tables; the command does it beside processes that do images."""
    from edgeseg._internal.files import scratch_folder
    from edgeseg.batch.manifest import open_manifest
    from edgeseg.batch.mirror import Mirror
    from edgeseg.batch.results import evaluation, save_tables, totals
    from edgeseg.batch.storage import write_stored
    from edgeseg.cli import _fail
    from edgeseg.datasets import Classes
    from edgeseg.errors import EdgesegError

    palette = ((70, 70, 70), (210, 50, 40), (40, 60, 210))
    classes = Classes(names=("wall", "red", "blue"), palette=palette, ignore_index=255)
    try:
        with scratch_folder() as scratch:
            folder = Path("out")
            if case.command[0] == "store":
                for path in Path("parts").iterdir():
                    write_stored(f"memory://out/parts/{path.name}", path)
                folder = scratch
                mirror = Mirror("memory://out", folder)
                mirror.fetch("manifest.jsonl", overwrite=False)
            path = folder / "manifest.jsonl"
            with open_manifest(path, RUN_SETTINGS, _Names(("a.png", "bad.png"))):
                if case.command[0] == "store":
                    with mirror.keeping(path):
                        pass
            save_tables(path, scratch / "scores", classes.names, scored=True)
            evaluation(path, classes).to_dict()
            totals(path, 3)
    except EdgesegError as error:
        return _fail(str(error), 2)
    return 0


#: Of the run that goes on.
RUN_SETTINGS = {"command": "evaluate", "model": "model.tflite"}


class _Names(tuple[str, ...]):
    def index(self, name: str) -> int | None:  # type: ignore[override]
        return super().index(name) if name in self else None


def image_list(case: Case) -> int:
    """List the images that a list names."""
    from edgeseg.batch.listing import Images
    from edgeseg.cli import _fail
    from edgeseg.errors import EdgesegError

    try:
        images = Images(case.command)
        for index in range(len(images)):
            assert images.index(images.item(index).name) == index
    except EdgesegError as error:
        return _fail(str(error), 2)
    return 0


def page(case: Case) -> int:
    """Send requests to a page, and then one that must be answered."""
    import numpy as np

    from edgeseg.sinks import MjpegServer

    server = MjpegServer(port=0, stats=lambda: {"fps": 1.0, "name": "\x1b\ud800"})
    for request in case.served.split(NEXT):
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
            client.settimeout(0.3)
            try:
                client.sendall(request)
                server.write(np.zeros((8, 8, 3), np.uint8), "a")
                client.recv(65536)
            except OSError:
                continue
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(b"GET /stats HTTP/1.1\r\nHost: localhost\r\n\r\n")
        said = client.recv(65536)
    server.close()
    if not said.startswith(b"HTTP/1.0 200"):
        raise RuntimeError(f"the page does not answer any more: {said!r}")
    return 0


ENTRIES: dict[str, Callable[[Case], int]] = {
    "edgeseg": command_line,
    "pth": pth,
    "page": page,
    "manifest": manifest,
    "list": image_list,
}


def _serve(data: bytes) -> int:
    server = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            connection = server.accept()[0]
            try:
                connection.recv(65536)
                connection.sendall(data)
            except OSError:
                pass
            connection.close()

    threading.Thread(target=answer, daemon=True).start()
    return int(server.getsockname()[1])


def in_child(case: Case, scratch: Path) -> None:
    """Run a case in a process that was forked for it, which ends here; its output is in files of ``scratch``."""
    os.setsid()
    os.chdir(scratch / "work")
    os.environ.update({"HOME": str(scratch / "home"), "TMPDIR": str(scratch / "tmp"), "COLUMNS": "100"})
    os.environ.pop("XDG_CACHE_HOME", None)
    tempfile.tempdir = None
    if not case.trial:
        os.environ[TRIAL_VARIABLE] = "0"
    if case.programs:
        os.environ["PATH"] = f"{scratch / 'bin'}{os.pathsep}{os.environ['PATH']}"
    for number, name, flags in ((0, "/dev/null", os.O_RDONLY), (1, "stdout", _NEW), (2, "stderr", _NEW)):
        handle = os.open(scratch / name, flags, 0o600)
        os.dup2(handle, number)
        os.close(handle)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
    watched = _Watched(scratch)
    sys.addaudithook(watched.see)
    status = 1
    try:
        status = ENTRIES[case.entry](case)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    finally:  # whatever it raised
        if sys.exc_info()[0] is not None:
            sys.excepthook(*sys.exc_info())
        for thread in threading.enumerate():
            if not thread.daemon and thread is not threading.current_thread():
                thread.join()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        watched.write()
        os._exit(status)


_NEW = os.O_WRONLY | os.O_CREAT | os.O_APPEND
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.link", "os.chmod", "os.truncate"}


class _Watched:
    """Notes what Python writes outside of the folder of the input."""

    def __init__(self, scratch: Path) -> None:
        self._allowed = (str(scratch) + os.sep, "/dev/", "/proc/self/")
        self._file = scratch / "outside"
        self.outside: list[str] = []

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = flags & _WRITING if mode is None else any(letter in mode for letter in "wax+")
            if writes:
                self._check(event, path)
        elif event in _CHANGES:
            self._check(event, arguments[0])

    def _check(self, event: str, path: Any) -> None:
        if isinstance(path, int):
            return
        place = str(Path(os.fsdecode(path)).absolute())
        if not place.startswith(self._allowed):
            self.outside.append(f"{event} {place!r}")

    def write(self) -> None:
        if self.outside:
            self._file.write_text("\n".join(self.outside))
