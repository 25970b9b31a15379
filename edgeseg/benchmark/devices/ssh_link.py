"""Use the system's own ssh: one connection, orders over it, and the meaning of its failures.

The user's configuration, keys, agent, jump hosts and known hosts apply as in a terminal. Nothing is asked
(``BatchMode``), and no check of a host's key is ever weakened.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import secrets
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

from edgeseg._internal.json import WrongValue, decode
from edgeseg._internal.text import escaped, last_line
from edgeseg.benchmark.devices import ssh_remote
from edgeseg.benchmark.devices.bounded import Watch, text_of
from edgeseg.benchmark.devices.ssh_answers import Failed
from edgeseg.errors import BackendUnavailable, DeviceLost, InputError

T = TypeVar("T")

#: Seconds for an order that only looks, hashes a file or compiles; a small board needs a minute for some.
SOON_S = 300.0

#: Bytes of an answer, and of what ssh and the device print beside it.
_MOST_BYTES = 1 << 20

#: Seconds between signs of life to the device; it gives up after ``ssh_remote.SILENCE_S``.
HEARTBEAT_S = 5.0

# A lost link is noticed after 15 s at the latest, and reported at LogLevel INFO. Other things that the user's
# configuration opens (forwarded ports, a command for this host, a connection that persists) are disabled here.
_SETTINGS = (
    *("-T", "-a", "-x"),
    *("-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"),
    *("-o", "ClearAllForwardings=yes", "-o", "RemoteCommand=none", "-o", "PermitLocalCommand=no"),
    *("-o", "ControlPersist=no", "-o", "LogLevel=INFO"),
)
_START_S = 60.0  # connecting has its own limit; this one is for a login that never ends

_BOOT = (
    "import sys;sys.version_info<(3,10) and sys.exit('edgeseg-found Python %d.%d' % sys.version_info[:2]);"
    "import json;exec(json.loads(open(0,'rb',0,closefd=False).readline().decode()))"
)

#: What ssh prints, by its own source, and what it means; ``{host}`` is filled in.
_MEANINGS = (
    (
        "IDENTIFICATION HAS CHANGED",
        "the device's host key is not the one that is known: it was set up anew, or another machine answers. If that "
        "is expected, forget the old key with: ssh-keygen -R {host}",
    ),
    (
        "Host key verification failed",
        "the device's host key is not known yet. Connect once by hand and compare it: ssh {host}",
    ),
    (
        "Permission denied|Too many authentication failures",
        "the device takes none of your keys, and no password is asked for. Copy a key to it: ssh-copy-id {host}",
    ),
    ("Could not resolve hostname", "there is no machine of this name. Give a Host of your ssh config or an address."),
    ("Connection refused", "nothing listens at its ssh port. Is sshd running there, and is it the right port?"),
    ("[Tt]imed out|Timeout, server", "it does not answer in time. Is it on, and in this network?"),
    ("No route to host|Network is unreachable", "there is no way to it from here. Is it on, and in this network?"),
    ("Connection (closed|reset)|Broken pipe|closed by remote", "the connection was closed."),
)


class Link:
    """A connection to a host, opened by ``open``.

    Attributes:
        lost: whether ssh itself failed; then there is no connection to clean up with.
    """

    def __init__(self, host: str, *, python: str, options: Sequence[str]) -> None:
        if not host or host.startswith("-") or not host.isprintable() or " " in host:
            raise InputError(
                f"'{host}' is no host for ssh; accepted: ssh:HOST, a Host of your ssh config or user@name."
            )
        if shutil.which("ssh") is None:
            raise BackendUnavailable("ssh is not installed here. On Debian and Ubuntu: apt install openssh-client")
        self._host = host
        self._python = python
        self._options = tuple(options)
        self._folder: Path | None = None
        self._master: subprocess.Popen[bytes] | None = None
        self._session = contextlib.ExitStack()  # what lasts as long as the shared connection
        self.lost = False

    def open(self) -> None:
        """Connect, once for all orders; where ssh cannot share a connection, every order makes its own.

        Raises:
            DeviceLost: there is no connection; the text says why.
        """
        self.lost = False
        if os.name == "nt":
            return  # its ssh cannot share one
        self._folder = Path(tempfile.mkdtemp(prefix="edgeseg-"))
        socket = self._folder / "s"
        with contextlib.ExitStack() as session:
            log = session.enter_context(open(self._folder / "said", "wb"))
            # ``cat`` ends, and with it the connection, when this process dies in whatever way.
            self._master = self._start("exec cat", ("ControlMaster=yes", f"ControlPath={socket}"), None, log)
            session.enter_context(Watch(self._master, [log], most_bytes=_MOST_BYTES, timeout_s=math.inf))
            self._session = session.pop_all()
        deadline = time.monotonic() + _START_S
        while not socket.exists():
            if self._master.poll() is not None:
                text = _said(self._folder)
                self.close()
                if re.search("ControlPath|ControlSocket|unix_listener", text):
                    return
                raise self._failed(text)
            if time.monotonic() > deadline:
                self.close()
                raise self._failed("Timeout, server does not finish the login")
            time.sleep(0.02)

    def close(self) -> None:
        """End the connection and remove its socket."""
        if self._master is not None:
            _end(self._master)
        self._master = None
        self._session.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None

    def ask(
        self,
        do: str,
        answer: type[T],
        *,
        upload: bytes = b"",
        timeout_s: float = SOON_S,
        most_bytes: int = _MOST_BYTES,
        **order: Any,
    ) -> T:
        """Send an order and return the answer.

        Args:
            do: name of a function of ``ssh_remote``.
            answer: what it answers, of ``ssh_answers``.
            upload: bytes that it reads from stdin.
            timeout_s: how long it may take, in seconds.
            most_bytes: how long the answer may be.
            **order: its arguments.

        Returns:
            Its answer.

        Raises:
            BackendUnavailable: the device has no Python, or one that is too old.
            DeviceLost: the connection broke, the device could not follow the order, or its answer is not one that it
                can have; the text says why.
        """
        marker = secrets.token_hex(16)
        lines = (Path(ssh_remote.__file__).read_text(encoding="utf-8"), {"do": do, "marker": marker, **order})
        given = "".join(json.dumps(line) + "\n" for line in lines).encode() + upload
        sharing = ("ControlMaster=no", f"ControlPath={self._folder / 's' if self._folder else 'none'}")
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = self._start(f"exec {_word(self._python)} -c {shlex.quote(_BOOT)}", sharing, out, err)
            with Watch(process, (out, err), most_bytes=most_bytes, timeout_s=timeout_s) as watch:
                try:
                    _feed(process, given)
                finally:
                    _end(process)
            if watch.broke:
                raise DeviceLost(f"'{self._host}' {watch.broke} (order: {do}).")
            _, marked, said = text_of(out, most_bytes).rpartition(marker)
            text = text_of(err, most_bytes)
        if not marked:
            raise self._unanswered(process.returncode, text)
        return self._read(do, said.partition("\n")[0], answer)

    def _read(self, do: str, line: str, answer: type[T]) -> T:
        """Return the answer in a line of JSON."""
        try:
            failed = decode(line, Failed)
            if failed.error is None:
                return decode(line, answer)
        except WrongValue as error:
            raise self.wrong(do, error) from error
        raise DeviceLost(self._cannot(failed.error, failed.file))

    def wrong(self, do: str, error: WrongValue) -> DeviceLost:
        """Return the error for an answer that edgeseg's own code cannot have given."""
        return DeviceLost(f"the answer of '{self._host}' to the order '{do}' is not understood: {error}.")

    def _start(
        self, command: str, sharing: Sequence[str], out: IO[bytes] | None, err: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        shared = [word for setting in sharing for word in ("-o", setting)]
        return subprocess.Popen(
            # ssh takes the first value of an option: the caller's options come before those here
            ["ssh", *self._options, *_SETTINGS, *shared, "--", self._host, command],
            stdin=subprocess.PIPE,
            stdout=out or subprocess.DEVNULL,
            stderr=err,
            start_new_session=True,  # Ctrl-C is for this process alone: it still needs ssh, to clean up
        )

    def _unanswered(self, status: int, text: str) -> DeviceLost | BackendUnavailable:
        if old := re.search("edgeseg-found Python ([0-9]+[.][0-9]+)", text):
            return BackendUnavailable(
                f"'{self._host}' has Python {old[1]} as '{self._python}'; 3.10 or newer is needed. Install one and "
                'name it in devices.toml: python = "python3.11"'
            )
        if status != 255 and re.search("not found|No such file|[Pp]ermission denied", text):
            return BackendUnavailable(
                f"'{self._host}' has no '{self._python}'. Install Python 3.10 or newer there, or name it in "
                'devices.toml: python = "/path/to/python3"'
            )
        if status == 255:
            return self._failed(text)
        return DeviceLost(f"'{self._host}' gave no answer (exit status {status}){_last(text)}")

    def _failed(self, text: str) -> DeviceLost:
        """Return the error for ssh's own exit status, 255, which a command that a signal ended has too."""
        if self._master is not None and self._folder is not None:
            try:
                self._master.wait(1)
            except subprocess.TimeoutExpired:
                return DeviceLost(f"what edgeseg ran on '{self._host}' was killed there{_last(text)}")
            text += _said(self._folder)
        self.lost = True
        for pattern, meaning in _MEANINGS:
            if re.search(pattern, text):
                return DeviceLost(f"no connection to '{self._host}': {meaning.format(host=self._host)}")
        return DeviceLost(f"the connection to '{self._host}' ended{_last(text)}")

    def _cannot(self, reason: str, file: str) -> str:
        if "No space left" in reason or "quota" in reason:
            reason = "its disk is full; nothing was left half-written. Make room or give another folder in "
            reason += 'devices.toml: environment = "/folder"'
        return f"'{self._host}' cannot write '{escaped(file)}': {escaped(reason)}."


def _feed(process: subprocess.Popen[bytes], given: bytes) -> None:
    """Write the input of the process, and signs of life until it ends."""
    assert process.stdin is not None
    while True:
        with contextlib.suppress(BrokenPipeError):  # it ended before it read everything; its answer says why
            process.stdin.write(given)
            process.stdin.flush()
        try:
            process.wait(HEARTBEAT_S)
        except subprocess.TimeoutExpired:
            given = b"."
        else:
            return


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(BrokenPipeError):
        if process.stdin is not None:
            process.stdin.close()
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def _word(text: str) -> str:
    """Return a word for the device's shell; ``~/`` is its home."""
    return '"$HOME"/' + shlex.quote(text[2:]) if text.startswith("~/") else shlex.quote(text)


def _said(folder: Path) -> str:
    """Return what the shared connection printed."""
    with open(folder / "said", "rb") as file:
        return text_of(file, _MOST_BYTES)


def _last(text: str) -> str:
    return f": {last_line(text).rstrip('.')}." if text.strip() else "."
